// SPDX-License-Identifier: Apache-2.0
// What rows of tokens become when they are quantised and summed, element by element in plain C++:
// shares no code with the kernels and the library that it judges.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/support/reference_math.h"

// Compile with -ffp-contract=off.
namespace tutti::test {

inline float from_bf16(uint16_t code) {
  const uint32_t bits = static_cast<uint32_t>(code) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline uint16_t to_bf16(float value) {
  return static_cast<uint16_t>(encode(kBfloat16Format, value));
}

// e4m3 that saturates infinities as well.
inline uint8_t to_e4m3(float value) {
  if (std::isinf(value)) return value < 0 ? 0xfe : 0x7e;
  return static_cast<uint8_t>(encode(kE4m3Format, value));
}

struct Quantized {
  std::vector<uint8_t> codes;
  std::vector<float> scales;       // what a code is multiplied by
  std::vector<uint8_t> exponents;  // of the scales with bias 127; only with UE8M0 scales
};

inline Quantized quantized(const std::vector<uint16_t>& row, size_t group, bool ue8m0) {
  Quantized result;
  for (size_t first = 0; first < row.size(); first += group) {
    float amax = 1e-4F;
    for (size_t i = first; i < first + group; ++i) {
      const float magnitude = std::fabs(from_bf16(row[i]));
      if (std::isfinite(magnitude)) amax = std::fmax(amax, magnitude);
    }
    float scale = amax / 448.0F;
    float factor = 448.0F / amax;
    if (ue8m0) {
      int exponent = 0;
      const float fraction = std::frexp(scale, &exponent);  // scale = fraction * 2^exponent
      if (fraction == 0.5F) --exponent;
      scale = std::ldexp(1.0F, exponent);
      factor = std::ldexp(1.0F, -exponent);
      result.exponents.push_back(static_cast<uint8_t>(exponent + 127));
    }
    result.scales.push_back(scale);
    for (size_t i = first; i < first + group; ++i)
      result.codes.push_back(to_e4m3(from_bf16(row[i]) * factor));
  }
  return result;
}

}  // namespace tutti::test
