# libtutti: shared (versioned symbols, only the C API is visible) and static, from the modules' objects.
get_property(TUTTI_MODULES GLOBAL PROPERTY TUTTI_MODULES)
foreach(module IN LISTS TUTTI_MODULES)
  list(APPEND TUTTI_OBJECTS $<TARGET_OBJECTS:${module}>)
endforeach()
set(TUTTI_PRIVATE_LINKS PkgConfig::HWLOC PkgConfig::SODIUM PkgConfig::HWY spdlog::spdlog Threads::Threads)

file(WRITE ${PROJECT_BINARY_DIR}/empty.cc "")
add_library(tutti_shared SHARED ${PROJECT_BINARY_DIR}/empty.cc ${TUTTI_OBJECTS})
add_library(tutti::tutti ALIAS tutti_shared)
set_target_properties(tutti_shared PROPERTIES OUTPUT_NAME tutti EXPORT_NAME tutti VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/tutti.map)
target_include_directories(tutti_shared INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(tutti_shared PRIVATE tutti_options ${TUTTI_PRIVATE_LINKS})
target_link_options(tutti_shared PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/tutti.map -Wl,--no-undefined)

add_library(tutti_static STATIC ${PROJECT_BINARY_DIR}/empty.cc ${TUTTI_OBJECTS})
add_library(tutti::tutti_static ALIAS tutti_static)
set_target_properties(tutti_static PROPERTIES OUTPUT_NAME tutti EXPORT_NAME tutti_static)
target_include_directories(tutti_static INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
foreach(target tutti_shared tutti_static)
  foreach(module IN LISTS TUTTI_MODULES)
    add_dependencies(${target} ${module})
  endforeach()
endforeach()
