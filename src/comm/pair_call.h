// SPDX-License-Identifier: Apache-2.0
// The shortest way for the smallest calls: the call that two ranks have made last, once more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/comm/repeated_call.h"

namespace tutti::comm {

enum class PairOutcome : uint8_t {
  kNotTaken,  // nothing has been done
  kDone,
  kLate,  // begun; complete_late() with what `late` says
};

struct LatePair {  // nothing is set, so that nothing is written when it is not needed
  Collectives::Prepared* known;
  const std::byte* input;
  std::byte* output;
  uint64_t ticket;
  uint32_t signature;
  uint32_t step;
};

// As complete_late() of a repeated call. The exchange refers to nothing, so it does not matter to
// it whether the buffers are one.
inline void complete_late(Communicator& comm, const LatePair& late) {
  complete_late(comm, *late.known, {late.input, late.output, late.input == late.output},
                {late.ticket, late.signature, late.step});
}

// As run_repeated(), for the call that it has run last, if that was a pair exchange; checks all
// that may have changed since. Here nothing is looked up, nothing throws, and little has to outlive
// the kernel, so the registers suffice.
[[gnu::always_inline]] inline PairOutcome run_pair(Communicator& comm, const PairKey& key,
                                                   const void* input, void* output,
                                                   LatePair* late) noexcept {
  if (!comm.team().goes_on()) [[unlikely]]
    return PairOutcome::kNotTaken;
  uint64_t ticket;
  if (!comm.order().try_take(&ticket)) [[unlikely]]
    return PairOutcome::kNotTaken;
  Collectives& collectives = comm.path().collectives;
  const Collectives::LastPair& last = collectives.last_pair();
  Collectives::Prepared* const known = last.call;
  // Open: looked at with the turn, so that who has broken the communicator before it came finds it
  // so.
  if (last.key != key || !comm.health().open() ||
      placing(known->extents, input, output) == Placing::kRefused || comm.has_notices())
      [[unlikely]] {
    comm.order().leave(ticket, comm.bell());
    return PairOutcome::kNotTaken;
  }
  const exec::PairExchange& pair = *last.pair;
  const auto* const in = static_cast<const std::byte*>(input);
  auto* const out = static_cast<std::byte*>(output);
  const uint32_t signature = collectives.extend_history(*known);
  const uint32_t of_messages = pair.signature_of(signature);
  uint32_t step = 0;
  if (pair.send(in, of_messages)) [[likely]] {
    if (pair.receive(in, out, of_messages)) {
      pair.count_both();
      constexpr int kInline = 1 + static_cast<int>(transport::MessageKind::kInline);
      comm.stats().publish(kInline);  // its algorithm was the last one's
      // Loaded again: cheaper than to keep it meanwhile.
      complete_at_once(comm, *comm.path().collectives.last_pair().call, ticket, kInline);
      return PairOutcome::kDone;
    }
    pair.count_sent();
    step = 1;
  }
  *late = {known, in, out, ticket, signature, step};
  return PairOutcome::kLate;
}

}  // namespace tutti::comm
