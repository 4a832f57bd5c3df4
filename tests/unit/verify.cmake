tutti_add_test(verify_test SOURCES verify_test.cc DEPS tutti::verify LABELS unit)
tutti_add_test(verify_mutation_test SOURCES verify_mutation_test.cc DEPS tutti::planner LABELS unit)
