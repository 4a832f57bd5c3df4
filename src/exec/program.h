// SPDX-License-Identifier: Apache-2.0
// One rank's projection of a verified plan, compacted for the executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "src/kernels/ops.h"
#include "src/planner/planner.h"

namespace tutti::exec {

// Where an operand's data is, resolved at compile time as far as it does not depend on the call.
struct CompiledOperand {
  enum class Kind : uint8_t { kInput, kOutput, kScratch, kPeer };
  Kind kind = Kind::kInput;
  bool pre = false;
  bool never_read_back =
      false;  // output sinks: no step of this rank reads the chunk, so streaming stores pay
  uint16_t endpoint = 0;       // kPeer: index into Program::send_peers or recv_peers
  int32_t block_position = 0;  // kInput, kOutput: block within the buffer
  int32_t chunk = 0;           // kInput, kOutput: chunk within the block; kScratch: scratch chunk
};

struct CompiledStep {
  uint32_t first_source = 0;  // into Program::operands
  uint32_t first_sink = 0;
  uint32_t first_wait = 0;  // into Program::waits
  uint16_t n_sources = 0;
  uint16_t n_sinks = 0;
  uint16_t n_waits = 0;
  bool post = false;
  bool signal = false;  // no extent: never elided
  int32_t block = 0;    // index into the binding's block counts (see Binding)
  int32_t chunk = 0;    // chunk within the block
};

struct CompiledLane {
  uint32_t first_step = 0;
  uint32_t n_steps = 0;
};

struct Endpoint {
  int32_t peer = 0;
  int32_t channel = 0;
  bool reference_safe_out_of_place = false;  // send side only
  bool reference_safe_in_place = false;
};

struct Program {
  std::shared_ptr<const planner::VerifiedPlan> plan;
  plan::Shape shape;
  int32_t rank = 0;
  int32_t tiles_in_flight = 1;
  int32_t scratch_chunks = 0;
  std::vector<CompiledLane> lanes;
  std::vector<CompiledStep> steps;
  std::vector<CompiledOperand> operands;
  std::vector<plan::Wait> waits;
  std::vector<Endpoint> send_peers;
  std::vector<Endpoint> recv_peers;
  uint16_t most_sources = 0;  // of any step
  uint16_t most_sinks = 0;
};

// Index of a block among those that one rank can know the size of (Binding::block_counts): the
// owner's rank; for AllToAll seen from `rank`, the destination for blocks that it sends and n_ranks
// + source for blocks that it receives; 0 where there is one block.
int32_t block_index(const plan::Shape& shape, int32_t rank, int32_t block) noexcept;

// One source whose bytes reach the sinks unchanged.
inline bool is_plain_copy(const Program& program, const CompiledStep& step, Op op) noexcept {
  if (step.n_sources != 1 || (step.post && op == Op::kAvg)) return false;
  return !(program.operands[step.first_source].pre && op == Op::kPreMulSum);
}

// Projects the plan on `rank`.
Program compile(std::shared_ptr<const planner::VerifiedPlan> plan, int32_t rank);

// What a program takes, as every rank can tell of every other before anything is compiled.
struct Footprint {
  size_t program_bytes = 0;
  int32_t scratch_chunks = 0;
  int32_t tiles_in_flight = 1;
  uint16_t most_sources = 0;
  // (peer, channel) that the rank sends to.
  std::set<std::pair<int32_t, int32_t>> send_peers;
};
Footprint footprint(const planner::VerifiedPlan& plan, int32_t rank);
// Equals the footprint's.
size_t program_bytes(const Program& program) noexcept;

}  // namespace tutti::exec
