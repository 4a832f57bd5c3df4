// SPDX-License-Identifier: Apache-2.0
// Copies of up to one cache line, inlined: what a message in a line costs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace tutti::kernels {

inline constexpr size_t kSmallCopyBytes = 64;

struct Bytes16 {
  uint64_t words[2];
};
struct Bytes32 {
  uint64_t words[4];
};
struct Line {
  uint64_t words[8];
};

// Two words of the same size, at the front and at the back; they may overlap. Both are loaded
// before either is stored.
template <class Word>
inline void copy_two_words(unsigned char* to, const unsigned char* from, size_t bytes) noexcept {
  Word front;
  Word back;
  std::memcpy(&front, from, sizeof(Word));
  std::memcpy(&back, from + bytes - sizeof(Word), sizeof(Word));
  std::memcpy(to, &front, sizeof(Word));
  std::memcpy(to + bytes - sizeof(Word), &back, sizeof(Word));
}

// Up to kSmallCopyBytes bytes.
[[gnu::always_inline]] inline void copy_small(void* sink, const void* source,
                                              size_t bytes) noexcept {
  auto* to = static_cast<unsigned char*>(sink);
  const auto* from = static_cast<const unsigned char*>(source);
  if (bytes >= 16) {
    if (bytes <= 32) return copy_two_words<Bytes16>(to, from, bytes);
    copy_two_words<Bytes32>(to, from, bytes);
  } else if (bytes >= 8) {
    copy_two_words<uint64_t>(to, from, bytes);
  } else if (bytes >= 4) {
    copy_two_words<uint32_t>(to, from, bytes);
  } else if (bytes >= 2) {
    copy_two_words<uint16_t>(to, from, bytes);
  } else if (bytes == 1) {
    *to = *from;
  }
}

}  // namespace tutti::kernels
