tutti_add_test(planner_test SOURCES planner_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(planner_algorithms_test
  SOURCES planner_algorithms_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::planner LABELS unit)
tutti_add_test(planner_verified_test SOURCES planner_verified_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(planner_howto_test
  SOURCES planner_howto_test.cc planner_howto_example.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::planner LABELS unit)
target_compile_definitions(planner_howto_test PRIVATE TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
tutti_add_test(planner_profile_test SOURCES planner_profile_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(planner_logarithmic_test SOURCES planner_logarithmic_test.cc DEPS tutti::planner LABELS unit)
tutti_add_test(planner_forest_test SOURCES planner_forest_test.cc DEPS tutti::topology_planner LABELS unit)
tutti_add_test(planner_hierarchy_test SOURCES planner_hierarchy_test.cc DEPS tutti::topology_planner LABELS unit)
tutti_add_test(planner_alltoall_test SOURCES planner_alltoall_test.cc DEPS tutti::topology_planner LABELS unit)
tutti_add_test(planner_switch_test
  SOURCES planner_switch_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::topology_planner LABELS unit)
tutti_add_test(planner_nccl_graph_test
  SOURCES planner_nccl_graph_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::topology_planner LABELS unit)
tutti_add_test(planner_levels_test
  SOURCES planner_levels_test.cc ${PROJECT_SOURCE_DIR}/tests/support/plan_interpreter.cc
  DEPS tutti::planner LABELS unit)
