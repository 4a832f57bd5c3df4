tutti_add_test(trace_test SOURCES trace_recorder_test.cc trace_analysis_test.cc trace_live_test.cc DEPS tutti::trace_read LABELS unit)
