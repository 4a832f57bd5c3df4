// SPDX-License-Identifier: Apache-2.0
// Exact fractions, for bounds that are proved and not only close.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "src/base/error.h"

namespace tutti {

// In lowest terms; the denominator is positive.
struct Rational {
  int64_t numerator = 0;
  int64_t denominator = 1;

  __extension__ using Wide = __int128;  // for products

  // The denominator is not 0. Throws InvalidArgument when the fraction in lowest terms does not
  // fit.
  static constexpr Rational of(int64_t numerator, int64_t denominator) {
    return of_wide(numerator, denominator);
  }
  static constexpr Rational of_wide(Wide numerator, Wide denominator) {
    Wide a = numerator < 0 ? -numerator : numerator;
    Wide b = denominator < 0 ? -denominator : denominator;
    while (b != 0) {
      const Wide rest = a % b;
      a = b;
      b = rest;
    }
    if (denominator < 0) a = -a;
    return {fit(numerator / a), fit(denominator / a)};
  }
  constexpr bool operator==(const Rational&) const = default;
  constexpr std::strong_ordering operator<=>(const Rational& other) const {
    return Wide{numerator} * other.denominator <=> Wide{other.numerator} * denominator;
  }
  constexpr double value() const {
    return static_cast<double>(numerator) / static_cast<double>(denominator);
  }
  std::string to_string() const {  // "7/300"; "1" when whole
    return std::to_string(numerator) + (denominator == 1 ? "" : "/" + std::to_string(denominator));
  }

 private:
  static constexpr int64_t fit(Wide value) {
    if (value > INT64_MAX || value < INT64_MIN)
      throw Error(StatusCode::kInvalidArgument,
                  "a fraction of these capacities does not fit into 64 bits: round them");
    return static_cast<int64_t>(value);
  }
};

}  // namespace tutti
