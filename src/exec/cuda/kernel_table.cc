// SPDX-License-Identifier: Apache-2.0
// Loads the images that the library carries.
#include "src/exec/cuda/kernel_table.h"

#include <algorithm>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/kernels/cuda/images.h"

namespace tutti::exec {
namespace {

// As the modules and their kernels are named.
const char* id_of(DType dtype) noexcept {
  switch (dtype) {
#define TUTTI_DTYPE_ID(id, value, bytes, name, acc) \
  case DType::id:                                   \
    return #id;
    TUTTI_DTYPE_ROWS(TUTTI_DTYPE_ID)
#undef TUTTI_DTYPE_ID
  }
  return "";
}

}  // namespace

KernelTable::KernelTable(const cuda::Gpu& gpu, unsigned threads) : gpu_(gpu), threads_(threads) {
  (void)of(DType::kFloat32);
}

const PlanKernels& KernelTable::of(DType dtype) {
  PlanKernels& kernels = loaded_[static_cast<size_t>(dtype)];
  if (kernels.module == nullptr) {
    kernels = load(dtype);
    most_blocks_ = std::min(most_blocks_, kernels.most_blocks);
  }
  return kernels;
}

std::unique_ptr<cuda::Kernels> KernelTable::load_module(const std::string& name) const {
  const gpu::Image* const image = gpu::find_image(name.c_str());
  if (image == nullptr) {
    throw Error(StatusCode::kUnhandledCudaError,
                fmt::format("CUDA device {}: the library has no kernels '{}': expected a build "
                            "with nvcc, got {}",
                            gpu_.ordinal(), name, gpu::images_text()));
  }
  const cuda::RelaxedCapture relaxed;
  return std::make_unique<cuda::Kernels>(gpu_, image->data);
}

PlanKernels KernelTable::load(DType dtype) const {
  const char* const id = id_of(dtype);
  PlanKernels kernels;
  kernels.module = load_module(id);
  const cuda::RelaxedCapture relaxed;
  kernels.simple = kernels.module->find(fmt::format("tutti_plan_simple_{}", id).c_str());
  kernels.inline_protocols = kernels.module->find(fmt::format("tutti_plan_inline_{}", id).c_str());
  kernels.reduce_copy = kernels.module->find(fmt::format("tutti_reduce_copy_{}", id).c_str());
  const int blocks =
      std::min(kernels.module->most_blocks(kernels.simple, threads_, kArenaBytes),
               kernels.module->most_blocks(kernels.inline_protocols, threads_, kArenaBytes));
  kernels.most_blocks = static_cast<unsigned>(blocks);
  return kernels;
}

cuda::Function KernelTable::single(Single& kernel, const std::string& module,
                                   const std::string& name) const {
  if (kernel.module == nullptr) {
    kernel.module = load_module(module);
    kernel.function = kernel.module->find(name.c_str());
  }
  return kernel.function;
}

cuda::Function KernelTable::symmetric_copy() {
  return single(symmetric_copy_, "symmetric_copy", "tutti_symmetric_copy");
}

cuda::Function KernelTable::moe(MoeKernel kernel) {
  if (moe_module_ == nullptr) {
    static constexpr std::array<const char*, kMoeKernels> kNames = {
        "tutti_moe_route",   "tutti_moe_stage", "tutti_moe_lay_out",
        "tutti_moe_receive", "tutti_moe_sum",   "tutti_moe_gather"};
    auto module = load_module("moe");
    const cuda::RelaxedCapture relaxed;
    for (size_t i = 0; i < kNames.size(); ++i) moe_[i] = module->find(kNames[i]);
    moe_module_ = std::move(module);
  }
  return moe_[static_cast<size_t>(kernel)];
}

cuda::Function KernelTable::nvls(DType dtype) {
  const std::string id = id_of(dtype);
  return single(nvls_[static_cast<size_t>(dtype)], "nvls_" + id, "tutti_nvls_" + id);
}

}  // namespace tutti::exec
