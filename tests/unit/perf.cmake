if(TARGET tutti)
  tutti_add_test(run_output_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/run_output_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/../../perf/line_relay.cc DEPS tutti::base LABELS unit)
  tutti_add_test(run_failure_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/run_failure_test.cc DEPS tutti::base LABELS unit)
  foreach(test run_output_test run_failure_test)
    target_compile_definitions(${test} PRIVATE TUTTI_COMMAND="$<TARGET_FILE:tutti>")
    add_dependencies(${test} tutti)
  endforeach()
endif()
