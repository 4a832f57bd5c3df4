// SPDX-License-Identifier: Apache-2.0
// What one rank of a group has moved.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/traffic.h"

namespace tutti::moe {

enum class Reach : uint8_t { kSelf, kIntra, kInter };  // this rank, its host, other hosts
inline constexpr size_t kReaches = 3;

// One writer, the owner of the communicator's progress; every word relaxed: a statistic of its own.
struct Counters {
  using Word = std::atomic<uint64_t>;
  struct Sent {
    Word rows{0};
    Word payload_bytes{0};   // rows with their scales
    Word metadata_bytes{0};  // what else the messages hold
  };
  std::array<Sent, kReaches> dispatched;
  std::array<Sent, kReaches> combined;
  // Bytes of rows that kernels have read from memory and written to it.
  Word dispatch_copy_bytes{0};
  Word combine_copy_bytes{0};
  Word dispatches{0};
  Word combines{0};
  Word received_rows{0};  // as laid out, without gaps
  Word dropped_rows{0};   // received and dropped
  Word masked_pairs{0};   // of a token and an expert that no active rank has
};

}  // namespace tutti::moe
