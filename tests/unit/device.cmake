tutti_add_test(device_shared_memory_test SOURCES device_shared_memory_test.cc DEPS tutti::device LABELS unit)
if(NOT TUTTI_SANITIZE)  # as the simulated driver
  # Finds the simulated driver when it looks for the driver.
  tutti_add_test(device_cuda_test SOURCES device_cuda_test.cc DEPS tutti::cuda LABELS unit)
  target_include_directories(device_cuda_test PRIVATE ${PROJECT_SOURCE_DIR}/tests/cudasim/include)
  add_dependencies(device_cuda_test cudasim_driver cudasim_test_kernels)
  set_tests_properties(device_cuda_test PROPERTIES ENVIRONMENT
    "LD_LIBRARY_PATH=${PROJECT_BINARY_DIR}/tests/cudasim/lib;CUDASIM_TOPOLOGY=dgx-h100;CUDASIM_KERNELS=$<TARGET_FILE:cudasim_test_kernels>")
  # And on a machine that has none.
  add_test(NAME device_without_cuda COMMAND device_cuda_test --gtest_filter=WithoutDriver.*)
  set_tests_properties(device_without_cuda PROPERTIES LABELS unit TIMEOUT 60)
endif()
