// SPDX-License-Identifier: Apache-2.0
// The kernels of the library on one GPU, loaded when they are first wanted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "src/device/cuda/gpu.h"
#include "src/device/cuda/stream.h"
#include "src/exec/cuda/moe.h"
#include "src/kernels/dtypes.h"

namespace tutti::exec {

// Dynamic shared memory of a block: the endpoints of its lane always, its code as far as it goes.
inline constexpr uint32_t kArenaBytes = 16 << 10;
inline constexpr uint32_t kMostArenaBytes = 40 << 10;  // with what is static below 48 KiB

struct PlanKernels {
  std::unique_ptr<cuda::Kernels> module;
  cuda::Function simple = nullptr;
  cuda::Function inline_protocols = nullptr;
  cuda::Function reduce_copy = nullptr;
  unsigned most_blocks = 0;  // of the first two, that run at a time with kArenaBytes
};

class KernelTable {
 public:
  // Loads those of one data type. Throws UnhandledCudaError: the library has no code for the GPU.
  KernelTable(const cuda::Gpu& gpu, unsigned threads);
  const PlanKernels& of(DType dtype);
  cuda::Function symmetric_copy();
  cuda::Function nvls(DType dtype);  // of a type that the switch reduces
  cuda::Function moe(MoeKernel kernel);
  // Of any data type that has been loaded; the others are like them.
  unsigned most_blocks() const noexcept { return most_blocks_; }

 private:
  struct Single {
    std::unique_ptr<cuda::Kernels> module;
    cuda::Function function = nullptr;
  };
  std::unique_ptr<cuda::Kernels> load_module(const std::string& name) const;
  PlanKernels load(DType dtype) const;
  cuda::Function single(Single& kernel, const std::string& module, const std::string& name) const;

  const cuda::Gpu& gpu_;
  const unsigned threads_;
  unsigned most_blocks_ = UINT32_MAX;
  std::array<PlanKernels, kDTypeCount> loaded_;
  Single symmetric_copy_;
  std::array<Single, kDTypeCount> nvls_;
  std::unique_ptr<cuda::Kernels> moe_module_;
  std::array<cuda::Function, kMoeKernels> moe_{};
};

}  // namespace tutti::exec
