tutti_add_test(base_test
  SOURCES base_clock_test.cc base_config_test.cc base_file_test.cc base_liveness_test.cc base_memory_budget_test.cc
          base_shared_bell_test.cc
  DEPS tutti::base LABELS unit TIMEOUT 60)
target_compile_definitions(base_test PRIVATE TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
tutti_add_test(base_wait_test SOURCES base_wait_test.cc DEPS tutti::base LABELS unit TIMEOUT 240)
tutti_add_test(base_socket_test SOURCES base_socket_test.cc DEPS tutti::base LABELS unit TIMEOUT 60)
tutti_add_test(base_stream_test SOURCES base_stream_test.cc DEPS tutti::base LABELS unit TIMEOUT 60)
tutti_add_test(base_control_thread_test SOURCES base_control_thread_test.cc DEPS tutti::base LABELS unit TIMEOUT 60)
tutti_add_test(base_log_test SOURCES base_log_test.cc DEPS tutti::base LABELS unit TIMEOUT 60)
