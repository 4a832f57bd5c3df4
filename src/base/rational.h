// SPDX-License-Identifier: Apache-2.0
// Exact fractions, for bounds that are proved and not only close.
#pragma once

#include <compare>
#include <cstdint>
#include <numeric>
#include <string>

namespace tutti {

// In lowest terms; the denominator is positive.
struct Rational {
  int64_t numerator = 0;
  int64_t denominator = 1;

  static constexpr Rational of(int64_t numerator, int64_t denominator) {
    const int64_t common = std::gcd(numerator, denominator);
    const int64_t sign = denominator < 0 ? -1 : 1;
    return {sign * numerator / common, sign * denominator / common};
  }
  constexpr bool operator==(const Rational&) const = default;
  constexpr std::strong_ordering operator<=>(const Rational& other) const {
    return static_cast<Wide>(numerator) * other.denominator <=>
           static_cast<Wide>(other.numerator) * denominator;
  }
  constexpr double value() const {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
  }
  std::string to_string() const {  // "7/300"; "1" when whole
    return std::to_string(numerator) + (denominator == 1 ? "" : "/" + std::to_string(denominator));
  }

 private:
  __extension__ using Wide = __int128;
};

}  // namespace tutti
