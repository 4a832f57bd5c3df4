// SPDX-License-Identifier: Apache-2.0
// Translates calls into records.
#include "src/comm/recording.h"

#include <numeric>

namespace tutti::comm {
namespace {

using trace::Kind;

constexpr auto kBytes = static_cast<uint8_t>(DType::kUint8);

trace::Call plain(const char* name, Kind kind) noexcept {
  return {.name = name, .kind = static_cast<uint8_t>(kind), .dtype = kBytes};
}

}  // namespace

trace::Call recorded_call(const CollectiveCall& call) noexcept {
  trace::Call made{.name = call.name,
                   .kind = static_cast<uint8_t>(call.collective),
                   .dtype = static_cast<uint8_t>(call.dtype),
                   .op = static_cast<uint8_t>(call.op),
                   .root = call.root,
                   .count = call.count};
  if (call.uneven == nullptr) return made;
  const auto& counts = call.uneven->counts;
  made.flags = trace::kUneven | (call.uneven->agreed ? 0 : trace::kCountsDiffer);
  made.count = std::accumulate(counts.begin(), counts.end(), size_t{0});
  return made;
}

trace::Call recorded_call(const OrderedCall& call) noexcept {
  if (const auto* collective = std::get_if<CollectiveCall>(&call))
    return recorded_call(*collective);
  if (const auto* signal = std::get_if<SignalCall>(&call)) {
    trace::Call made = plain(signal->name, signal->window == nullptr ? Kind::kSignal : Kind::kPut);
    made.root = signal->peer;
    made.count = signal->bytes;
    return made;
  }
  if (const auto* wait = std::get_if<WaitCall>(&call)) {
    trace::Call made = plain("WaitSignal", Kind::kWait);
    made.transfers = static_cast<uint32_t>(wait->targets.size());
    if (wait->targets.size() == 1) made.root = wait->targets.front().peer;
    return made;
  }
  if (const auto* settle = std::get_if<SettleCall>(&call))
    return plain(settle->name, Kind::kFinalize);
  if (const auto* other = std::get_if<TaskCall>(&call))
    return plain(other->name, static_cast<Kind>(other->kind));
  return plain(std::get<SetUpCall>(call).name, Kind::kSetUp);
}

trace::Call recorded_call(std::span<const P2pCall> calls) noexcept {
  trace::Call made = plain("SendRecv", Kind::kGroup);
  made.transfers = static_cast<uint32_t>(calls.size());
  if (calls.size() == 1) {
    const P2pCall& one = calls.front();
    made.name = one.name;
    made.kind = static_cast<uint8_t>(one.is_send ? Kind::kSend : Kind::kRecv);
    made.dtype = static_cast<uint8_t>(one.dtype);
    made.root = one.peer;
    made.count = one.count;
    return made;
  }
  for (const P2pCall& call : calls) made.count += call.count * size_of(call.dtype);
  return made;
}

}  // namespace tutti::comm
