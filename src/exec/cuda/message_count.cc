// SPDX-License-Identifier: Apache-2.0
// Sums of messages in closed form.
#include "src/exec/cuda/message_count.h"

#include <algorithm>
#include <map>

#include "transport/fifo.h"

namespace tutti::exec {
namespace {

PeerTraffic::Protocol& protocol_in(PeerTraffic& traffic, bool by_inline_protocol) noexcept {
  const auto kind =
      by_inline_protocol ? transport::MessageKind::kInline : transport::MessageKind::kStaged;
  return traffic.protocols[static_cast<size_t>(kind)];
}

}  // namespace

MessageSum sum_of_step(const Binding& binding, const Tiling& tiling, int32_t block, int32_t chunk,
                       bool signal) noexcept {
  if (signal) return {tiling.n_tiles, 0};
  const uint64_t count =
      binding.block_counts != nullptr ? binding.block_counts[block] : binding.block_count;
  const uint64_t whole_tiles = std::min<uint64_t>(count / tiling.tile_elems, tiling.n_tiles);
  MessageSum sum{whole_tiles, whole_tiles * tiling.chunk_elems};  // elements, at first
  const uint64_t before = static_cast<uint64_t>(chunk) * tiling.chunk_elems;
  const uint64_t last = count - whole_tiles * tiling.tile_elems;  // elements of the last tile
  if (whole_tiles < tiling.n_tiles && last > before) {
    ++sum.messages;
    sum.bytes += std::min<uint64_t>(last - before, tiling.chunk_elems);
  }
  sum.bytes *= size_of(binding.dtype);
  return sum;
}

void count_sent(PeerTraffic& traffic, bool by_inline_protocol, const MessageSum& sum) noexcept {
  PeerTraffic::Protocol& to = protocol_in(traffic, by_inline_protocol);
  add(to.sent_messages, sum.messages);
  add(to.sent_bytes, sum.bytes);
}

void count_received(PeerTraffic& traffic, bool by_inline_protocol, const MessageSum& sum) noexcept {
  PeerTraffic::Protocol& to = protocol_in(traffic, by_inline_protocol);
  add(to.received_messages, sum.messages);
  add(to.received_bytes, sum.bytes);
}

std::vector<ExchangingSteps> exchanging_steps(const Program& program) {
  std::map<ExchangingSteps, uint32_t> alike;
  const auto add_operands = [&](const CompiledStep& step, uint32_t first, uint16_t n, bool sends) {
    for (uint32_t i = first; i < first + n; ++i) {
      const CompiledOperand& operand = program.operands[i];
      if (operand.kind != CompiledOperand::Kind::kPeer) continue;
      ++alike[{.sends = sends,
               .endpoint = operand.endpoint,
               .block = step.block,
               .chunk = step.chunk,
               .signal = step.signal}];
    }
  };
  for (const CompiledStep& step : program.steps) {
    add_operands(step, step.first_source, step.n_sources, /*sends=*/false);
    add_operands(step, step.first_sink, step.n_sinks, /*sends=*/true);
  }
  std::vector<ExchangingSteps> out;
  for (const auto& [steps, count] : alike) {
    out.push_back(steps);
    out.back().steps = count;
  }
  return out;
}

}  // namespace tutti::exec
