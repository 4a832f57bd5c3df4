// SPDX-License-Identifier: Apache-2.0
// What switches reduce, for host and device.
#pragma once

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::gpu {

// The pairs that multicast loads reduce, from sm_90 on; Avg divides the sum afterwards.
constexpr bool multimem_reduces(DType dtype, Op op) noexcept {
  const bool sum = op == Op::kSum;
  const bool order = op == Op::kMin || op == Op::kMax;
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kInt32:
    case DType::kUint32:
    case DType::kInt64:
    case DType::kUint64:
      return sum || order;
    case DType::kFloat32:
    case DType::kFloat64:
      return sum;
    default:
      return false;
  }
}
}  // namespace tutti::gpu
