// SPDX-License-Identifier: Apache-2.0
// Unrolls a butterfly per block into lanes by stage.
#include "src/planner/algorithms/butterfly.h"

#include <cstddef>
#include <utility>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/cost.h"

namespace tutti::planner {
namespace {

using Visit = Butterfly::Visit;
using Partners = Butterfly::Partners;

Partners inverse(const Partners& to) {
  Partners from(to.size(), std::vector<int32_t>(to.front().size()));
  for (size_t round = 0; round < to.size(); ++round)
    for (size_t place = 0; place < to[round].size(); ++place)
      from[round][static_cast<size_t>(to[round][place])] = static_cast<int32_t>(place);
  return from;
}

// Offsets at which the block of place 0 meets a place for the first time.
std::vector<bool> first_come(const Partners& to) {
  std::vector<bool> reached(to.front().size(), false);
  std::vector<bool> offsets(size_t{1} << to.size(), false);
  std::vector<int32_t> place_at(offsets.size(), 0);  // by offset
  reached[0] = true;
  offsets[0] = true;
  for (size_t round = 0; round < to.size(); ++round) {
    const size_t bit = size_t{1} << round;
    for (size_t offset = 0; offset < bit; ++offset) {
      if (!offsets[offset]) continue;
      const int32_t place = to[round][static_cast<size_t>(place_at[offset])];
      if (reached[static_cast<size_t>(place)]) continue;
      reached[static_cast<size_t>(place)] = true;
      offsets[offset | bit] = true;
      place_at[offset | bit] = place;
    }
  }
  return offsets;
}

// 0 first; the lowest bits count most.
std::vector<int32_t> bit_reversed(int32_t bits) {
  std::vector<int32_t> order{0};
  for (int32_t b = bits - 1; b >= 0; --b) {
    const size_t known = order.size();
    for (size_t i = 0; i < known; ++i) order.push_back(order[i] | (1 << b));
  }
  return order;
}

// One lane for each stage.
std::vector<LaneBuilder> stages_of(PlanBuilder& builder, int32_t rank, const Butterfly& butterfly) {
  std::vector<LaneBuilder> lanes;
  for (int32_t stage = 0; stage <= butterfly.rounds(); ++stage) lanes.push_back(builder.lane(rank));
  return lanes;
}

// Of an all-reduce: what the rank at one place does. Channels from butterfly.rounds() on are those
// of the all-gather, except from and to the ranks that it stands in for.
class Place {
 public:
  Place(const Butterfly& butterfly, const ReduceGroup& group, int32_t place)
      : butterfly_(butterfly),
        group_(group),
        rank_(group.ranks[static_cast<size_t>(place)]),
        followers_(group.followers[static_cast<size_t>(place)]),
        visits_(butterfly.visits(place)) {}

  void add_lanes(PlanBuilder& builder) const {
    std::vector<LaneBuilder> halving = stages_of(builder, rank_, butterfly_);
    for (auto visit = visits_.rbegin(); visit != visits_.rend(); ++visit) {
      const Operands sinks =
          visit->stage == 0 ? results(*visit) : Operands{at(visit->nearer, visit->nearer_stage)};
      halving[static_cast<size_t>(visit->stage)].step(chunk(*visit), sinks, contributions(*visit),
                                                      visit->stage == 0 ? Post::kYes : Post::kNo);
    }
    add_doubling(builder);
    for (const int32_t follower : followers_) add_follower(builder, follower);
  }

 private:
  int32_t chunk(const Visit& visit) const { return group_.first_chunk + visit.block; }
  plan::Operand at(int32_t place, int32_t channel) const {
    return peer(group_.ranks[static_cast<size_t>(place)], channel);
  }
  Operands contributions(const Visit& visit) const {
    Operands operands;
    for (const int32_t follower : followers_) operands.push_back(peer(follower, visit.stage));
    for (const int32_t place : visit.farther) operands.push_back(at(place, visit.stage));
    operands.push_back(scaled_input());
    return operands;
  }
  Operands results(const Visit& visit) const {
    Operands operands{output()};
    for (const int32_t follower : followers_)
      operands.push_back(peer(follower, group_.result_channel + visit.stage));
    for (const int32_t place : visit.farther)
      operands.push_back(at(place, butterfly_.rounds() + visit.stage));
    return operands;
  }

  void add_doubling(PlanBuilder& builder) const {
    std::vector<LaneBuilder> doubling;
    for (int32_t stage = 1; stage <= butterfly_.rounds(); ++stage)
      doubling.push_back(builder.lane(rank_));
    for (const Visit& visit : visits_) {
      if (visit.stage == 0) continue;
      doubling[static_cast<size_t>(visit.stage - 1)].step(
          chunk(visit), results(visit),
          {at(visit.nearer, butterfly_.rounds() + visit.nearer_stage)});
    }
  }

  // Sends and receives in the order in which the place could handle one block after the other.
  void add_follower(PlanBuilder& builder, int32_t follower) const {
    LaneBuilder gives = builder.lane(follower);
    for (auto visit = visits_.rbegin(); visit != visits_.rend(); ++visit)
      gives.step(chunk(*visit), {peer(rank_, visit->stage)}, {scaled_input()});
    LaneBuilder gets = builder.lane(follower);
    for (const Visit& visit : visits_)
      gets.step(chunk(visit), {output()}, {peer(rank_, group_.result_channel + visit.stage)});
  }

