// SPDX-License-Identifier: Apache-2.0
// Exact truncating division of unsigned integers by an invariant number, by multiplication.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace tutti::kernels {

// Granlund and Montgomery, "Division by Invariant Integers using Multiplication" (PLDI 1994),
// figure 4.1: with N bits and l = ceil(log2 d), m = floor(2^N (2^l - d) / d) + 1 and t = floor(m n
// / 2^N) give n / d = (t + (n - t) / 2) / 2^(l - 1) exactly, for every n. N is 32 or 64.
template <class U>
class Divider {
 public:
  // divisor >= 2 (a division by 1 is left out by the caller).
  explicit Divider(int32_t divisor)
      : shift_(std::bit_width(static_cast<uint32_t>(divisor) - 1) - 1),
        multiplier_(static_cast<U>(
            (static_cast<Wide>((uint64_t{2} << shift_) - static_cast<uint32_t>(divisor)) << kBits) /
                static_cast<uint32_t>(divisor) +
            1)) {}
  U multiplier() const { return multiplier_; }
  int shift() const { return shift_; }
  U divide(U value) const {
    const U high = static_cast<U>((static_cast<Wide>(value) * multiplier_) >> kBits);
    return (high + ((value - high) >> 1)) >> shift_;
  }

 private:
  static constexpr int kBits = std::numeric_limits<U>::digits;
  using Wide = unsigned __int128;
  int shift_;
  U multiplier_;
};

// Bytes: m = floor(2^16 / d) + 1 exceeds 2^16 / d by less than d / 2^16 of it, so n m / 2^16
// exceeds n / d by at most n / 2^16 < 1 / d, since n d <= 255 * 256 < 2^16: it never reaches the
// next integer. Every d above 255 has quotient 0, as d = 256 has.
template <>
class Divider<uint8_t> {
 public:
  explicit Divider(int32_t divisor) : multiplier_(65536 / (divisor < 256 ? divisor : 256) + 1) {}
  uint32_t multiplier() const { return multiplier_; }
  uint8_t divide(uint8_t value) const { return static_cast<uint8_t>((value * multiplier_) >> 16); }

 private:
  uint32_t multiplier_;
};

}  // namespace tutti::kernels
