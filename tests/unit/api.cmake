# Against the shared library, as users link it; base only for clocks and naps.
foreach(part collectives groups lifecycle errors process)
  tutti_add_test(api_${part}_test SOURCES api_${part}_test.cc DEPS tutti::tutti tutti::base LABELS unit)
endforeach()
