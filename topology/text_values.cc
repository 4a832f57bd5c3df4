// SPDX-License-Identifier: Apache-2.0
// Parses integers and bandwidths.
#include "topology/text_values.h"

#include <charconv>
#include <cmath>
#include <system_error>

#include "topology/graph.h"

namespace tutti::topology {
namespace {

template <typename Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text, int64_t low, int64_t high) {
  const auto value = parse_whole<int64_t>(text);
  return value && *value >= low && *value <= high ? value : std::nullopt;
}

std::optional<int64_t> parse_gigabytes(std::string_view text) {
  const auto value = parse_whole<double>(text);
  if (!value || !(*value >= 0 && *value <= kMaxGigabytes)) return std::nullopt;  // NaN too
  const double mbit_s = *value * kMbitPerGigabyte;
  if (std::abs(mbit_s - std::round(mbit_s)) >= 1e-6) return std::nullopt;
  return std::llround(mbit_s);
}

}  // namespace tutti::topology
