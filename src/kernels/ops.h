// SPDX-License-Identifier: Apache-2.0
// One row per reduction operation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti {

// The fold of two values. Avg folds as Sum with a post division by the number of ranks; PreMulSum
// folds as Sum with a pre multiplication of each input. NaN: Sum and Prod as IEEE 754; Min and Max
// return NaN when any operand is NaN.
// X(enumerator, value as in tuttiRedOp_t, nccl-tests name)
#define TUTTI_OP_ROWS(X) \
  X(kSum, 0, "sum")      \
  X(kProd, 1, "prod")    \
  X(kMax, 2, "max")      \
  X(kMin, 3, "min")      \
  X(kAvg, 4, "avg")

enum class Op : uint8_t {
#define X(id, value, name) id = (value),
  TUTTI_OP_ROWS(X)
#undef X
      kPreMulSum = 5,  // made by tuttiRedOpCreatePreMulSum; "mulsum"
};
inline constexpr int kOpCount = 6;

constexpr const char* name(Op op) noexcept {
  constexpr const char* kNames[] = {
#define X(id, value, name) name,
      TUTTI_OP_ROWS(X)
#undef X
          "mulsum"};
  return kNames[static_cast<size_t>(op)];
}

}  // namespace tutti
