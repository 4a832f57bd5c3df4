// SPDX-License-Identifier: Apache-2.0
// Proof that both ends of a connection hold the unique id's key: challenge and HMAC, both ways,
// before anything is parsed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tutti::bootstrap {

using Key = std::array<std::byte, 32>;
using Nonce = std::array<std::byte, 32>;
using Mac = std::array<std::byte, 32>;

// What a connection is for. Part of every proof, so that a proof made for one purpose is worth
// nothing for another.
enum class Role : uint8_t {
  kRegister = 1,  // a rank to the rendezvous root
  kAttach = 2,    // a rank to its parent in the tree
  kLookup = 3,    // a rank to the directory of its launch
};
// Who speaks. Part of every proof, so that a proof can't be sent back to its maker.
enum class Side : uint8_t { kVisitor = 1, kHost = 2 };

// What both proofs of one connection are bound to. Wire order:
//   host    -> visitor  host nonce (32)
//   visitor -> host     visitor nonce (32), body (fixed size, by role), MAC (32)
//   host    -> visitor  body (fixed size, by role), MAC (32)
//   MAC = HMAC-SHA-512/256 with the id's key over: role (1), side (1), host nonce, visitor nonce,
//   body
struct Transcript {
  Role role = Role::kRegister;
  Nonce host{};
  Nonce visitor{};
};

// Throws SystemError when libsodium can't be initialised.
void fill_random(std::span<std::byte> bytes);
Mac prove(const Key& key, const Transcript& transcript, Side side, std::span<const std::byte> body);
// Constant time; false when mac is not 32 bytes.
bool verify(const Key& key, const Transcript& transcript, Side side,
            std::span<const std::byte> body, std::span<const std::byte> mac);
// A key from a text that need not be uniform; `purpose` separates uses of one text.
Key derive_key(std::string_view purpose, std::string_view text);

}  // namespace tutti::bootstrap
