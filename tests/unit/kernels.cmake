tutti_add_test(kernels_values_test SOURCES kernels_values_test.cc
  DEPS tutti::kernels PkgConfig::HWY LABELS unit NO_PCH)
tutti_add_test(kernels_shapes_test SOURCES kernels_shapes_test.cc
  DEPS tutti::kernels PkgConfig::HWY LABELS unit NO_PCH)
tutti_add_test(kernels_token_rows_test SOURCES kernels_token_rows_test.cc
  DEPS tutti::kernels PkgConfig::HWY LABELS unit NO_PCH)
# Their references are loops over every value.
target_compile_options(kernels_values_test PRIVATE -ffp-contract=off -O2)
target_compile_options(kernels_shapes_test PRIVATE -ffp-contract=off -O2)
target_compile_options(kernels_token_rows_test PRIVATE -ffp-contract=off -O2)
