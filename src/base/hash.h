// SPDX-License-Identifier: Apache-2.0
// A 64-bit hash for plan identities and signatures (not for secrets).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

namespace tutti {

// FNV-1a over bytes with a final avalanche (splitmix64); stable across machines, so ranks can
// compare hashes.
class Hasher {
 public:
  void bytes(const void* data, size_t count) noexcept {
    const auto* p = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < count; ++i) state_ = (state_ ^ p[i]) * 0x100000001b3ULL;
  }
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void value(T v) noexcept {
    const auto wide = static_cast<uint64_t>(v);
    for (int shift = 0; shift < 64; shift += 8)
      state_ = (state_ ^ ((wide >> shift) & 0xff)) * 0x100000001b3ULL;
  }
  void text(std::string_view s) noexcept {
    value(s.size());
    bytes(s.data(), s.size());
  }
  uint64_t finish() const noexcept {
    uint64_t z = state_ + 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace tutti
