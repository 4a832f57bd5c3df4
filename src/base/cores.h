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

// Bytes of the last-level cache of the machine's first core, by the kernel's account; where that
// has none, what is usual today (32 MiB).
size_t last_level_cache_bytes();

}  // namespace tutti
