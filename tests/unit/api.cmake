# Against the shared library, as users link it; base only for clocks and naps.
foreach(part collectives groups lifecycle streams errors handles memory memory_cap metrics plan process profile repeated repeated_p2p reshape)
  tutti_add_test(api_${part}_test SOURCES api_${part}_test.cc DEPS tutti::tutti tutti::base LABELS unit)
endforeach()
tutti_add_test(api_tuner_test SOURCES api_tuner_test.cc DEPS tutti::tutti tutti::base LABELS unit)
tutti_use_test_plugins(api_tuner_test)
tutti_add_test(api_cpp_test SOURCES api_cpp_test.cc DEPS tutti::tutti tutti_options LABELS unit NO_PCH)
# The sanitizers bring an allocator of their own.
if(NOT TUTTI_SANITIZE)
  tutti_add_test(api_allocation_test SOURCES api_allocation_test.cc DEPS tutti::tutti tutti::base LABELS unit)
endif()

# The program of the how-to, which is also the proof that the header is C99.
add_executable(api_howto api_howto.c)
target_link_libraries(api_howto PRIVATE tutti::tutti tutti_options)
target_compile_options(api_howto PRIVATE -pedantic)
add_test(NAME api_howto COMMAND api_howto)
set_tests_properties(api_howto PROPERTIES LABELS unit PASS_REGULAR_EXPRESSION "rank 0 of 1: 1")

# A program in NCCL's names must become one of ours by replacing prefixes.
file(READ ${PROJECT_SOURCE_DIR}/tests/data/nccl_program.c ported)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/data/nccl_program.c)
foreach(pair "nccl.h:tutti/tutti.h" "nccl:tutti" "NCCL_:TUTTI_" "cudaStream:tuttiStream")
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 theirs)
  list(GET pair 1 ours)
  string(REPLACE "${theirs}" "${ours}" ported "${ported}")
endforeach()
file(CONFIGURE OUTPUT ported_program.c CONTENT "${ported}" @ONLY)
add_executable(api_ported ${CMAKE_CURRENT_BINARY_DIR}/ported_program.c)
target_link_libraries(api_ported PRIVATE tutti::tutti tutti_options)
add_test(NAME api_ported COMMAND api_ported)
set_tests_properties(api_ported PROPERTIES LABELS unit)
