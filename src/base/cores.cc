// SPDX-License-Identifier: Apache-2.0
// Counts cores.
#include "src/base/cores.h"

#include <algorithm>
#include <bit>

namespace tutti {

int count(const CoreSet& cores) noexcept {
  int total = 0;
  for (const uint64_t word : cores) total += std::popcount(word);
  return std::max(1, total);
}

}  // namespace tutti
