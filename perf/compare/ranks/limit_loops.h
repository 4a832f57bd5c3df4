// SPDX-License-Identifier: Apache-2.0
// Hand-written loops for two ranks that say what the machine can do. They are no library: no
// failures, no other sizes of world, no waiting but spinning.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tutti::compare {

inline constexpr size_t kLinePayloadBytes = 56;
inline constexpr size_t kSlotBytes = 32768;
inline constexpr size_t kSlots = 4;

// A cache line that one rank writes and the other reads. Two lines per 128 bytes prefetch each
// other, so each has 128 for itself.
struct alignas(128) Line {
  std::atomic<uint64_t> flag{0};
  std::byte payload[kLinePayloadBytes];
};

struct RankSide {
  Line barrier;
  Line line[2];  // by parity of the call
  Line copied;   // messages in `inputs`
  Line reduced;  // messages in `results`
  alignas(4096) std::byte inputs[kSlots][kSlotBytes];
  alignas(4096) std::byte results[kSlots][kSlotBytes];
};

struct SharedState {
  RankSide side[2];
};

// What one rank holds while it loops.
struct LimitRank {
  RankSide* mine = nullptr;
  RankSide* theirs = nullptr;
  int rank = 0;
  uint64_t barriers = 0;
  uint64_t calls = 0;     // of line and one-shot loops
  uint64_t messages = 0;  // of the two-shot loop
};

void copy_streaming(std::byte* to, const std::byte* from, size_t bytes);  // non-temporal stores

void limit_barrier(LimitRank& me);
void line_round_trip(LimitRank& me);
// `in` travels in the line (at most kLinePayloadBytes) with the flag; the other's is put in `out`.
void payload_round_trip(LimitRank& me, const std::byte* in, std::byte* out, size_t bytes);

// AllReduce of buffers that the other rank can't see: through a line, a slot, or, from two slots
// on, a pipeline over both halves of each chunk: 2 copies into slots, 2 reductions, 2 copies out.
void all_reduce_private(LimitRank& me, const float* in, float* out, size_t elems);
// AllReduce of buffers that both ranks map: each reduces half and writes it to both outputs.
struct MappedBuffers {
  const float* in = nullptr;
  const float* their_in = nullptr;
  float* out = nullptr;
  float* their_out = nullptr;
};
void all_reduce_shared(LimitRank& me, const MappedBuffers& buffers, size_t elems);

}  // namespace tutti::compare
