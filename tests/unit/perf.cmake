if(TARGET tutti)
  tutti_add_test(run_output_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/run_output_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/../../perf/line_relay.cc DEPS tutti::base LABELS unit)
  tutti_add_test(run_failure_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/run_failure_test.cc DEPS tutti::base LABELS unit)
  tutti_add_test(run_hosts_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/run_hosts_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/../../perf/hosts/host_list.cc ${CMAKE_CURRENT_LIST_DIR}/../../perf/hosts/orders.cc
    ${CMAKE_CURRENT_LIST_DIR}/../../perf/hosts/rendezvous.cc ${CMAKE_CURRENT_LIST_DIR}/../../perf/hosts/secret.cc
    ${CMAKE_CURRENT_LIST_DIR}/../../perf/hosts/wire.cc DEPS tutti::base nlohmann_json::nlohmann_json LABELS unit)
  foreach(test run_output_test run_failure_test)
    target_compile_definitions(${test} PRIVATE TUTTI_COMMAND="$<TARGET_FILE:tutti>")
    add_dependencies(${test} tutti)
  endforeach()
endif()
# Budgets are of optimised code, and sanitizers add instructions of their own.
if(TARGET tutti_kernel_cases AND NOT TUTTI_SANITIZE AND CMAKE_BUILD_TYPE STREQUAL "Release")
  tutti_add_test(perf_kernels_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/perf_kernels_test.cc DEPS tutti_kernel_cases LABELS unit)
endif()
