// SPDX-License-Identifier: Apache-2.0
// Which signal of an MSCCL++ plan announces which puts, which wait it ends, and what is read after
// that. Only src/plan uses it.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>
#include <vector>

#include "src/plan/mscclpp_program.h"

namespace tutti::plan::mscclpp {

// The n-th signal on a channel, one way, and the n-th wait at its other end.
struct Signal {
  std::vector<Chunks> puts;   // that it announces: where they go
  std::vector<Chunks> reads;  // of the signalling GPU's memory, by whoever waited, in their order
};

using ConnectionKey = std::tuple<int32_t, int32_t, int32_t>;  // source, sink, channel

struct Links {
  std::map<ConnectionKey, std::vector<Signal>> signals;
  // For each operation, the channels over which its sinks and its sources at peers go, in their
  // order.
  std::map<OpPlace, std::vector<int32_t>> sink_channels;
  std::map<OpPlace, std::vector<int32_t>> source_channels;
};

// Throws InvalidArgument naming the operation where a put is never announced, a read is never
// allowed, or signals and waits of a channel don't match.
Links link(const Program& program, std::string_view file);

}  // namespace tutti::plan::mscclpp
