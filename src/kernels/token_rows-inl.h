// SPDX-License-Identifier: Apache-2.0
// Single elements of rows of tokens, for what no vector covers.

#if defined(TUTTI_KERNELS_TOKEN_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_TOKEN_ROWS_INL_H_
#undef TUTTI_KERNELS_TOKEN_ROWS_INL_H_
#else
#define TUTTI_KERNELS_TOKEN_ROWS_INL_H_
#endif

#include <bit>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {

inline float as_float(uint32_t bits) { return std::bit_cast<float>(bits); }

inline uint16_t load_bf16(const uint8_t* from) {
  uint16_t value = 0;
  memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
