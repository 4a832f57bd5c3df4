tutti_add_test(kernels_values_test SOURCES kernels_values_test.cc
  DEPS tutti::kernels PkgConfig::HWY LABELS unit)
tutti_add_test(kernels_shapes_test SOURCES kernels_shapes_test.cc
  DEPS tutti::kernels PkgConfig::HWY LABELS unit)
target_compile_options(kernels_values_test PRIVATE -ffp-contract=off)
target_compile_options(kernels_shapes_test PRIVATE -ffp-contract=off)
