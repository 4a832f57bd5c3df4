// SPDX-License-Identifier: Apache-2.0
// Numbers that people write in synthetic lines and in changes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace tutti::topology {

// The whole of `text` as an integer from low to high.
std::optional<int64_t> parse_integer(std::string_view text, int64_t low, int64_t high);

// The most that parse_gigabytes takes.
inline constexpr int64_t kMaxGigabytes = 100'000;

// GB/s with decimals, from 0 to kMaxGigabytes, as Mbit/s; nothing unless those are a whole number.
std::optional<int64_t> parse_gigabytes(std::string_view text);

}  // namespace tutti::topology
