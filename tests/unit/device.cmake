tutti_add_test(device_shared_memory_test SOURCES device_shared_memory_test.cc DEPS tutti::device LABELS unit)
