tutti_add_test(exec_test SOURCES exec_test.cc DEPS tutti::exec LABELS unit small)
