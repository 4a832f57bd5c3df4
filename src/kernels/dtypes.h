// SPDX-License-Identifier: Apache-2.0
// One row per data type; shared by the host kernels, the C API and (later) CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti {

// X(enumerator, value as in tuttiDataType_t, bytes, nccl-tests name, accumulator of a reduction)
#define TUTTI_DTYPE_ROWS(X)              \
  X(kInt8, 0, 1, "int8", int8_t)         \
  X(kUint8, 1, 1, "uint8", uint8_t)      \
  X(kInt32, 2, 4, "int32", int32_t)      \
  X(kUint32, 3, 4, "uint32", uint32_t)   \
  X(kInt64, 4, 8, "int64", int64_t)      \
  X(kUint64, 5, 8, "uint64", uint64_t)   \
  X(kFloat16, 6, 2, "half", float)       \
  X(kFloat32, 7, 4, "float", float)      \
  X(kFloat64, 8, 8, "double", double)    \
  X(kBfloat16, 9, 2, "bfloat16", float)  \
  X(kFloat8e4m3, 10, 1, "f8e4m3", float) \
  X(kFloat8e5m2, 11, 1, "f8e5m2", float)

enum class DType : uint8_t {
#define X(id, value, bytes, name, acc) id = (value),
  TUTTI_DTYPE_ROWS(X)
#undef X
};
inline constexpr int kDTypeCount = 12;

constexpr size_t size_of(DType dtype) noexcept {
  constexpr uint8_t kBytes[] = {
#define X(id, value, bytes, name, acc) bytes,
      TUTTI_DTYPE_ROWS(X)
#undef X
  };
  return kBytes[static_cast<size_t>(dtype)];
}
constexpr const char* name(DType dtype) noexcept {
  constexpr const char* kNames[] = {
#define X(id, value, bytes, name, acc) name,
      TUTTI_DTYPE_ROWS(X)
#undef X
  };
  return kNames[static_cast<size_t>(dtype)];
}
// Is a reduction's accumulator of the datatype itself, so that storing a partial result changes no
// bit?
constexpr bool folds_as_itself(DType dtype) noexcept {
  constexpr size_t kAccumulatorBytes[] = {
#define X(id, value, bytes, name, acc) sizeof(acc),
      TUTTI_DTYPE_ROWS(X)
#undef X
  };
  return kAccumulatorBytes[static_cast<size_t>(dtype)] == size_of(dtype);
}

}  // namespace tutti
