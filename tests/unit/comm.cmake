tutti_add_test(comm_parts_test SOURCES comm_parts_test.cc DEPS tutti::comm LABELS unit)
tutti_add_test(comm_memory_test SOURCES comm_memory_test.cc DEPS tutti::comm LABELS unit)
tutti_add_test(comm_profile_test SOURCES comm_profile_test.cc DEPS tutti::comm LABELS unit)
