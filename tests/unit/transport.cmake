set(conformance_suite transport_cases.cc transport_conformance_ends.cc transport_conformance_making.cc transport_conformance_messages.cc
  transport_conformance_streams.cc transport_conformance_windows.cc)
list(TRANSFORM conformance_suite PREPEND ${PROJECT_SOURCE_DIR}/tests/conformance/)
tutti_add_test(transport_conformance_test
  SOURCES ${conformance_suite} transport_world.cc
  DEPS tutti::transport LABELS conformance)
tutti_add_test(transport_fifo_test SOURCES transport_fifo_test.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_shm_test SOURCES transport_shm_test.cc transport_world.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_network_test SOURCES transport_network_test.cc transport_world.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_tcp_path_test SOURCES transport_tcp_path_test.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_failover_test SOURCES transport_failover_test.cc transport_world.cc DEPS tutti::transport LABELS unit)
# Over a network and a time of their own (transport_fake.h), one thread.
set(fake_network transport_fake.cc transport_flow.cc transport_virtual_time.cc transport_world.cc)
tutti_add_test(transport_session_test SOURCES transport_session_test.cc transport_session_frames_test.cc ${fake_network} DEPS tutti::transport LABELS unit)
tutti_add_test(transport_schedule_test SOURCES transport_schedule_test.cc ${fake_network} DEPS tutti::transport LABELS unit)
tutti_add_test(transport_ucx_test SOURCES transport_ucx_test.cc carrier_suite.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_nccl_net_test SOURCES transport_nccl_net_test.cc carrier_suite.cc DEPS tutti::transport LABELS unit)
tutti_use_test_plugins(transport_nccl_net_test)
# Transports that are used only when named: a sample; all of them, and every version of the plugins' interface, with the label long. The
# thread sanitizer sees ranks as threads only, and does not bear UCX's hooks of memory mapping (they run in threads that are ending).
set(named_sample "*/ucx_processes:*/nccl_net_v12_threads")
if(TUTTI_SANITIZE STREQUAL thread)
  set(named_sample "*/ucx_threads:*/nccl_net_v12_threads")
  set(ucx_environment "UCX_MEM_EVENTS=n;TSAN_OPTIONS=atexit_sleep_ms=0")
endif()
tutti_add_test(transport_named_conformance_test
  SOURCES ${conformance_suite} transport_world.cc
  DEPS tutti::transport LABELS conformance ARGS "--gtest_filter=${named_sample}-*Destruction_Any*")
tutti_use_test_plugins(transport_named_conformance_test)
add_test(NAME transport_named_conformance_all COMMAND transport_named_conformance_test)
# A plugin can not tell that a peer is gone, so ends in any order wait out their time: half a minute for each version and layout.
set_tests_properties(transport_named_conformance_all PROPERTIES LABELS "conformance;long" TIMEOUT 2400)
set_tests_properties(transport_named_conformance_test transport_named_conformance_all transport_ucx_test PROPERTIES
  ENVIRONMENT "${ucx_environment}")

# The tests with devices run in the guests of tests/vm, and skip here.
tutti_add_test(transport_rdma_settings_test SOURCES transport_rdma_settings_test.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_rdma_test SOURCES transport_rdma_test.cc DEPS tutti::transport LABELS unit)
tutti_add_test(transport_rdma_faults_test SOURCES transport_rdma_faults_test.cc DEPS tutti::transport LABELS unit)
if(TUTTI_VERBS_HEADERS AND TUTTI_RDMACM_HEADERS)
  tutti_add_test(transport_rdma_parts_test SOURCES transport_rdma_parts_test.cc DEPS tutti::transport LABELS unit)
endif()

if(NOT TUTTI_SANITIZE)  # as the simulated driver
  tutti_add_test(transport_cuda_p2p_test SOURCES transport_cuda_p2p_test.cc transport_cuda_p2p_processes_test.cc transport_world.cc DEPS tutti::transport LABELS unit cuda)
  target_include_directories(transport_cuda_p2p_test PRIVATE ${PROJECT_SOURCE_DIR}/tests/cudasim/include)
  add_dependencies(transport_cuda_p2p_test cudasim_driver cudasim_test_kernels)
  set_tests_properties(transport_cuda_p2p_test PROPERTIES ENVIRONMENT
    "LD_LIBRARY_PATH=${PROJECT_BINARY_DIR}/tests/cudasim/lib;CUDASIM_TOPOLOGY=dgx-h100;CUDASIM_KERNELS=$<TARGET_FILE:cudasim_test_kernels>")
endif()
