// SPDX-License-Identifier: Apache-2.0
// Is a connection's layout one that the views can work with? Checked where it is made and where it
// arrives.
#pragma once

#include <bit>

#include "transport/fifo.h"

namespace tutti::transport {

inline constexpr uint32_t kMaxLines = 1 << 16;
inline constexpr uint32_t kMaxAreaBytes = 1 << 28;

constexpr bool is_valid(const FifoLayout& layout) noexcept {
  return std::has_single_bit(layout.n_lines) && layout.n_lines <= kMaxLines &&
         std::has_single_bit(layout.n_areas) && layout.n_areas <= kMaxAreas &&
         layout.area_bytes > 0 && layout.area_bytes % kCacheLineBytes == 0 &&
         layout.area_bytes <= kMaxAreaBytes;
}
inline constexpr const char* kLayoutRules =
    "n_lines and n_areas must be powers of two (at most 65536 and 64), area_bytes a multiple of 64 "
    "(at "
    "most 256 MiB)";

}  // namespace tutti::transport
