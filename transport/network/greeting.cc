// SPDX-License-Identifier: Apache-2.0
// Proofs and keys by libsodium.
#include "transport/network/greeting.h"

#include <sodium.h>

#include <cstring>
#include <string_view>

namespace tutti::transport::network {
namespace {

void expect_sodium() {
  if (sodium_init() < 0) {
    throw Error(StatusCode::kSystemError,
                "libsodium can't be initialised: the system has no source of random numbers");
  }
}

// BLAKE2b-256 keyed with the secret over purpose, hello and the acceptor's nonce.
template <typename Out>
Out keyed_hash(const Key& secret, std::string_view purpose, const Hello& hello,
               const Nonce& acceptor) noexcept {
  const auto bytes = [](const void* p) { return static_cast<const unsigned char*>(p); };
  crypto_generichash_state state;
  Out out{};
  crypto_generichash_init(&state, bytes(secret.data()), secret.size(), out.size());
  crypto_generichash_update(&state, bytes(purpose.data()), purpose.size());
  crypto_generichash_update(&state, bytes(&hello), sizeof hello);
  crypto_generichash_update(&state, bytes(acceptor.data()), acceptor.size());
  crypto_generichash_final(&state, reinterpret_cast<unsigned char*>(out.data()), out.size());
  return out;
}

}  // namespace

Nonce fresh_nonce() {
  expect_sodium();
  Nonce nonce;
  randombytes_buf(nonce.data(), nonce.size());
  return nonce;
}

Mac prove(const Key& secret, Step step, const Hello& hello, const Nonce& acceptor) noexcept {
  return keyed_hash<Mac>(secret, step == Step::kWelcome ? "tutti welcome" : "tutti confirm", hello,
                         acceptor);
}

bool holds(const Mac& expected, const Mac& got) noexcept {
  return sodium_memcmp(expected.data(), got.data(), expected.size()) == 0;
}

PathKeys derive_keys(const Key& secret, const Hello& hello, const Nonce& acceptor) noexcept {
  return {.dialler_sends = keyed_hash<Key>(secret, "tutti dialler key", hello, acceptor),
          .acceptor_sends = keyed_hash<Key>(secret, "tutti acceptor key", hello, acceptor)};
}

}  // namespace tutti::transport::network
