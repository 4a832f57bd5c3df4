// SPDX-License-Identifier: Apache-2.0
// Kernels of the 32-bit integers.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/int32.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "src/kernels/export.h"
#include "src/kernels/reduce_copy-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
TUTTI_KERNEL_ROW(kInt32, Native<int32_t>)
TUTTI_KERNEL_ROW(kUint32, Native<uint32_t>)
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
TUTTI_KERNEL_EXPORT(kInt32)
TUTTI_KERNEL_EXPORT(kUint32)
}  // namespace tutti::kernels
#endif  // HWY_ONCE
