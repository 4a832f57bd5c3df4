// SPDX-License-Identifier: Apache-2.0
// Operations in words and in bytes.
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/trace/reader.h"

namespace tutti::trace {
namespace {

using plan::Collective;

bool moves_data(const Operation& o) noexcept {
  return o.kind != static_cast<uint8_t>(Collective::kBarrier) &&
         o.kind < static_cast<uint8_t>(Kind::kWait);
}

// Collectives whose count is that of one block of n.
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

}  // namespace

std::string describe(const Operation& o) {
  std::string text = o.name + " #" + std::to_string(o.collective() ? o.number : o.sequence);
  if (moves_data(o)) {
    text += std::string(" ") + name(static_cast<DType>(o.dtype)) + " x " + std::to_string(o.count);
  }
  if (o.collective() && plan::reduces(static_cast<Collective>(o.kind)))
    text += std::string(" ") + name(static_cast<Op>(o.op));
  if (o.collective() && o.root >= 0) text += " root " + std::to_string(o.root);
  if (o.kind == static_cast<uint8_t>(Kind::kGroup))
    text += " in " + std::to_string(o.transfers) + " transfers";
  if (!o.collective() && o.root >= 0) {
    const bool from =
        o.kind == static_cast<uint8_t>(Kind::kRecv) || o.kind == static_cast<uint8_t>(Kind::kWait);
    text += (from ? " from rank " : " to rank ") + std::to_string(o.root);
  }
  return text;
}

uint64_t payload_bytes(const Operation& o, int n_ranks) noexcept {
  if (!moves_data(o)) return 0;
  const uint64_t bytes = o.count * size_of(static_cast<DType>(o.dtype));
  const bool blocks = counts_blocks(o.kind) && (o.flags & kUneven) == 0;
  return blocks ? bytes * static_cast<uint64_t>(n_ranks) : bytes;
}

double bus_factor(const Operation& o, int n_ranks) noexcept {
  const double n = n_ranks;
  if (o.kind == static_cast<uint8_t>(Collective::kAllReduce)) return 2 * (n - 1) / n;
  return counts_blocks(o.kind) ? (n - 1) / n : 1;
}

const char* protocol_name(int protocol) noexcept {
  static constexpr const char* kTexts[] = {"none", "inline", "staged", "mapped", "pulled"};
  return protocol >= 0 && protocol <= kProtocols ? kTexts[protocol] : "none";
}

const char* name(State state) noexcept {
  static constexpr const char* kTexts[kStateCount] = {"writing", "queued", "connecting",
                                                      "running", "done",   "failed"};
  return kTexts[static_cast<int>(state)];
}

const char* kind_name(uint8_t kind) noexcept {
  static constexpr const char* kCollectives[plan::kCollectiveCount] = {
      "AllReduce", "Reduce", "Broadcast", "AllGather", "ReduceScatter",
      "AllToAll",  "Gather", "Scatter",   "Barrier"};
  static constexpr const char* kOthers[] = {"Send",      "Recv",       "SendRecv", "Signal",
                                            "PutSignal", "WaitSignal", "SetUp",    "CommFinalize"};
  if (is_collective(kind)) return kCollectives[kind];
  const int other = kind - static_cast<int>(Kind::kSend);
  return other >= 0 && other < 8 ? kOthers[other] : "?";
}

}  // namespace tutti::trace
