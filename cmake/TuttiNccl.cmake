# libnccl.so.2: NCCL's interface over libtutti's own objects, in one file that needs no libtutti.so and shows only NCCL's functions. It is
# installed where no loader looks by itself, so that it never takes the place of NVIDIA's.
add_library(tutti_nccl SHARED ${PROJECT_BINARY_DIR}/empty.cc $<TARGET_OBJECTS:tutti_api_nccl> ${TUTTI_OBJECTS})
add_library(tutti::nccl ALIAS tutti_nccl)
set_target_properties(tutti_nccl PROPERTIES OUTPUT_NAME nccl VERSION 2.28.9 SOVERSION 2
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/nccl LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/nccl.map)
target_link_libraries(tutti_nccl PRIVATE tutti_options ${TUTTI_PRIVATE_LINKS})
target_link_options(tutti_nccl PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/nccl.map -Wl,--no-undefined)
add_dependencies(tutti_nccl tutti_api_nccl ${TUTTI_MODULES})
install(TARGETS tutti_nccl LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/tutti NAMELINK_SKIP)
