// SPDX-License-Identifier: Apache-2.0
// The cores that this process may use, and the cache that they share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tutti {

// One bit per core.
using CoreSet = std::array<uint64_t, 16>;

// Those that a thread of this process may run on.
CoreSet usable_cores();
// At least 1.
int count(const CoreSet& cores) noexcept;

// Bytes of the caches of the machine's first core.
struct CacheSizes {
  uint64_t second_level = 0;
  uint64_t last_level = 0;
};
// By the kernel's account; where that has none, what is usual today (1 MiB and 32 MiB).
CacheSizes cache_sizes();

}  // namespace tutti
