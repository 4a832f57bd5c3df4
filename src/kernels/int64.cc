// SPDX-License-Identifier: Apache-2.0
// Kernels of the 64-bit integers.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/int64.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "src/kernels/export.h"
#include "src/kernels/reduce_copy-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
TUTTI_KERNEL_ROW(kInt64, Native<int64_t>)
TUTTI_KERNEL_ROW(kUint64, Native<uint64_t>)
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
TUTTI_KERNEL_EXPORT(kInt64)
TUTTI_KERNEL_EXPORT(kUint64)
}  // namespace tutti::kernels
#endif  // HWY_ONCE
