foreach(part change fabric graph hwloc json merge nccl_links nccl_write nccl_xml rdma synthetic)
  tutti_add_test(topology_${part}_test SOURCES ${CMAKE_CURRENT_LIST_DIR}/topology_${part}_test.cc DEPS tutti::topology
    LABELS unit)
  target_compile_definitions(topology_${part}_test PRIVATE TOPOLOGY_DATA="${CMAKE_CURRENT_LIST_DIR}/../data/topology"
    TUTTI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
