// SPDX-License-Identifier: Apache-2.0
// How a translation unit of kernels offers its dtypes to dispatch.cc.
#pragma once

#include "src/kernels/reduce_copy.h"

namespace tutti::kernels {

// kernel_kInt8(op) and so on, one per row: the best kernel of the dtype for this machine. Each is
// defined by the translation unit of its group.
#define X(id, value, bytes, name, acc)      \
  ReduceCopyFn kernel_##id(Op op) noexcept; \
  FoldPairFn fold_pair_##id(Op op) noexcept;
TUTTI_DTYPE_ROWS(X)
#undef X

}  // namespace tutti::kernels

// Inside HWY_NAMESPACE: names the codec of a dtype. Once, inside tutti::kernels: defines
// kernel_##id.
#define TUTTI_KERNEL_ROW(id, Codec)                                 \
  inline ReduceCopyFn row_##id(Op op) { return kernel<Codec>(op); } \
  inline FoldPairFn pair_row_##id(Op op) { return pair_kernel<Codec>(op); }
#define TUTTI_KERNEL_EXPORT(id)                                                           \
  HWY_EXPORT(row_##id);                                                                   \
  HWY_EXPORT(pair_row_##id);                                                              \
  ReduceCopyFn kernel_##id(Op op) noexcept { return HWY_DYNAMIC_DISPATCH(row_##id)(op); } \
  FoldPairFn fold_pair_##id(Op op) noexcept { return HWY_DYNAMIC_DISPATCH(pair_row_##id)(op); }
