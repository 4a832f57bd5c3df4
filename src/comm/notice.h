// SPDX-License-Identifier: Apache-2.0
// "The communicator of rank `from` is broken": what ranks tell each other, so that those who do not
// talk to a dead rank themselves hear of it as well.
#pragma once

#include <cstdint>

#include "src/base/error.h"

namespace tutti::comm {

enum class Cause : uint8_t { kFailed, kDied, kTimedOut, kAborted };

struct Notice {
  int from = -1;
  int about = -1;  // -1: about no rank
  Cause cause = Cause::kFailed;
  StatusCode code = StatusCode::kOk;
};

// Cause and code in 16 bits: {cause : 8 | code : 8}.
constexpr uint32_t pack(const Notice& notice) noexcept {
  return static_cast<uint32_t>(notice.cause) << 8 | static_cast<uint32_t>(notice.code);
}
constexpr Notice unpack(uint32_t word, int from, int about) noexcept {
  return {.from = from,
          .about = about,
          .cause = static_cast<Cause>((word >> 8) & 0xff),
          .code = static_cast<StatusCode>(word & 0xff)};
}

}  // namespace tutti::comm
