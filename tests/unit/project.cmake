find_package(Python3 REQUIRED COMPONENTS Interpreter)

add_test(NAME layering COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/project/layering_test.py ${PROJECT_SOURCE_DIR})
set_tests_properties(layering PROPERTIES LABELS "unit;project" TIMEOUT 60)

# Each header compiles alone: one translation unit per header that holds nothing but the include.
file(GLOB_RECURSE HEADERS RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/include/*.h ${PROJECT_SOURCE_DIR}/include/*.hpp ${PROJECT_SOURCE_DIR}/src/*.h
  ${PROJECT_SOURCE_DIR}/transport/*.h ${PROJECT_SOURCE_DIR}/topology/*.h)
list(FILTER HEADERS EXCLUDE REGEX "-inl\\.h$")  # bodies compiled once per instruction set by their own .cc
if(NOT TUTTI_VERBS_HEADERS OR NOT TUTTI_RDMACM_HEADERS)
  list(FILTER HEADERS EXCLUDE REGEX "^transport/rdma/(carrier|core|device|manager|memory|path|queue_pair|receiver|sender|verbs)\\.h$")
endif()
list(FILTER HEADERS EXCLUDE REGEX "^src/kernels/cuda/primitives_ptx\\.h$")  # for nvcc
foreach(header IN LISTS HEADERS)
  string(MAKE_C_IDENTIFIER ${header} unit)
  file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/headers/${unit}.cc CONTENT "#include \"@header@\"\n" @ONLY)
  list(APPEND HEADER_UNITS ${CMAKE_CURRENT_BINARY_DIR}/headers/${unit}.cc)
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/headers/c99.c CONTENT "#include <tutti/tutti.h>\n" @ONLY)
add_library(header_check OBJECT EXCLUDE_FROM_ALL ${HEADER_UNITS} ${CMAKE_CURRENT_BINARY_DIR}/headers/c99.c)
# Device code compiles here by the simulated driver's primitives.
target_include_directories(header_check PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include
  ${PROJECT_SOURCE_DIR}/tests/cudasim/include)
target_link_libraries(header_check PRIVATE tutti_options spdlog::spdlog PkgConfig::HWY)
target_compile_options(header_check PRIVATE $<$<COMPILE_LANGUAGE:C>:-pedantic>)
target_compile_definitions(header_check PRIVATE TUTTI_KERNEL_DTYPE=kFloat32)
target_compile_options(header_check PRIVATE -O0)
add_test(NAME headers_compile_alone COMMAND ${CMAKE_COMMAND} --build ${PROJECT_BINARY_DIR} --target header_check)
set_tests_properties(headers_compile_alone PROPERTIES LABELS "unit;project" TIMEOUT 300)

if(NOT TUTTI_SANITIZE)
  add_test(NAME installed_library COMMAND ${PROJECT_SOURCE_DIR}/tests/project/install_test.sh ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR})
  set_tests_properties(installed_library PROPERTIES LABELS "unit;project" TIMEOUT 120)
endif()
