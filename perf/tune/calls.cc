// SPDX-License-Identifier: Apache-2.0
// One switch over the collectives for calls, one for their memory.
#include "perf/tune/calls.h"

#include <string>

#include "src/base/error.h"

namespace tutti::command {

using plan::Collective;

void require(tuttiResult_t result, const char* what) {
  if (result == tuttiSuccess) return;
  throw Error(StatusCode::kSystemError,
              std::string(what) + " failed: " + tuttiGetLastError(nullptr));
}

BufferBytes buffer_bytes(Collective collective, int n_ranks, uint64_t block_bytes) {
  BufferBytes most;
  for (int rank = 0; rank < n_ranks; ++rank) {
    const plan::Shape shape{collective, n_ranks, rank, collective == Collective::kBarrier ? 0 : 1};
    const plan::Shape rootless{collective, n_ranks, 0, shape.chunks_per_block};
    const plan::Shape& of = plan::has_root(collective) ? shape : rootless;
    const auto bytes = [&](plan::Buffer buffer) {
      return static_cast<size_t>(plan::blocks_in(of, rank, buffer)) * block_bytes;
    };
    most.input = std::max(most.input, bytes(plan::Buffer::kInput));
    most.output = std::max(most.output, bytes(plan::Buffer::kOutput));
  }
  return most;
}

tuttiResult_t call(Collective collective, const Buffers& b, size_t count, int root,
                   tuttiComm_t comm) {
  switch (collective) {
    case Collective::kAllReduce:
      return tuttiAllReduce(b.input, b.output, count, tuttiFloat32, tuttiSum, comm, nullptr);
    case Collective::kReduce:
      return tuttiReduce(b.input, b.output, count, tuttiFloat32, tuttiSum, root, comm, nullptr);
    case Collective::kBroadcast:
      return tuttiBroadcast(b.input, b.output, count, tuttiFloat32, root, comm, nullptr);
    case Collective::kAllGather:
      return tuttiAllGather(b.input, b.output, count, tuttiFloat32, comm, nullptr);
    case Collective::kReduceScatter:
      return tuttiReduceScatter(b.input, b.output, count, tuttiFloat32, tuttiSum, comm, nullptr);
    case Collective::kAllToAll:
      return tuttiAllToAll(b.input, b.output, count, tuttiFloat32, comm, nullptr);
    case Collective::kGather:
      return tuttiGather(b.input, b.output, count, tuttiFloat32, root, comm, nullptr);
    case Collective::kScatter:
      return tuttiScatter(b.input, b.output, count, tuttiFloat32, root, comm, nullptr);
    case Collective::kBarrier:
      return tuttiBarrier(comm, nullptr);
  }
  return tuttiInvalidArgument;
}

}  // namespace tutti::command
