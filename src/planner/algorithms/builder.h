// SPDX-License-Identifier: Apache-2.0
// Lets an algorithm be written like its pseudocode: lanes, and steps `sinks <- reduce(sources)` on
// an extent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/plan/plan.h"
#include "src/planner/planner.h"

namespace tutti::planner {

using Operands = std::vector<plan::Operand>;

// Operands of LaneBuilder::step. A chunk's index follows from the step's extent, so it is not given
// here.
plan::Operand input();
plan::Operand scaled_input();  // pre(input): a raw contribution that enters a reduction
plan::Operand output();
plan::Operand peer(int32_t rank, int32_t channel = 0);

// Peers of every other rank, nearest above first, so that not all ranks begin with the same one.
Operands all_peers(int32_t n_ranks, int32_t rank);
// Every rank's contribution in rank order: peers, and `own` in the place of `rank`. Whoever folds
// these gets the same bits.
Operands in_rank_order(int32_t n_ranks, int32_t rank, const plan::Operand& own);

enum class Post : uint8_t {
  kNo,
  kYes
};  // kYes: the reduction of this extent is complete after this step

class LaneBuilder {
 public:
  void step(int32_t extent, const Operands& sinks, const Operands& sources, Post post = Post::kNo);
  void signal(int32_t rank);    // peer <- {}
  void wait_for(int32_t rank);  // {} <- peer

 private:
  friend class PlanBuilder;
  LaneBuilder(plan::Plan* plan, int32_t rank, size_t lane)
      : plan_(plan), rank_(rank), lane_(lane) {}
  std::vector<plan::Step>& steps();

  plan::Plan* plan_;  // of the PlanBuilder that made this lane and outlives it
  int32_t rank_;
  size_t lane_;
};

class PlanBuilder {
 public:
  PlanBuilder(const char* algorithm, const PlanRequest& request, int32_t chunks_per_block);
  PlanBuilder(const PlanBuilder&) = delete;
  PlanBuilder& operator=(const PlanBuilder&) = delete;

  // Adds a lane to the rank; lanes may grow in any order.
  LaneBuilder lane(int32_t rank);
  // How many tiles a rank may have under way; more than the default only helps plans whose lanes
  // run apart.
  void set_tiles_in_flight(int32_t tiles) { plan_.tiles_in_flight = tiles; }
  // Sends may run ahead of receives by as much as fits in slots, so that no rank waits for a peer
  // that is a little behind. For plans without scratch.
  void let_lanes_run_apart();
  // The plan, with `channels` counted from the peers in use. The builder is spent.
  plan::Plan finish();

 private:
  plan::Plan plan_;
};

// The plan of any collective for one rank: output <- input, scaled before and after where it
// reduces.
plan::Plan local_plan(const char* algorithm, const PlanRequest& request);

// For AlgorithmRow::supports.
bool any_rank_count(const PlanRequest& request);
bool power_of_two(const PlanRequest& request);
// Algorithms in which every rank talks to every other stop here: connections and operands grow with
// the number of ranks.
inline constexpr int32_t kMaxDirectRanks = 64;
bool few_ranks(const PlanRequest& request);
inline constexpr const char* kPowerOfTwo = "a power of two of ranks";
inline constexpr const char* kFewRanks = "at most 64 ranks";
static_assert(kMaxDirectRanks == 64, "kFewRanks says so");

}  // namespace tutti::planner
