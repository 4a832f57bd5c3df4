// SPDX-License-Identifier: Apache-2.0
// "The communicator of rank `from` is broken": what ranks tell each other, so that those who do not
// talk to a dead rank themselves hear of it as well.
#pragma once

#include <cstdint>

#include "src/base/error.h"

namespace tutti::comm {

enum class Cause : uint8_t { kFailed, kDied, kTimedOut, kAborted, kDisagreed, kRevoked };

struct Notice {
  int from = -1;
  int about = -1;  // -1: about no rank
  Cause cause = Cause::kFailed;
  StatusCode code = StatusCode::kRemoteError;
  // The first collective that `from` does not complete, counted from 1, modulo 2^16: whoever is in
  // an earlier one still gets all it needs from `from`.
  uint16_t position = 0;
};

// Does the notice concern a rank at this position? Modular: ranks are never 2^15 collectives apart.
constexpr bool concerns(const Notice& notice, uint16_t position) noexcept {
  return static_cast<int16_t>(static_cast<uint16_t>(notice.position - position)) <= 0;
}

// Does the finder say more than the notice holds? Its sentence is put on the peers' boards before
// the notice.
constexpr bool has_text(Cause cause) noexcept {
  return cause == Cause::kTimedOut || cause == Cause::kDisagreed || cause == Cause::kFailed;
}

// Does the communicator end for every rank, whether or not it waits for anybody?
constexpr bool is_final(Cause cause) noexcept {
  return cause == Cause::kAborted || cause == Cause::kDisagreed || cause == Cause::kRevoked;
}

constexpr StatusCode code_of(Cause cause) noexcept {
  return cause == Cause::kDisagreed ? StatusCode::kInvalidUsage : StatusCode::kRemoteError;
}

// All but the ranks in 32 bits: {position : 16 | cause : 8 | code : 8}. Never 0, since code is a
// failure.
constexpr uint32_t pack(const Notice& notice) noexcept {
  return uint32_t{notice.position} << 16 | static_cast<uint32_t>(notice.cause) << 8 |
         static_cast<uint32_t>(notice.code);
}
constexpr Notice unpack(uint32_t word, int from, int about) noexcept {
  return {.from = from,
          .about = about,
          .cause = static_cast<Cause>((word >> 8) & 0xff),
          .code = static_cast<StatusCode>(word & 0xff),
          .position = static_cast<uint16_t>(word >> 16)};
}

}  // namespace tutti::comm
