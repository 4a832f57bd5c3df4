// SPDX-License-Identifier: Apache-2.0
// The plan: one collective as a small, printable, pointer-free program (docs/adr/0002).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/collective.h"

namespace tutti::plan {

// Where a step reads or writes. A chunk of a local buffer, or the connection to or from a peer.
struct Operand {
  enum class Kind : uint8_t { kChunk, kPeer };
  Kind kind = Kind::kChunk;
  Buffer buffer = Buffer::kInput;  // kChunk only
  bool pre = false;  // sources only: apply the operation's input scaling (PreMulSum) to this source
  int32_t index = 0;    // kChunk: chunk index within the buffer; kPeer: the peer's rank
  int32_t channel = 0;  // kPeer only: with the two ranks it names the connection

  static Operand chunk(Buffer b, int32_t i, bool pre = false) {
    return {Kind::kChunk, b, pre, i, 0};
  }
  static Operand peer(int32_t rank, int32_t channel = 0) {
    return {Kind::kPeer, Buffer::kInput, false, rank, channel};
  }
  bool operator==(const Operand&) const = default;
};

// "Not before step `step` of lane `lane` of the same rank has finished, in the same tile."
struct Wait {
  uint32_t lane = 0;
  uint32_t step = 0;
  bool operator==(const Wait&) const = default;
};

// sinks <- reduce(sources). Sources fold left to right. No sources and a peer sink: a signal. A
// peer source and no sinks: wait for a signal. A step runs when its waits have finished, each
// source peer has a message at the head of its FIFO and each sink peer has a free slot; it then
// consumes one message per source peer and sends one per sink peer. A chunk may be source and sink
// of one step (element-wise, same chunk); it may not partially overlap another operand.
struct Step {
  std::vector<Operand> sources;
  std::vector<Operand> sinks;
  int32_t extent = kNoExtent;  // which piece of the collective's data moves: fixes the element
                               // count of every operand
  bool post = false;           // apply the operation's final scaling (Avg) to the result
  std::vector<Wait> waits;
  bool operator==(const Step&) const = default;
};

// What one worker runs in order, once per tile.
struct Lane {
  std::vector<Step> steps;
  bool operator==(const Lane&) const = default;
};

struct RankProgram {
  int32_t scratch_chunks = 0;  // per tile in flight; a scratch chunk holds any one extent
  std::vector<Lane> lanes;
  bool operator==(const RankProgram&) const = default;
};

// Connections whose messages switches copy or add up on the way (NVLS, SHARP; docs/adr/0010). All
// connections out of `rank` on `channel` are one multicast: a step that sinks to one of them sinks
// to all. All connections into it are one reduction: a step that takes from one takes from all, and
// beside them from at most one chunk of its own, which the switch adds too. No connection is of two
// entries. What the messages mean is the same without the entry, but the order in which a switch
// adds is any.
struct SwitchChannel {
  enum class Kind : uint8_t { kMulticast, kReduce };
  int32_t rank = 0;
  int32_t channel = 0;
  Kind kind = Kind::kMulticast;
  auto operator<=>(const SwitchChannel&) const = default;
};

// A connection (source rank, sink rank, channel) is a FIFO of `slots` messages. Each end of it
// belongs to one lane. Lanes run tiles in order; a lane starts tile t only when every lane of its
// rank has finished tile t - tiles_in_flight.
struct Plan {
  std::string algorithm;  // row of the algorithm table that made it, or where it was imported from
  Shape shape;
  int32_t channels = 1;  // peer operands use channels 0 .. channels-1
  int32_t slots = 4;     // a connection has at least this many slots
  int32_t tiles_in_flight = 2;
  std::vector<RankProgram> ranks;
  std::vector<SwitchChannel> switch_channels;  // ascending
  bool operator==(const Plan&) const = default;
};

// Throws InvalidArgument naming rank, lane, step and operand when an index is out of range (chunk,
// rank, lane, extent of an operand different from the step's). Everything that does not need
// execution; the verifier calls it first.
void check_well_formed(const Plan& plan);

// Identity of a plan: equal on every rank that built the same plan.
uint64_t hash(const Plan& plan);

// Native text form; from_json(to_json(p)) == p. from_json throws InvalidArgument with the JSON path
// of the fault.
std::string to_json(const Plan& plan);
Plan from_json(std::string_view text);

// One line per step, for people: "rank 2 lane 0: 3  output[1], peer 3 <- reduce(peer 1, input[1])
// post".
std::string to_text(const Plan& plan);

// Sizes for reports.
struct PlanSize {
  int64_t steps = 0;         // over all ranks
  int64_t messages = 0;      // over all ranks
  int64_t longest_lane = 0;  // steps
};
PlanSize size_of(const Plan& plan);

}  // namespace tutti::plan
