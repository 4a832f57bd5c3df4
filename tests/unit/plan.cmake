tutti_add_test(plan_test SOURCES plan_collective_test.cc plan_switch_test.cc plan_test.cc DEPS tutti::plan LABELS unit)
tutti_add_test(plan_renamed_test SOURCES plan_renamed_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(plan_msccl_test SOURCES plan_msccl_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::planner LABELS unit)
target_compile_definitions(plan_msccl_test PRIVATE TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
tutti_add_test(plan_mscclpp_test SOURCES plan_mscclpp_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::planner nlohmann_json::nlohmann_json LABELS unit)
