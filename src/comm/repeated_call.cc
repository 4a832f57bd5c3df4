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
                               const exec::CallBuffers& buffers, const BegunCall& begun,
                               uint64_t record) {
  OrderedCall ordered = whole(known, buffers, comm.n_ranks());
  comm.path().collectives.go_on(known, std::get<CollectiveCall>(ordered), begun.step);
  Work work(comm, ordered, {begun.ticket, record});
  Work* const one = &work;
  drive({&one, 1});
  if (work.error().has_value()) throw *work.error();
}

}  // namespace

void complete_late(Communicator& comm, Collectives::Prepared& known,
                   const exec::CallBuffers& buffers, BegunCall begun) {
  exec::StraightLine& line = *known.line;
  const uint64_t number = comm.path().collectives.begin_again(known);
  const uint64_t record = comm.recorder().begin(*known.recorded, number, 0);
  begun.step = line.poll(buffers, begun.signature, begun.step, 1 + comm.idle_policy().spin_rounds);
  if (begun.step != line.n_steps()) return wait_on(comm, known, buffers, begun, record);
  comm.path().collectives.end_again(number);
  const int protocol = std::bit_width(line.sent_mask());
  comm.stats().publish(protocol, known.algorithm);
  comm.recorder().end(record, protocol);
  comm.order().leave(begun.ticket, comm.bell());
}

}  // namespace tutti::comm
