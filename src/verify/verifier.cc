// SPDX-License-Identifier: Apache-2.0
// Runs the proofs one after the other; the first that fails is the verdict.
#include "src/verify/verifier.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/happens_before.h"
#include "src/verify/layout.h"
#include "src/verify/network.h"
#include "src/verify/races.h"
#include "src/verify/symbolic.h"

namespace tutti::verify {
namespace {

// One tile decides (docs/design/verifier.md); further ones check that argument.
constexpr int64_t kMaxUnrolledTiles = 9;
// Over all ranks; a plan with more is refused before it fills the machine's memory.
constexpr int64_t kMaxChunks = int64_t{1} << 24;
// A right plan names every chunk of input and output, and needs no more scratch than it names. One
// with many more chunks than operands is wrong or wasteful, and a few lines of text could ask for
// gigabytes.
constexpr int64_t kAlwaysGoodChunks = int64_t{1} << 16;
constexpr int64_t kMaxChunksPerOperand = 4;

int64_t chunk_operands(const plan::RankProgram& program) {
  int64_t count = 0;
  for (const plan::Lane& lane : program.lanes) {
    for (const plan::Step& step : lane.steps) {
      for (const auto* operands : {&step.sources, &step.sinks})
        count += std::ranges::count(*operands, plan::Operand::Kind::kChunk, &plan::Operand::kind);
    }
  }
  return count;
}

// So that the size of scratch in bytes can't overflow.
Rejection check_scratch(const plan::Plan& plan, int32_t rank) {
  const int32_t chunks = plan.ranks[rank].scratch_chunks;
  if (int64_t{chunks} * plan.tiles_in_flight <= kMaxChunks) return std::nullopt;
  return fmt::format(
      "size: rank {}: expected at most {} scratch chunks over all tiles in flight, got {} times {}",
      rank, kMaxChunks, chunks, plan.tiles_in_flight);
}

Rejection check_size(const plan::Plan& plan) {
  int64_t chunks = 0;
  int64_t operands = 0;
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) {
    if (Rejection why = check_scratch(plan, rank)) return why;
    for (const auto buffer : {plan::Buffer::kInput, plan::Buffer::kOutput})
      chunks += int64_t{plan::blocks_in(plan.shape, rank, buffer)} * plan.shape.chunks_per_block;
    chunks += plan.ranks[rank].scratch_chunks;
    operands += chunk_operands(plan.ranks[rank]);
  }
  if (chunks > kMaxChunks)
    return fmt::format("size: expected at most {} chunks over all ranks, got {}", kMaxChunks,
                       chunks);
  if (chunks > kAlwaysGoodChunks && chunks / kMaxChunksPerOperand > operands)
    return fmt::format(
        "size: expected at most {} chunks for each chunk that the steps name, got {} "
        "chunks over all ranks, and {} names",
        kMaxChunksPerOperand, chunks, operands);
  return std::nullopt;
}

// In which order a switch adds nobody knows.
bool adds_in_switches(const plan::Plan& plan) {
  return std::ranges::any_of(plan.switch_channels, [](const plan::SwitchChannel& entry) {
    return entry.kind == plan::SwitchChannel::Kind::kReduce;
  });
}

class Verification {
 public:
  explicit Verification(const plan::Plan& plan) : plan_(plan) {}

  Rejection run() {
    plan::check_well_formed(plan_);  // throws
    if (Rejection why = check_size(plan_)) return why;
    if (Rejection why = build_network(plan_, &network_)) return why;
    if (Rejection why = check_deadlock()) return why;
    if (plan_.shape.collective == plan::Collective::kBarrier)
      if (Rejection why = check_barrier(network_, order_)) return why;
    HappensBefore order(network_, order_);
    std::vector<Value> results;
    for (const Mode mode : {Mode::kOutOfPlace, Mode::kInPlace}) {
      const Layout layout(plan_, mode);
      const Accesses accesses = accesses_of(network_, order_, layout);
      if (Rejection why = check_races(network_, accesses, layout, mode, order)) return why;
      if (Rejection why = check_values(network_, order_, mode, &results, &fold_order_)) return why;
      judge_references(layout, accesses, mode, order);
    }
    return std::nullopt;
  }

  int32_t min_slots() const { return min_slots_; }
  FoldOrder fold_order() const { return fold_order_; }
  std::vector<ConnectionVerdict> take_connections() { return std::move(connections_); }

 private:
  Rejection check_deadlock() {
    Execution execution = run_with(plan_.slots);
    if (!execution.finished)
      return fmt::format("deadlock at {} slots: {}", plan_.slots, execution.deadlock);
    order_ = std::move(execution.order);
    // More slots never hurt, so the smallest number is found by bisection.
    int32_t enough = plan_.slots;
    for (int32_t too_few = 0; enough - too_few > 1;) {
      const int32_t middle = too_few + (enough - too_few) / 2;
      (run_with(middle).finished ? enough : too_few) = middle;
    }
    min_slots_ = enough;
    return std::nullopt;
  }

  Execution run_with(int32_t slots) const {
    const int64_t tiles = int64_t{std::max(slots, plan_.tiles_in_flight)} + 1;
    return execute(network_, slots, static_cast<int32_t>(std::min(tiles, kMaxUnrolledTiles)));
  }

  void judge_references(const Layout& layout, const Accesses& accesses, Mode mode,
                        HappensBefore& order) {
    connections_.resize(network_.connections.size());
    for (size_t i = 0; i < connections_.size(); ++i) {
      const Connection& connection = network_.connections[i];
      ConnectionVerdict& verdict = connections_[i];
      verdict.source_rank = connection.source_rank;
      verdict.sink_rank = connection.sink_rank;
      verdict.channel = connection.channel;
      verdict.messages_per_tile = static_cast<int64_t>(connection.sends.size());
      verdict.slots_needed = min_slots_;
      (mode == Mode::kInPlace ? verdict.reference_safe_in_place
                              : verdict.reference_safe_out_of_place) =
          is_reference_safe(network_, connection, layout, accesses, order);
    }
  }

  const plan::Plan& plan_;
  Network network_;
  std::vector<NodeId> order_;
  int32_t min_slots_ = 0;
  FoldOrder fold_order_ = FoldOrder::kInOrderOnce;  // of the outputs seen so far
  std::vector<ConnectionVerdict> connections_;
};

}  // namespace

const char* name(FoldOrder order) noexcept {
  constexpr const char* kNames[] = {"any order", "rank order", "rank order in one step"};
  return kNames[static_cast<size_t>(order)];
}

Verdict verify(const plan::Plan& plan) {
  Verdict verdict;
  try {
    Verification verification(plan);
    if (Rejection why = verification.run()) {
      verdict.reason = std::move(*why);
      return verdict;
    }
    verdict.accepted = true;
    verdict.min_slots = verification.min_slots();
    verdict.fold_order = adds_in_switches(plan) ? FoldOrder::kAny : verification.fold_order();
    verdict.connections = verification.take_connections();
  } catch (const Error& error) {
    verdict.reason = fmt::format("well-formed: {}", error.what());
  }
  return verdict;
}

}  // namespace tutti::verify
