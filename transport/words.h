// SPDX-License-Identifier: Apache-2.0
// Reading words that another thread or process may be writing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tutti::transport {

// In ascending order; each acquire load pairs with the release store of the word's writer.
inline void load_words(std::byte* from, std::span<uint64_t> words) noexcept {
  auto* source = reinterpret_cast<uint64_t*>(from);
  for (size_t i = 0; i < words.size(); ++i)
    words[i] = std::atomic_ref(source[i]).load(std::memory_order_acquire);
}

}  // namespace tutti::transport
