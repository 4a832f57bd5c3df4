// SPDX-License-Identifier: Apache-2.0
// How many blocks fit on a multiprocessor.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cudasim {

inline constexpr uint32_t kMaxThreadsPerBlock = 1024;
inline constexpr uint32_t kMaxThreadsPerMultiprocessor = 2048;
inline constexpr uint32_t kMaxBlocksPerMultiprocessor = 32;
inline constexpr uint32_t kSharedPerMultiprocessor = 228 << 10;
inline constexpr uint32_t kSharedPerBlockOptin = 227 << 10;
inline constexpr uint32_t kSharedPerBlock = 48 << 10;

inline uint32_t blocks_per_multiprocessor(uint64_t threads, uint64_t shared_bytes) {
  if (threads == 0 || threads > kMaxThreadsPerBlock || shared_bytes > kSharedPerBlockOptin)
    return 0;
  const uint64_t by_threads = kMaxThreadsPerMultiprocessor / ((threads + 31) / 32 * 32);
  const uint64_t by_shared = kSharedPerMultiprocessor / (shared_bytes + 1024);
  return static_cast<uint32_t>(
      std::min({by_threads, by_shared, uint64_t{kMaxBlocksPerMultiprocessor}}));
}

}  // namespace cudasim
