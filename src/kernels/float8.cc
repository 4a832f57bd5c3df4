// SPDX-License-Identifier: Apache-2.0
// Kernels of the 8-bit floats.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/float8.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "src/kernels/convert_float8-inl.h"
#include "src/kernels/export.h"
#include "src/kernels/ordered-inl.h"
#include "src/kernels/product_table-inl.h"
#include "src/kernels/reduce_copy-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
template <Op kOp>
requires(kOp == Op::kMin || kOp == Op::kMax) struct CodecFor<Float8e4m3, kOp> {
  using type = Ordered<Float8e4m3Bits, kOp == Op::kMax>;
};
template <Op kOp>
requires(kOp == Op::kMin || kOp == Op::kMax) struct CodecFor<Float8e5m2, kOp> {
  using type = Ordered<Float8e5m2Bits, kOp == Op::kMax>;
};

TUTTI_KERNEL_ROW(kFloat8e4m3, Float8e4m3)
TUTTI_KERNEL_ROW(kFloat8e5m2, Float8e5m2)
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
TUTTI_KERNEL_EXPORT(kFloat8e4m3)
TUTTI_KERNEL_EXPORT(kFloat8e5m2)
}  // namespace tutti::kernels
#endif  // HWY_ONCE
