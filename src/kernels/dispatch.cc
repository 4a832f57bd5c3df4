// SPDX-License-Identifier: Apache-2.0
// The one table from a data type to its kernels, and the name of the instruction set they use.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/dispatch.cc"
#include <array>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "src/kernels/export.h"
#include "src/kernels/reduce_copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
inline const char* target_name() { return hwy::TargetName(HWY_TARGET); }
}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {

HWY_EXPORT(target_name);

const char* instruction_set() noexcept { return HWY_DYNAMIC_DISPATCH(target_name)(); }

ReduceCopyFn reduce_copy_for(DType dtype, Op op) noexcept {
  static constexpr std::array<ReduceCopyFn (*)(Op) noexcept, kDTypeCount> kRows = {
#define X(id, value, bytes, name, acc) &kernel_##id,
      TUTTI_DTYPE_ROWS(X)
#undef X
  };
  return kRows[static_cast<size_t>(dtype)](op);
}

FoldPairFn fold_pair_for(DType dtype, Op op) noexcept {
  static constexpr std::array<FoldPairFn (*)(Op) noexcept, kDTypeCount> kRows = {
#define X(id, value, bytes, name, acc) &fold_pair_##id,
      TUTTI_DTYPE_ROWS(X)
#undef X
  };
  return kRows[static_cast<size_t>(dtype)](op);
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
