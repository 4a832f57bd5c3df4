// SPDX-License-Identifier: Apache-2.0
// The kernels of MoE layers, as what is launched (src/kernels/cuda/moe_args.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/device/cuda/abi.h"
#include "src/kernels/cuda/moe_args.h"

namespace tutti::exec {

// In the order of a dispatch and the combine after it.
enum class MoeKernel : uint8_t { kRoute, kStage, kLayOut, kReceive, kSum, kGather };
inline constexpr size_t kMoeKernels = 6;

// One after the other, in one stream.
struct MoeLaunch {
  std::span<const MoeKernel> kernels;
  gpu::MoeArgs args;  // without the watch
  uint64_t call = 0;  // for who watches
  cuda::Stream stream = nullptr;
};

}  // namespace tutti::exec
