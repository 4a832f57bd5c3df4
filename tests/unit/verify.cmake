tutti_add_test(verify_test SOURCES verify_test.cc DEPS tutti::verify LABELS unit)
tutti_add_test(verify_mutation_test SOURCES verify_mutation_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(verify_mutants_test SOURCES verify_mutants_test.cc DEPS tutti::planner LABELS unit TIMEOUT 300)
# At least ten thousand that go wrong when they run.
target_compile_definitions(verify_mutants_test PRIVATE TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
add_test(NAME verify_mutants_full COMMAND verify_mutants_test)
set_tests_properties(verify_mutants_full PROPERTIES LABELS "unit;long" TIMEOUT 900 ENVIRONMENT TUTTI_TEST_MUTANTS=40000)
tutti_add_test(verify_fair_share_test SOURCES verify_fair_share_test.cc DEPS tutti::verify LABELS unit)
tutti_add_test(verify_routes_test SOURCES verify_routes_test.cc DEPS tutti::planner LABELS unit)
