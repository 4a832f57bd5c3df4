foreach(part change fabric graph hwloc json merge nccl_links nccl_write nccl_xml nvml rdma svg synthetic)
  tutti_add_test(topology_${part}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/topology_${part}_test.cc DEPS tutti::topology
    LABELS unit)
  target_compile_definitions(topology_${part}_test PRIVATE TOPOLOGY_DATA="${CMAKE_CURRENT_LIST_DIR}/../data/topology"
    TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
target_link_libraries(topology_svg_test PRIVATE pugixml::pugixml)
add_library(nvml_stand_in MODULE ${CMAKE_CURRENT_LIST_DIR}/nvml_stand_in.c)
target_link_libraries(nvml_stand_in PRIVATE tutti_options)
target_compile_definitions(topology_nvml_test PRIVATE NVML_STAND_IN="$<TARGET_FILE:nvml_stand_in>")
add_dependencies(topology_nvml_test nvml_stand_in)
