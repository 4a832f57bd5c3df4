// SPDX-License-Identifier: Apache-2.0
// The 8-bit floats by integer arithmetic, for GPUs that have no instructions for them.
#pragma once

#include <cstdint>

#include "src/kernels/cuda/function.h"

namespace tutti::gpu {

TUTTI_GPU uint32_t float_bits(float value) { return __builtin_bit_cast(uint32_t, value); }
TUTTI_GPU float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// Infinity or NaN.
TUTTI_GPU bool is_special(float value) { return (float_bits(value) & 0x7f800000u) == 0x7f800000u; }
// What e5m2 has for a value that is_special().
TUTTI_GPU uint32_t special_e5m2(float value) {
  if (value != value) return 0x7eu;
  return float_bits(value) >> 31 != 0 ? 0xfcu : 0x7cu;
}

// A format of kExponent and kMantissa bits, one code per call. Subnormals are decoded by giving
// them exponent 1 and taking the implied one away again, and encoded by adding a power of two whose
// last place is the format's: exact, and no operand is a subnormal float32.
template <int kExponent, int kMantissa, bool kInfinity>
struct SmallFloat8 {
  static constexpr int kDropped = 23 - kMantissa;
  static constexpr uint32_t kBias = (1u << (kExponent - 1)) - 1;
  static constexpr uint32_t kRebias = (127 - kBias) << 23;
  static constexpr uint32_t kMinNormal = kRebias + (1u << 23);
  static constexpr uint32_t kTopExponent = ((1u << kExponent) - 1) << kMantissa;
  static constexpr uint32_t kSpecial = kInfinity ? kTopExponent : 0x7fu;  // codes from here on
  static constexpr uint32_t kMaxCode = kSpecial - 1;

  // Without branches: all cases are computed and one is selected.
  static TUTTI_GPU float decode(uint32_t code) {
    const uint32_t magnitude = (code & 0x7fu) << kDropped;
    const uint32_t sign = (code & 0x80u) << 24;
    const uint32_t small = float_bits(float_of(magnitude + kMinNormal) - float_of(kMinNormal));
    const uint32_t normal = magnitude + kRebias;
    uint32_t bits = magnitude < (1u << 23) ? small : normal;
    bits = (code & 0x7fu) < kSpecial ? bits : normal | 0x7f800000u;
    return float_of(sign | bits);
  }
  static TUTTI_GPU uint32_t encode(float value) {
    const uint32_t bits = float_bits(value);
    const uint32_t sign = (bits >> 24) & 0x80u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    constexpr uint32_t kUnit = (127 - kBias + 1 + 23 - kMantissa) << 23;  // 2^23 last places
    const uint32_t small = float_bits(float_of(magnitude) + float_of(kUnit)) - kUnit;
    const uint32_t odd = (magnitude >> kDropped) & 1u;
    const uint32_t carried = magnitude + odd + ((1u << (kDropped - 1)) - 1);
    uint32_t code = (carried - kRebias) >> kDropped;
    code = code < kMaxCode ? code : kMaxCode;
    code = sign | (magnitude < kMinNormal ? small : code);
    const uint32_t special = kInfinity ? special_e5m2(value) : 0x7fu;
    return magnitude < 0x7f800000u ? code : special;
  }
};
using SmallE4m3 = SmallFloat8<4, 3, false>;
using SmallE5m2 = SmallFloat8<5, 2, true>;

}  // namespace tutti::gpu
