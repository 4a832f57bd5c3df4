// SPDX-License-Identifier: Apache-2.0
// Seals with libsodium.
#include "transport/tcp/seal.h"

#include <sodium.h>

#include <cstring>

namespace tutti::transport::tcp {
namespace {

const unsigned char* raw(const std::byte* p) noexcept {
  return reinterpret_cast<const unsigned char*>(p);
}
unsigned char* raw(std::byte* p) noexcept { return reinterpret_cast<unsigned char*>(p); }

}  // namespace

std::array<unsigned char, 12> Seal::next_nonce() noexcept {
  std::array<unsigned char, 12> nonce{};
  std::memcpy(nonce.data(), &used_, sizeof used_);
  ++used_;
  return nonce;
}

void Seal::close(const std::byte* plain, size_t bytes, std::byte* out) noexcept {
  const auto nonce = next_nonce();
  crypto_aead_chacha20poly1305_ietf_encrypt(raw(out), nullptr, raw(plain), bytes, nullptr, 0,
                                            nullptr, nonce.data(), raw(key_.data()));
}

bool Seal::open(const std::byte* sealed, size_t bytes, std::byte* out) noexcept {
  const auto nonce = next_nonce();
  return crypto_aead_chacha20poly1305_ietf_decrypt(raw(out), nullptr, nullptr, raw(sealed),
                                                   bytes + kTagBytes, nullptr, 0, nonce.data(),
                                                   raw(key_.data())) == 0;
}

}  // namespace tutti::transport::tcp
