# libtutti: shared (versioned symbols, only the C API is visible) and static, from the modules' objects.
get_property(TUTTI_MODULES GLOBAL PROPERTY TUTTI_MODULES)
foreach(module IN LISTS TUTTI_MODULES)
  list(APPEND TUTTI_OBJECTS $<TARGET_OBJECTS:${module}>)
endforeach()
set(TUTTI_PRIVATE_LINKS PkgConfig::HWLOC PkgConfig::SODIUM PkgConfig::HWY pugixml::pugixml spdlog::spdlog Threads::Threads)

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

# The static library needs its dependencies at the consumer's link; they are named by file so that no package has to be found again.
foreach(package HWLOC SODIUM HWY)
  list(APPEND TUTTI_STATIC_LINKS ${${package}_LINK_LIBRARIES})
endforeach()
list(APPEND TUTTI_STATIC_LINKS pugixml spdlog fmt stdc++ m)
target_link_libraries(tutti_static INTERFACE ${TUTTI_STATIC_LINKS} Threads::Threads)

include(CMakePackageConfigHelpers)
install(TARGETS tutti_shared tutti_static EXPORT tuttiTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/tutti DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT tuttiTargets NAMESPACE tutti:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tutti)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tuttiConfig.cmake.in ${PROJECT_BINARY_DIR}/tuttiConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tutti)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tuttiConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tuttiConfig.cmake ${PROJECT_BINARY_DIR}/tuttiConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/tutti)

# The .pc file finds its prefix from where it lies, as the CMake package does. The libraries of the static one are named themselves and not
# required as packages: their own .pc files want more than linking against their shared libraries needs.
file(RELATIVE_PATH TUTTI_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH TUTTI_PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH TUTTI_PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
foreach(library hwloc sodium hwy pugixml spdlog fmt stdc++ m)
  string(APPEND TUTTI_PC_PRIVATE "-l${library} ")
endforeach()
string(APPEND TUTTI_PC_PRIVATE "-pthread")
configure_file(${PROJECT_SOURCE_DIR}/cmake/tutti.pc.in ${PROJECT_BINARY_DIR}/tutti.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tutti.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
