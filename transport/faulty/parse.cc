// SPDX-License-Identifier: Apache-2.0
// The text form of faults.
#include <charconv>
#include <string>

#include "transport/faulty/faulty.h"

namespace tutti::transport {
namespace {

[[noreturn]] void reject(std::string_view what) {
  throw Error(StatusCode::kInvalidArgument,
              "TUTTI_FAULTS: '" + std::string(what) +
                  "' is not understood; expected e.g. "
                  "seed=7,delay=200us,stall=0.001:20ms,drop=0.0001,kill=0.0001");
}

template <typename Number>
Number number_of(std::string_view text, std::string_view whole, std::string_view* rest = nullptr) {
  Number value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view left(parsed.ptr,
                              static_cast<size_t>(text.data() + text.size() - parsed.ptr));
  if (parsed.ec != std::errc{} || (rest == nullptr && !left.empty())) reject(whole);
  if (rest != nullptr) *rest = left;
  return value;
}

int64_t duration_of(std::string_view text, std::string_view whole) {
  std::string_view unit;
  const double value = number_of<double>(text, whole, &unit);
  const double scale = unit == "ns"   ? 1
                       : unit == "us" ? 1e3
                       : unit == "ms" ? 1e6
                       : unit == "s"  ? 1e9
                                      : 0;
  if (scale == 0 || value < 0 || value * scale > 1e18) reject(whole);
  return static_cast<int64_t>(value * scale);
}

double probability_of(std::string_view text, std::string_view whole) {
  const double value = number_of<double>(text, whole);
  if (!(value >= 0 && value <= 1)) reject(whole);
  return value;
}

void parse_one(std::string_view item, Faults* faults) {
  const size_t equals = item.find('=');
  if (equals == std::string_view::npos) reject(item);
  const std::string_view name = item.substr(0, equals), value = item.substr(equals + 1);
  if (name == "seed") {
    faults->seed = number_of<uint64_t>(value, item);
  } else if (name == "delay") {
    faults->delay_ns = duration_of(value, item);
  } else if (name == "stall") {
    const size_t colon = value.find(':');
    if (colon == std::string_view::npos) reject(item);
    faults->stall = probability_of(value.substr(0, colon), item);
    faults->stall_ns = duration_of(value.substr(colon + 1), item);
  } else if (name == "drop") {
    faults->drop = probability_of(value, item);
  } else if (name == "kill") {
    faults->kill = probability_of(value, item);
  } else {
    reject(item);
  }
}

}  // namespace

Faults parse_faults(std::string_view text) {
  Faults faults;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    parse_one(text.substr(0, comma), &faults);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return faults;
}

}  // namespace tutti::transport
