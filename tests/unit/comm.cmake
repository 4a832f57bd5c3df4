tutti_add_test(comm_parts_test SOURCES comm_parts_test.cc DEPS tutti::comm LABELS unit)
