tutti_add_test(trace_recorder_test SOURCES trace_recorder_test.cc DEPS tutti::trace_read LABELS unit)
