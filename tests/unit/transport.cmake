tutti_add_test(transport_conformance_test
  SOURCES ${PROJECT_SOURCE_DIR}/tests/conformance/transport_conformance_test.cc transport_world.cc
  DEPS tutti::transport LABELS conformance)
tutti_add_test(transport_shm_test SOURCES transport_shm_test.cc transport_world.cc DEPS tutti::transport LABELS unit)
