// SPDX-License-Identifier: Apache-2.0
// The compiled device code that the library carries: one image per module, for the driver to load.
#pragma once

#include <cstddef>
#include <span>

namespace tutti::gpu {

// A module: "kFloat32" and so on (TUTTI_DTYPE_ROWS) have tutti_plan_simple_<dtype>,
// tutti_plan_inline_<dtype> and tutti_reduce_copy_<dtype>; "nvls_<dtype>", for the data types that
// the hardware reduces, tutti_nvls_<dtype>; "symmetric_copy" what moves bytes whatever their type;
// "moe" the kernels of MoE layers. `data` is a fatbin, 16-byte aligned.
struct Image {
  const char* name = nullptr;
  const unsigned char* data = nullptr;
  size_t bytes = 0;
};

// Empty when the library was built without nvcc.
std::span<const Image> images() noexcept;
// Null when there is none of that name.
const Image* find_image(const char* name) noexcept;

// For people: "sm_80 sm_90 sm_100, by nvcc 13.0", or why there is no device code.
const char* images_text() noexcept;

}  // namespace tutti::gpu
