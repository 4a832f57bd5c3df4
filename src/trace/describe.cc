// SPDX-License-Identifier: Apache-2.0
// Operations in words and in bytes.
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/trace/kinds.h"
#include "src/trace/reader.h"

namespace tutti::trace {
namespace {

using plan::Collective;

}  // namespace

std::string describe(const Operation& o) {
  std::string text = o.name + " #" + std::to_string(o.collective() ? o.number : o.sequence);
  if (moves_data(o.kind)) {
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
  return payload_bytes({o.kind, o.flags, o.dtype, o.count}, n_ranks);
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

}  // namespace tutti::trace
