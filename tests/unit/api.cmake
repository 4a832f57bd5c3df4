# Against the shared library, as users link it; base only for clocks and naps.
foreach(part collectives groups lifecycle streams errors handles plan process reshape)
  tutti_add_test(api_${part}_test SOURCES api_${part}_test.cc DEPS tutti::tutti tutti::base LABELS unit)
endforeach()
tutti_add_test(api_cpp_test SOURCES api_cpp_test.cc DEPS tutti::tutti tutti_options LABELS unit)

# The program of the how-to, which is also the proof that the header is C99.
add_executable(api_howto api_howto.c)
target_link_libraries(api_howto PRIVATE tutti::tutti tutti_options)
target_compile_options(api_howto PRIVATE -pedantic)
add_test(NAME api_howto COMMAND api_howto)
set_tests_properties(api_howto PROPERTIES LABELS unit PASS_REGULAR_EXPRESSION "rank 0 of 1: 1")
