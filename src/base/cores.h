// SPDX-License-Identifier: Apache-2.0
// The cores that this process may use.
#pragma once

#include <array>
#include <cstdint>

namespace tutti {

// One bit per core.
using CoreSet = std::array<uint64_t, 16>;

// Those that a thread of this process may run on.
CoreSet usable_cores();
// At least 1.
int count(const CoreSet& cores) noexcept;

}  // namespace tutti
