// SPDX-License-Identifier: Apache-2.0
// Kernels of the 16-bit floats.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/float16.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "src/kernels/export.h"
#include "src/kernels/ordered-inl.h"
#include "src/kernels/reduce_copy-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
template <Op kOp>
requires(kOp == Op::kMin || kOp == Op::kMax) struct CodecFor<Float16, kOp> {
  using type = Ordered<Float16Bits, kOp == Op::kMax>;
};
template <Op kOp>
requires(kOp == Op::kMin || kOp == Op::kMax) struct CodecFor<Bfloat16, kOp> {
  using type = Ordered<Bfloat16Bits, kOp == Op::kMax>;
};

TUTTI_KERNEL_ROW(kFloat16, Float16)
TUTTI_KERNEL_ROW(kBfloat16, Bfloat16)
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
TUTTI_KERNEL_EXPORT(kFloat16)
TUTTI_KERNEL_EXPORT(kBfloat16)
}  // namespace tutti::kernels
#endif  // HWY_ONCE
