// SPDX-License-Identifier: Apache-2.0
// The short way for small calls: what a communicator has done before it does again without looking
// anything up.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "src/comm/calls.h"
#include "src/comm/communicator.h"

namespace tutti::comm {

enum class Placing : uint8_t { kApart, kInPlace, kRefused };

// What issue() would find of the buffers.
inline Placing placing(const CallExtents& extents, const void* input, const void* output) noexcept {
  const auto in = reinterpret_cast<uintptr_t>(input);
  const auto out = reinterpret_cast<uintptr_t>(output);
  if ((in == 0 && extents.input_bytes != 0) || (out == 0 && extents.output_bytes != 0))
    return Placing::kRefused;
  if (in + extents.input_bytes <= out || out + extents.output_bytes <= in) return Placing::kApart;
  if (extents.input_bytes == 0 || extents.output_bytes == 0) return Placing::kApart;
  const bool own = extents.may_be_in_place && in + extents.input_own == out + extents.output_own;
  return own ? Placing::kInPlace : Placing::kRefused;
}

// A call that has its turn.
struct BegunCall {
  uint64_t ticket = 0;
  uint32_t signature = 0;
  uint32_t step = 0;  // the first that has not been done
};
// A call that went through without a wait: it is written down once, as ended. The last touch of the
// communicator. `protocol`: see Stats::publish(), which comes first.
inline void complete_at_once(Communicator& comm, const Collectives::Prepared& known,
                             uint64_t ticket, int protocol) noexcept {
  const uint64_t number = comm.path().collectives.note_again(known);
  comm.recorder().note(*known.recorded, number, protocol);
  comm.order().leave_turn(ticket, comm.bell());
}
// Writes the call down while its messages are on their way, looks for its peers' a while, then
// waits as every call does, with deadlines and an eye on failures. Throws Error.
void complete_late(Communicator& comm, Collectives::Prepared& known,
                   const exec::CallBuffers& buffers, BegunCall begun);

// Runs a collective with even blocks on the calling thread, to its end, if this communicator has
// made one like it before (then its arguments are right, but for the buffers, which are checked),
// it is its turn at once, and it is short enough for a straight line. Returns false when it is not,
// and nothing has been done. Throws Error when it fails. Not in a group, and without a stream; the
// communicator is open. `name`: a literal, as the user has called it.
//
// What the peer waits for goes first: the call is written down afterwards.
[[gnu::always_inline]] inline bool run_repeated(Communicator& comm, const char* name,
                                                const CallKey& key, const void* input,
                                                void* output) {
  comm.team().claim();
  if (comm.team().crowded()) [[unlikely]]
    return false;
  BegunCall begun;
  if (!comm.order().try_take(&begun.ticket)) [[unlikely]]
    return false;
  Collectives& collectives = comm.path().collectives;
  Collectives::Prepared* const known = collectives.recall(key, name);
  const Placing placed =
      known == nullptr ? Placing::kRefused : placing(known->extents, input, output);
  if (placed == Placing::kRefused || !comm.health().open() || comm.has_notices()) [[unlikely]] {
    comm.order().leave(begun.ticket, comm.bell());
    return false;
  }
  const exec::CallBuffers buffers{static_cast<const std::byte*>(input),
                                  static_cast<std::byte*>(output), placed == Placing::kInPlace};
  collectives.note_last(*known, name);
  exec::StraightLine& line = *known->line;
  begun.signature = collectives.extend_history(*known);
  line.start();
  begun.step = line.run(buffers, begun.signature, 0);
  if (begun.step == line.n_steps()) {
    const int protocol = std::bit_width(line.sent_mask());
    comm.stats().publish(protocol, known->algorithm);
    complete_at_once(comm, *known, begun.ticket, protocol);
    return true;
  }
  complete_late(comm, *known, buffers, begun);
  return true;
}

}  // namespace tutti::comm
