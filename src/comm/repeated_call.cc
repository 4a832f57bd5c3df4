// SPDX-License-Identifier: Apache-2.0
// What happens when a peer's message is not there at once: polls, then hands the call over to the
// driver.
#include "src/comm/repeated_call.h"

#include "src/comm/driver.h"
#include "src/comm/work.h"

namespace tutti::comm {
namespace {

CollectiveCall whole(const Collectives::Prepared& known, const exec::CallBuffers& buffers,
                     int n_ranks) {
  const CallExtents& extents = known.extents;
  const bool in_place = placing(extents, buffers.input, buffers.output) == Placing::kInPlace;
  return {.name = known.recorded->name,
          .collective = known.key.collective(),
          .input = extents.input_bytes == 0 ? nullptr : buffers.input,
          .output = extents.output_bytes == 0 ? nullptr : buffers.output,
          .count = known.key.count,
          .dtype = known.key.dtype(),
          .op = known.key.op(),
          .root = known.key.root(),
          .in_place = in_place,
          .scaling = {.post_divisor = n_ranks}};
}

[[gnu::noinline]] void wait_on(Communicator& comm, Collectives::Prepared& known,
                               const exec::CallBuffers& buffers, const BegunCall& begun) {
  OrderedCall ordered = whole(known, buffers, comm.n_ranks());
  comm.path().collectives.go_on(known, std::get<CollectiveCall>(ordered), begun.step);
  Work work(comm, ordered, {begun.ticket, begun.record});
  Work* const one = &work;
  drive({&one, 1});
  if (work.error().has_value()) throw *work.error();
}

}  // namespace

void complete_late(Communicator& comm, Collectives::Prepared& known,
                   const exec::CallBuffers& buffers, const BegunCall& begun) {
  Collectives& collectives = comm.path().collectives;
  exec::StraightLine& line = *known.line;
  BegunCall late = begun;
  late.step =
      line.poll(buffers, collectives.signature(), late.step, comm.idle_policy().spin_rounds);
  if (late.step != line.n_steps()) return wait_on(comm, known, buffers, late);
  complete(comm, known, collectives.number(), late);
}

}  // namespace tutti::comm