  const Butterfly& butterfly_;
  const ReduceGroup& group_;
  int32_t rank_;
  const std::vector<int32_t>& followers_;
  std::vector<Visit> visits_;
};

}  // namespace

Butterfly::Butterfly(Partners to) : to_(std::move(to)) {
  from_ = inverse(to_);
  offsets_ = first_come(to_);
}

Butterfly::Butterfly(Partners to, std::vector<bool> offsets)
    : to_(std::move(to)), offsets_(std::move(offsets)) {
  from_ = inverse(to_);
}

int32_t Butterfly::block_at(int32_t place, int32_t offset) const {
  for (int32_t round = rounds() - 1; round >= 0; --round)
    if ((offset >> round) % 2 != 0)
      place = from_[static_cast<size_t>(round)][static_cast<size_t>(place)];
  return place;
}

std::vector<Butterfly::Visit> Butterfly::visits(int32_t place) const {
  std::vector<Visit> found;
  found.reserve(static_cast<size_t>(places()));
  for (const int32_t offset : bit_reversed(rounds())) {
    if (!offsets_[static_cast<size_t>(offset)]) continue;
    Visit visit{.block = block_at(place, offset), .stage = first_bit_above(offset)};
    if (offset > 0) {
      const int32_t round = top_bit(offset);
      visit.nearer = from_[static_cast<size_t>(round)][static_cast<size_t>(place)];
      visit.nearer_stage = first_bit_above(offset - (1 << round));
    }
    for (int32_t round = visit.stage; round < rounds(); ++round)
      if (offsets_[static_cast<size_t>(offset | (1 << round))])
        visit.farther.push_back(to_[static_cast<size_t>(round)][static_cast<size_t>(place)]);
    found.push_back(std::move(visit));
  }
  return found;
}

Butterfly hypercube_butterfly(int32_t bits) {
  Partners to(static_cast<size_t>(bits));
  for (int32_t b = 0; b < bits; ++b)
    for (int32_t place = 0; place < 1 << bits; ++place)
      to[static_cast<size_t>(b)].push_back(place ^ (1 << b));
  return Butterfly(std::move(to));
}

plan::Plan butterfly_all_gather(const char* name, const PlanRequest& request,
                                const Butterfly& butterfly) {
  PlanBuilder builder(name, request, 1);
  builder.let_lanes_run_apart();
  for (int32_t rank = 0; rank < request.n_ranks; ++rank) {
    std::vector<LaneBuilder> lanes = stages_of(builder, rank, butterfly);
    for (const Visit& visit : butterfly.visits(rank)) {
      Operands sinks{output()};
      for (const int32_t place : visit.farther) sinks.push_back(peer(place, visit.stage));
      lanes[static_cast<size_t>(visit.stage)].step(
          visit.block, sinks,
          {visit.stage == 0 ? input() : peer(visit.nearer, visit.nearer_stage)});
    }
  }
  return builder.finish();
}

plan::Plan butterfly_reduce_scatter(const char* name, const PlanRequest& request,
                                    const Butterfly& butterfly) {
  PlanBuilder builder(name, request, 1);
  builder.let_lanes_run_apart();
  for (int32_t rank = 0; rank < request.n_ranks; ++rank) {
    std::vector<LaneBuilder> lanes = stages_of(builder, rank, butterfly);
    const std::vector<Visit> visits = butterfly.visits(rank);
    for (auto visit = visits.rbegin(); visit != visits.rend(); ++visit) {
      Operands contributions;
      for (const int32_t place : visit->farther) contributions.push_back(peer(place, visit->stage));
      contributions.push_back(scaled_input());
      const bool own = visit->stage == 0;
      lanes[static_cast<size_t>(visit->stage)].step(
          visit->block, {own ? output() : peer(visit->nearer, visit->nearer_stage)}, contributions,
          own ? Post::kYes : Post::kNo);
    }
  }
  return builder.finish();
}

plan::Plan butterfly_all_reduce(const char* name, const PlanRequest& request,
                                const Butterfly& butterfly, const Folded& folded) {
  PlanBuilder builder(name, request, butterfly.places());
  builder.let_lanes_run_apart();
  ReduceGroup group;
  for (int32_t corner = 0; corner < butterfly.places(); ++corner) {
    group.ranks.push_back(folded.rank_of(corner));
    group.followers.emplace_back();
    if (folded.extra_of(corner) >= 0) group.followers.back().push_back(folded.extra_of(corner));
  }
  add_all_reduce(builder, butterfly, group);
  return builder.finish();
}

void add_all_reduce(PlanBuilder& builder, const Butterfly& butterfly, const ReduceGroup& group) {
  for (int32_t place = 0; place < butterfly.places(); ++place)
    Place(butterfly, group, place).add_lanes(builder);
}

double butterfly_all_gather_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = static_cast<double>(ceil_log2(in.n_ranks)),
                      .messages = n - 1,
                      .written_bytes = block * (2 * n - 1),
                      .read_bytes = block * n});
}

double butterfly_reduce_scatter_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const auto block = static_cast<double>(in.bytes);
  return time_ns(in, {.hops = static_cast<double>(ceil_log2(in.n_ranks)),
                      .messages = n - 1,
                      .written_bytes = block * n,
                      .read_bytes = block * (2 * n - 1)});
}

double butterfly_all_reduce_cost(const CostInput& in, const Folded& folded) {
  const double c = folded.corners;
  const double extra = static_cast<double>(folded.extras) / in.n_ranks;
  const double moved = static_cast<double>(in.bytes) * (1 + 2 * (c - 1) / c + 2 * extra);
  return time_ns(in, {.hops = 2.0 * ceil_log2(folded.corners) + (folded.extras > 0 ? 2 : 0),
                      .messages = 2 * (c - 1) + 2 * c * extra,
                      .written_bytes = moved,
                      .read_bytes = moved});
}

}  // namespace tutti::planner
