// SPDX-License-Identifier: Apache-2.0
// How both ends of a fresh path prove that they belong to the same communicator, before anything
// else is believed: challenge and HMAC with the communicator's secret, both ways.
//
//   dialler  -> acceptor  kHello    who, to whom, which path, dialler's nonce
//   acceptor -> dialler   kWelcome  acceptor's nonce, MAC(secret, "welcome", hello, both nonces)
//   dialler  -> acceptor  kConfirm  MAC(secret, "confirm", hello, both nonces)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "transport/network/carrier.h"

namespace tutti::transport::network {

using Nonce = std::array<std::byte, 16>;
using Mac = std::array<std::byte, 32>;

struct Hello {
  static constexpr uint32_t kMagic = 0x74754e31;  // "1Nut"
  uint32_t magic = kMagic;
  int32_t from = -1;
  int32_t to = -1;
  uint32_t encrypted = 0;  // 1: the dialler will seal its frames, and expects the same
  uint64_t comm_id = 0;
  uint64_t path_id = 0;  // the dialler's name for it: {rank : 32 | number : 32}
  Nonce nonce{};
};
static_assert(sizeof(Hello) == 48 && std::is_trivially_copyable_v<Hello>);

struct Welcome {
  Nonce nonce{};
  Mac proof{};
};
static_assert(sizeof(Welcome) == 48);

struct Confirm {
  Mac proof{};
};

enum class Refusal : uint32_t {
  kMineWins = 1,    // both ranks dial; the lower one's paths are kept
  kEncryption = 2,  // one rank encrypts and the other does not
  kUnknown = 3,     // no such rank or communicator here
};

Nonce fresh_nonce();  // throws SystemError when libsodium can't be initialised
enum class Step : uint8_t { kWelcome = 1, kConfirm = 2 };
Mac prove(const Key& secret, Step step, const Hello& hello, const Nonce& acceptor) noexcept;
bool holds(const Mac& expected, const Mac& got) noexcept;  // constant time

// Keys of one path, one per direction.
struct PathKeys {
  Key dialler_sends{}, acceptor_sends{};
};
PathKeys derive_keys(const Key& secret, const Hello& hello, const Nonce& acceptor) noexcept;

}  // namespace tutti::transport::network
