// SPDX-License-Identifier: Apache-2.0
// Authenticated encryption of one direction of a path: ChaCha20-Poly1305, which needs no agreement
// between hosts about what their processors can do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tutti::transport::tcp {

inline constexpr size_t kTagBytes = 16;

// Nonces count up from 0: each key is used by one path in one direction only.
class Seal {
 public:
  explicit Seal(const std::array<std::byte, 32>& key) noexcept : key_(key) {}
  // `out` has room for bytes + kTagBytes.
  void close(const std::byte* plain, size_t bytes, std::byte* out) noexcept;
  // `sealed` has bytes + kTagBytes; `out` may be where `sealed` is. False: not what was sealed.
  bool open(const std::byte* sealed, size_t bytes, std::byte* out) noexcept;

 private:
  std::array<unsigned char, 12> next_nonce() noexcept;
  std::array<std::byte, 32> key_;
  uint64_t used_ = 0;
};

}  // namespace tutti::transport::tcp
