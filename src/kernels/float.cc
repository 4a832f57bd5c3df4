// SPDX-License-Identifier: Apache-2.0
// Kernels of float32 and float64.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/float.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "src/kernels/export.h"
#include "src/kernels/reduce_copy-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
TUTTI_KERNEL_ROW(kFloat32, Native<float>)
TUTTI_KERNEL_ROW(kFloat64, Native<double>)
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
TUTTI_KERNEL_EXPORT(kFloat32)
TUTTI_KERNEL_EXPORT(kFloat64)
}  // namespace tutti::kernels
#endif  // HWY_ONCE
