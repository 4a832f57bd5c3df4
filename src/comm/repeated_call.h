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

// A call that has begun and whose next step has to wait.
struct BegunCall {
  uint64_t ticket = 0;
  uint64_t record = 0;
  uint32_t step = 0;
};
// The last touch of the communicator.
inline void complete(Communicator& comm, const Collectives::Prepared& known, uint64_t number,
                     const BegunCall& begun) noexcept {
  comm.path().collectives.end_again(number);
  const int protocol = std::bit_width(known.line->sent_mask());
  comm.stats().publish(protocol, known.algorithm);
  comm.recorder().end(begun.record, protocol);
  comm.order().leave(begun.ticket, comm.bell());
}
// Looks a while longer, then waits as every call does, with deadlines and an eye on failures.
// Throws Error.
void complete_late(Communicator& comm, Collectives::Prepared& known,
                   const exec::CallBuffers& buffers, const BegunCall& begun);

// Runs a collective with even blocks on the calling thread, to its end, if this communicator has
// made one like it before (then its arguments are right, but for the buffers, which are checked),
// it is its turn at once, and it is short enough for a straight line. Returns false when it is not,
// and nothing has been done. Throws Error when it fails. Not in a group, and without a stream; the
// communicator is open. `name`: a literal, as the user has called it.
//
// What the peer waits for goes first: the call is written down while the messages are on their way.
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
  if (placed == Placing::kRefused || comm.local().board.any_notice()) [[unlikely]] {
    comm.order().leave(begun.ticket, comm.bell());
    return false;
  }
  const exec::CallBuffers buffers{static_cast<const std::byte*>(input),
                                  static_cast<std::byte*>(output), placed == Placing::kInPlace};
  exec::StraightLine& line = *known->line;
  line.start();
  const uint32_t signature = collectives.extend_history(*known);
  begun.step = line.run(buffers, signature, 0);
  trace::Recorder& recorder = comm.recorder();
  const uint64_t number = collectives.begin_again(*known);
  begun.record = recorder.begin(*known->recorded, number, 0);
  if (begun.step != line.n_steps()) begun.step = line.run_on(buffers, signature, begun.step);
  if (begun.step != line.n_steps()) [[unlikely]] {
    complete_late(comm, *known, buffers, begun);
    return true;
  }
  complete(comm, *known, number, begun);
  return true;
}

}  // namespace tutti::comm
