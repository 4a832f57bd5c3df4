tutti_add_test(plan_test SOURCES plan_collective_test.cc plan_test.cc DEPS tutti::plan LABELS unit)
