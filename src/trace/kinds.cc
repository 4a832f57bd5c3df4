// SPDX-License-Identifier: Apache-2.0
// The table of kinds.
#include "src/trace/kinds.h"

#include <cstring>

#include "src/kernels/dtypes.h"

namespace tutti::trace {
namespace {

using plan::Collective;

constexpr const char* kCollectiveNames[plan::kCollectiveCount] = {
    "AllReduce", "Reduce", "Broadcast", "AllGather", "ReduceScatter",
    "AllToAll",  "Gather", "Scatter",   "Barrier"};
constexpr const char* kOtherNames[] = {"Send",        "Recv",       "SendRecv", "Signal",
                                       "PutSignal",   "WaitSignal", "SetUp",    "CommFinalize",
                                       "MoeDispatch", "MoeCombine"};

}  // namespace

const char* kind_name(uint8_t kind) noexcept {
  if (is_collective(kind)) return kCollectiveNames[kind];
  const size_t other = size_t{kind} - static_cast<size_t>(Kind::kSend);
  return other < std::size(kOtherNames) ? kOtherNames[other] : "?";
}

int kind_of_name(const char* name) noexcept {
  for (size_t kind = 0; kind < kCallKinds; ++kind) {
    const char* text = kind_name(static_cast<uint8_t>(kind));
    if (*text != '?' && std::strcmp(text, name) == 0) return static_cast<int>(kind);
  }
  return -1;
}

bool moves_data(uint8_t kind) noexcept {
  return kind != static_cast<uint8_t>(Collective::kBarrier) &&
         kind < static_cast<uint8_t>(Kind::kWait);
}

bool counts_blocks(uint8_t kind) noexcept {
  switch (static_cast<Collective>(kind)) {
    case Collective::kAllGather:
    case Collective::kReduceScatter:
    case Collective::kAllToAll:
    case Collective::kGather:
    case Collective::kScatter:
      return true;
    default:
      return false;
  }
}

uint64_t payload_bytes(const CallSize& call, int n_ranks) noexcept {
  if (!moves_data(call.kind)) return 0;
  const uint64_t bytes = call.count * size_of(static_cast<DType>(call.dtype));
  const bool blocks = counts_blocks(call.kind) && (call.flags & kUneven) == 0;
  return blocks ? bytes * static_cast<uint64_t>(n_ranks) : bytes;
}

}  // namespace tutti::trace
