# One function per kind of target, so that every folder's CMakeLists.txt is a list of files and nothing else.

# tutti_add_module(NAME SOURCES a.cc ... DEPS tutti::x ... [PRIVATE_DEPS ...])
# Makes object library tutti_NAME with alias tutti::NAME and adds its objects to libtutti.
function(tutti_add_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(tutti_${name} STATIC ${ARG_SOURCES})
  add_library(tutti::${name} ALIAS tutti_${name})
  set_target_properties(tutti_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_include_directories(tutti_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  target_compile_definitions(tutti_${name} PRIVATE TUTTI_BUILDING_LIBRARY)
  target_link_libraries(tutti_${name} PUBLIC tutti_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  set_property(GLOBAL APPEND PROPERTY TUTTI_MODULES tutti_${name})
endfunction()

# tutti_add_test(NAME SOURCES a.cc ... DEPS tutti::x ... LABELS unit ... [TIMEOUT s] [ARGS ...])
# A GoogleTest program registered as one ctest test.
function(tutti_add_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# tutti_add_perf(NAME SOURCES ... DEPS ...): a program installed to bin/.
function(tutti_add_perf name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()
