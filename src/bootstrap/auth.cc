// SPDX-License-Identifier: Apache-2.0
// The proofs of auth.h by libsodium.
#include "src/bootstrap/auth.h"

#include <sodium.h>

#include <algorithm>
#include <vector>

#include "src/base/error.h"

namespace tutti::bootstrap {
namespace {

static_assert(sizeof(Key) == crypto_auth_KEYBYTES && sizeof(Mac) == crypto_auth_BYTES);
static_assert(sizeof(Key) == crypto_generichash_BYTES);

const unsigned char* in(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* out(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

void ensure_sodium() {
  // Cheap and thread-safe when it has been done before.
  if (::sodium_init() < 0) throw Error(StatusCode::kSystemError, "libsodium can't be initialised");
}

std::vector<std::byte> proven_text(const Transcript& transcript, Side side,
                                   std::span<const std::byte> body) {
  std::vector<std::byte> text;
  text.reserve(2 + 2 * sizeof(Nonce) + body.size());
  text.push_back(static_cast<std::byte>(transcript.role));
  text.push_back(static_cast<std::byte>(side));
  text.insert(text.end(), transcript.host.begin(), transcript.host.end());
  text.insert(text.end(), transcript.visitor.begin(), transcript.visitor.end());
  text.insert(text.end(), body.begin(), body.end());
  return text;
}

}  // namespace

void fill_random(std::span<std::byte> bytes) {
  ensure_sodium();
  ::randombytes_buf(bytes.data(), bytes.size());
}

Mac prove(const Key& key, const Transcript& transcript, Side side,
          std::span<const std::byte> body) {
  const std::vector<std::byte> text = proven_text(transcript, side, body);
  Mac mac{};
  ::crypto_auth(out(mac), in(text), text.size(), in(key));
  return mac;
}

bool verify(const Key& key, const Transcript& transcript, Side side,
            std::span<const std::byte> body, std::span<const std::byte> mac) {
  if (mac.size() != sizeof(Mac)) return false;
  const std::vector<std::byte> text = proven_text(transcript, side, body);
  return ::crypto_auth_verify(in(mac), in(text), text.size(), in(key)) == 0;
}

Key derive_key(std::string_view purpose, std::string_view text) {
  ensure_sodium();
  Key purpose_key{};
  ::crypto_generichash(out(purpose_key), purpose_key.size(), in(std::as_bytes(std::span(purpose))),
                       purpose.size(), nullptr, 0);
  Key key{};
  ::crypto_generichash(out(key), key.size(), in(std::as_bytes(std::span(text))), text.size(),
                       in(purpose_key), purpose_key.size());
  return key;
}

}  // namespace tutti::bootstrap
