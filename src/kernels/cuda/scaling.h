// SPDX-License-Identifier: Apache-2.0
// Host side: what kernels are told about a call's operation.
#pragma once

#include <cstring>

#include "src/kernels/cuda/move.h"
#include "src/kernels/divider.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::gpu {

inline void set_divisor(DType dtype, int32_t divisor, Scaling* scaling) noexcept {
  scaling->divisor = static_cast<uint32_t>(divisor);
  if (dtype == DType::kInt8 || dtype == DType::kUint8) {
    scaling->multiplier = kernels::Divider<uint8_t>(divisor).multiplier();
  } else if (dtype == DType::kInt32 || dtype == DType::kUint32) {
    const kernels::Divider<uint32_t> divider(divisor);
    scaling->multiplier = divider.multiplier();
    scaling->shift = static_cast<uint32_t>(divider.shift());
  } else if (dtype == DType::kInt64 || dtype == DType::kUint64) {
    const kernels::Divider<uint64_t> divider(divisor);
    scaling->multiplier = divider.multiplier();
    scaling->shift = static_cast<uint32_t>(divider.shift());
  }
}

// `scaling` as for kernels::reduce_copy_for(dtype, op); may be null where the operation has none.
inline Reduction make_reduction(DType dtype, Op op, const kernels::Scaling* scaling) noexcept {
  Reduction reduction;
  reduction.fold = op == Op::kAvg || op == Op::kPreMulSum ? Op::kSum : op;
  if (op == Op::kPreMulSum) {
    reduction.pre = true;
    memcpy(&reduction.scaling.pre, scaling->pre, sizeof(reduction.scaling.pre));
  }
  if (op == Op::kAvg && scaling->post_divisor > 1) {
    reduction.post = true;
    set_divisor(dtype, scaling->post_divisor, &reduction.scaling);
  }
  return reduction;
}

}  // namespace tutti::gpu
