// SPDX-License-Identifier: Apache-2.0
// How many messages a launch exchanges, for the traffic counters: kernels don't count them.
#pragma once

#include <cstdint>
#include <vector>

#include "src/exec/operation.h"
#include "src/exec/program.h"

namespace tutti::exec {

struct MessageSum {
  uint64_t messages = 0;
  uint64_t bytes = 0;
};
// Of one step in all tiles of a call, by a few divisions. Pieces of no bytes are no messages, but
// for those of signals.
MessageSum sum_of_step(const Binding& binding, const Tiling& tiling, int32_t block, int32_t chunk,
                       bool signal) noexcept;

void count_sent(PeerTraffic& traffic, bool by_inline_protocol, const MessageSum& sum) noexcept;
// Messages of hosts may have been in a line; here they count as staged.
void count_received(PeerTraffic& traffic, bool by_inline_protocol, const MessageSum& sum) noexcept;

// Steps of a program that exchange messages over one connection and have the same extent.
struct ExchangingSteps {
  bool sends = false;
  uint16_t endpoint = 0;  // into Program::send_peers or recv_peers
  int32_t block = 0;
  int32_t chunk = 0;
  bool signal = false;
  uint32_t steps = 0;
  auto operator<=>(const ExchangingSteps&) const = default;
};
std::vector<ExchangingSteps> exchanging_steps(const Program& program);

}  // namespace tutti::exec
