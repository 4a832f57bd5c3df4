// SPDX-License-Identifier: Apache-2.0
// Turns ways into legs between terminals, and these into steps.
#include "src/planner/alltoall/alltoall_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "src/planner/forest/channels.h"

namespace tutti::planner {
namespace {

using plan::Buffer;
using plan::Operand;

constexpr int32_t kTilesInFlight = 8;
constexpr int32_t kSlots = 8;

// From one terminal to the next; verify::Route::channel is set when the plan is written.
using Legs = std::vector<verify::Route>;

Legs legs_of(const BlockWay& way, const FlowNetwork& network) {
  Legs legs;
  bool begins = true;
  for (const int32_t index : way.arcs) {
    const FlowNetwork::Arc& arc = network.arcs[index];
    if (begins) legs.push_back({.source_rank = arc.from});
    legs.back().hops.push_back(arc.hop);
    legs.back().sink_rank = arc.to;
    begins = arc.to < network.n_terminals;
  }
  return legs;
}

struct Course {
  const BlockWay* way = nullptr;
  Legs legs;
  int32_t span = 0;  // of the last leg, counted upwards from its beginning
};

// The order in which all lanes take them: what goes straight does not wait for others, and every
// rank begins with its neighbour above.
std::vector<Course> courses_of(const BlockWays& ways, const FlowNetwork& network) {
  const int32_t n = network.n_terminals;
  std::vector<Course> courses;
  for (const BlockWay& way : ways.ways) {
    Course course{.way = &way, .legs = legs_of(way, network)};
    const verify::Route& last = course.legs.back();
    course.span = (last.sink_rank - last.source_rank + n) % n;
    courses.push_back(std::move(course));
  }
  std::ranges::stable_sort(courses, {}, [n](const Course& course) {
    const int32_t apart = (course.way->sink - course.way->source + n) % n;
    return std::tuple(course.legs.size(), course.way->chunk, apart);
  });
  return courses;
}

// Spans as small numbers, in at most so many groups.
std::map<int32_t, int32_t> groups_of(const std::vector<Course>& courses, int32_t most) {
  std::map<int32_t, int32_t> groups;
  for (const Course& course : courses) groups.try_emplace(course.span, 0);
  int32_t next = 0;
  for (auto& [span, group] : groups) group = next++ % most;
  return groups;
}

class Writer {
 public:
  Writer(const plan::Shape& shape, int32_t most_legs, const PlanBudget& budget)
      : stages_(most_legs + 1), table_(budget.channels) {
    plan_.shape = shape;
    plan_.slots = kSlots;
    plan_.tiles_in_flight = kTilesInFlight;
    plan_.ranks.resize(static_cast<size_t>(shape.n_ranks));
    lanes_.resize(plan_.ranks.size());
  }

  void write(const Course& course, int32_t group) {
    const int32_t per_block = plan_.shape.chunks_per_block;
    const BlockWay& way = *course.way;
    const int32_t block = way.source * plan_.shape.n_ranks + way.sink;
    const int32_t extent = block * per_block + way.chunk;
    Operand source = chunk(way.source, Buffer::kInput, extent);
    auto stage = static_cast<int32_t>(course.legs.size());  // legs left
    for (const verify::Route& leg : course.legs) {
      const int32_t channel = table_.channel(leg, group * stages_ + stage);
      add(leg.source_rank, group, stage--, extent, source, Operand::peer(leg.sink_rank, channel));
      source = Operand::peer(leg.source_rank, channel);
    }
    add(way.sink, group, stage, extent, source, chunk(way.sink, Buffer::kOutput, extent));
  }

  // What a rank has for itself.
  void write_own() {
    const int32_t per_block = plan_.shape.chunks_per_block;
    for (int32_t rank = 0; rank < plan_.shape.n_ranks; ++rank) {
      const int32_t first = (rank * plan_.shape.n_ranks + rank) * per_block;
      for (int32_t extent = first; extent < first + per_block; ++extent)
        add(rank, 0, 0, extent, chunk(rank, Buffer::kInput, extent),
            chunk(rank, Buffer::kOutput, extent));
    }
  }

  size_t most_lanes() const {
    size_t most = 0;
    for (const plan::RankProgram& rank : plan_.ranks) most = std::max(most, rank.lanes.size());
    return most;
  }
  int32_t channels() const { return table_.channels(); }

  PlacedPlan finish(const std::string& algorithm, const FlowNetwork& network) {
    plan_.algorithm = algorithm;
    plan_.channels = table_.channels();
    PlacedPlan placed{std::move(plan_), {}};
    placed.placement = {
        {network.graph_node.begin(), network.graph_node.begin() + network.n_terminals},
        table_.routes()};
    return placed;
  }

 private:
  Operand chunk(int32_t rank, Buffer buffer, int32_t extent) const {
    const int32_t per_block = plan_.shape.chunks_per_block;
    const int32_t position = plan::position_of(plan_.shape, rank, buffer, extent / per_block);
    return Operand::chunk(buffer, position * per_block + extent % per_block);
  }

  void add(int32_t rank, int32_t group, int32_t stage, int32_t extent, const Operand& source,
           const Operand& sink) {
    auto& lanes = plan_.ranks[rank].lanes;
    const auto [lane, is_new] = lanes_[rank].try_emplace({group, stage}, lanes.size());
    if (is_new) lanes.emplace_back();
    lanes[lane->second].steps.push_back({.sources = {source}, .sinks = {sink}, .extent = extent});
  }

  int32_t stages_;
  ConnectionTable table_;
  plan::Plan plan_;
  std::vector<std::map<std::pair<int32_t, int32_t>, size_t>> lanes_;  // by rank; group and stage
};

Writer written(const std::vector<Course>& courses, const plan::Shape& shape, int32_t groups,
               const PlanBudget& budget) {
  const int32_t most_legs = courses.empty() ? 0 : static_cast<int32_t>(courses.back().legs.size());
  Writer writer(shape, most_legs, budget);
  const std::map<int32_t, int32_t> group_of_span = groups_of(courses, groups);
  for (const Course& course : courses) writer.write(course, group_of_span.at(course.span));
  writer.write_own();
  return writer;
}

}  // namespace

PlacedPlan all_to_all_plan(const std::string& algorithm, const BlockWays& ways,
                           const FlowNetwork& network, const PlanBudget& budget) {
  const plan::Shape shape{.collective = plan::Collective::kAllToAll,
                          .n_ranks = network.n_terminals,
                          .root = 0,
                          .chunks_per_block = ways.chunks_per_block};
  const std::vector<Course> courses = courses_of(ways, network);
  for (int32_t groups = std::max(budget.lanes / 2, 1);; groups -= std::max(1, groups / 4)) {
    Writer writer = written(courses, shape, groups, budget);
    const bool fits = writer.channels() <= budget.channels &&
                      writer.most_lanes() <= static_cast<size_t>(budget.lanes);
    if (fits || groups == 1) return writer.finish(algorithm, network);
  }
}

}  // namespace tutti::planner
