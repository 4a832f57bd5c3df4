// SPDX-License-Identifier: Apache-2.0
// What this process holds for itself.
#pragma once

#include <cstdint>
#include <optional>

namespace tutti {

// Bytes of memory that no other process shares: the sum of smaps_rollup's Private_ fields
// (proc(5)). nullopt where the kernel has none. Takes the kernel a walk through all mappings: not
// for hot paths.
std::optional<uint64_t> private_bytes();

}  // namespace tutti
