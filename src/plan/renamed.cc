// SPDX-License-Identifier: Apache-2.0
// Numbers ranks, peers and blocks anew.
#include "src/plan/renamed.h"

#include <algorithm>
#include <string>
#include <vector>

#include "src/base/error.h"

namespace tutti::plan {
namespace {

void check_permutation(std::span<const int32_t> new_rank, int32_t n_ranks) {
  std::vector<bool> taken(static_cast<size_t>(n_ranks), false);
  bool fits = new_rank.size() == taken.size();
  for (const int32_t rank : new_rank) {
    fits = fits && rank >= 0 && rank < n_ranks && !taken[static_cast<size_t>(rank)];
    if (fits) taken[static_cast<size_t>(rank)] = true;
  }
  if (fits) return;
  throw Error(StatusCode::kInvalidArgument, "expected each of the plan's " +
                                                std::to_string(n_ranks) +
                                                " ranks to get a number of its own from 0 on");
}

class Renaming {
 public:
  Renaming(const Shape& from, std::span<const int32_t> new_rank)
      : from_(from), to_(from), new_rank_(new_rank) {
    if (has_root(from.collective)) to_.root = rank(from.root);
  }
  const Shape& shape() const noexcept { return to_; }
  int32_t rank(int32_t old) const noexcept { return new_rank_[static_cast<size_t>(old)]; }

  Step step(const Step& old, int32_t old_rank) const {
    Step made = old;
    if (old.extent != kNoExtent) made.extent = extent(old.extent);
    for (Operand& source : made.sources) rename(source, made.extent, old_rank);
    for (Operand& sink : made.sinks) rename(sink, made.extent, old_rank);
    return made;
  }

 private:
  int32_t block(int32_t old) const noexcept {
    const int32_t n = from_.n_ranks;
    const int32_t blocks = block_count(from_);
    if (blocks == n && n > 1) return rank(old);
    if (blocks == n * n && n > 1) return rank(old / n) * n + rank(old % n);
    return old;
  }
  int32_t extent(int32_t old) const noexcept {
    const int32_t chunks = from_.chunks_per_block;
    return block(old / chunks) * chunks + old % chunks;
  }
  // A chunk of input or output is the step's extent; a scratch chunk may hold any.
  void rename(Operand& operand, int32_t new_extent, int32_t old_rank) const noexcept {
    if (operand.kind == Operand::Kind::kPeer) {
      operand.index = rank(operand.index);
    } else if (operand.buffer != Buffer::kScratch) {
      const int32_t chunks = to_.chunks_per_block;
      const int32_t position =
          position_of(to_, rank(old_rank), operand.buffer, new_extent / chunks);
      operand.index = position * chunks + new_extent % chunks;
    }
  }

  const Shape& from_;
  Shape to_;
  std::span<const int32_t> new_rank_;
};

}  // namespace

Plan renamed(const Plan& plan, std::span<const int32_t> new_rank) {
  check_permutation(new_rank, plan.shape.n_ranks);
  const Renaming renaming(plan.shape, new_rank);
  Plan made = plan;
  made.shape = renaming.shape();
  for (int32_t old = 0; old < plan.shape.n_ranks; ++old) {
    RankProgram& program = made.ranks[static_cast<size_t>(renaming.rank(old))];
    program = plan.ranks[static_cast<size_t>(old)];
    for (Lane& lane : program.lanes) {
      for (Step& step : lane.steps) step = renaming.step(step, old);
    }
  }
  for (SwitchChannel& channel : made.switch_channels) channel.rank = renaming.rank(channel.rank);
  std::ranges::sort(made.switch_channels);
  return made;
}

}  // namespace tutti::plan
