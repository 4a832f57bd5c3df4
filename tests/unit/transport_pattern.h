// SPDX-License-Identifier: Apache-2.0
// Bytes that follow from a key, so that whoever gets them can tell whether they are the right ones.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tutti::transport::testing {

inline uint64_t pattern_word(uint64_t key, size_t index) {
  const uint64_t z = key * 0x9e3779b97f4a7c15ULL + index;
  return (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ULL;
}

inline void fill_pattern(std::byte* data, size_t bytes, uint64_t key) {
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t word = pattern_word(key, at);
    std::memcpy(data + at, &word, std::min(sizeof word, bytes - at));
  }
}

inline bool has_pattern(const std::byte* data, size_t bytes, uint64_t key) {
  for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
    const uint64_t word = pattern_word(key, at);
    if (std::memcmp(data + at, &word, std::min(sizeof word, bytes - at)) != 0) return false;
  }
  return true;
}

}  // namespace tutti::transport::testing
