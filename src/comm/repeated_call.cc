// SPDX-License-Identifier: Apache-2.0
// Runs a straight line while its messages come in time, and hands over to the driver when they do
// not.
#include "src/comm/repeated_call.h"

#include <cstdint>

#include "src/comm/driver.h"
#include "src/comm/work.h"

namespace tutti::comm {
namespace {

enum class Placing : uint8_t { kApart, kInPlace, kRefused };

// What issue() would find of the buffers.
Placing placing(const CallExtents& extents, const void* input, const void* output) noexcept {
  const auto in = reinterpret_cast<uintptr_t>(input);
  const auto out = reinterpret_cast<uintptr_t>(output);
  if ((in == 0 && extents.input_bytes != 0) || (out == 0 && extents.output_bytes != 0))
    return Placing::kRefused;
  if (in + extents.input_bytes <= out || out + extents.output_bytes <= in) return Placing::kApart;
  if (extents.input_bytes == 0 || extents.output_bytes == 0) return Placing::kApart;
  const bool own = extents.may_be_in_place && in + extents.input_own == out + extents.output_own;
  return own ? Placing::kInPlace : Placing::kRefused;
}

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

// The peers are late: waits for them as every call does, with deadlines and an eye on failures.
[[gnu::noinline]] void wait_on(Communicator& comm, Collectives::Prepared& known,
                               const exec::CallBuffers& buffers, uint32_t step,
                               const Work::Started& started) {
  OrderedCall ordered = whole(known, buffers, comm.n_ranks());
  comm.path().collectives.go_on(known, std::get<CollectiveCall>(ordered), step);
  Work work(comm, ordered, started);
  Work* const one = &work;
  drive({&one, 1});
  if (work.error().has_value()) throw *work.error();
}

}  // namespace

bool run_repeated(Communicator& comm, const char* name, CallKey key, const void* input,
                  void* output) {
  comm.team().claim();
  if (comm.team().crowded()) [[unlikely]]
    return false;
  Work::Started started;
  if (!comm.order().try_take(&started.ticket)) [[unlikely]]
    return false;
  Collectives& collectives = comm.path().collectives;
  Collectives::Prepared* const known = collectives.recall(key, name);
  if (known == nullptr || placing(known->extents, input, output) == Placing::kRefused ||
      comm.local().board.any_notice()) {
    comm.order().leave(started.ticket, comm.bell());
    return false;
  }
  const uint64_t number = collectives.begin_again(*known);
  trace::Recorder& recorder = comm.recorder();
  started.record = recorder.begin(*known->recorded, number, 0);
  exec::StraightLine& line = *known->line;
  const exec::CallBuffers buffers{static_cast<const std::byte*>(input),
                                  static_cast<std::byte*>(output)};
  const uint32_t step =
      line.run(buffers, collectives.signature(), comm.idle_policy().spin_rounds);
  if (step != line.n_steps()) [[unlikely]] {
    wait_on(comm, *known, buffers, step, started);
    return true;
  }
  collectives.end_again(number);
  comm.stats().publish(known->line_protocol, known->algorithm);
  recorder.end(started.record, known->line_protocol);
  comm.order().leave(started.ticket, comm.bell());
  return true;
}

}  // namespace tutti::comm
