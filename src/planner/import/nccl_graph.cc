// SPDX-License-Identifier: Apache-2.0
// Joins the channels of all boxes to rings and trees, and writes their steps.
#include "src/planner/import/nccl_graph.h"

#include <algorithm>
#include <span>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/planner/algorithms/builder.h"
#include "src/planner/import/nccl_boxes.h"
#include "src/planner/import/nccl_graph_xml.h"
#include "src/planner/import/nccl_tree.h"
#include "src/verify/routes.h"

namespace tutti::planner {
namespace {

using nccl::Box;
using nccl::ChannelGraph;
using nccl::PlacedChannel;
using plan::Collective;

// What both kinds of graph are made of.
struct Source {
  std::string_view file;
  const topology::Graph& graph;
  Collective collective;
};

std::vector<Box> boxes_of(const Source& source, const ChannelGraph& channels) {
  return nccl::boxes_of(source.graph, channels.channels.front().gpus.size(), source.file,
                        channels.channels.front().line);
}

PlacedPlan placed(const Source& source, plan::Plan plan, std::span<const verify::Detour> detours) {
  PlacedPlan result;
  result.placement = verify::place_by_shortest_paths(
      plan, source.graph, topology::nodes_of_kind(source.graph, topology::NodeKind::kGpu), detours);
  result.plan = std::move(plan);
  return result;
}

// The way from a GPU to the NIC that it uses stays in its box: not out by one NIC and back by
// another.
void keep_inside(const Source& source, const std::vector<Box>& boxes,
                 std::vector<verify::Detour>* detours) {
  const size_t gpus = boxes.front().gpus.size();
  const auto way = [&](int32_t rank, int32_t nic, bool out) {
    const Box& box = boxes[static_cast<size_t>(rank) / gpus];
    const int32_t gpu = box.gpus[static_cast<size_t>(rank) % gpus];
    return out ? nccl::way_inside(box, source.graph, gpu, nic)
               : nccl::way_inside(box, source.graph, nic, gpu);
  };
  for (verify::Detour& detour : *detours) {
    if (detour.through.empty()) continue;
    const std::vector<int32_t> out = way(detour.source_rank, detour.through.front(), true);
    const std::vector<int32_t> in = way(detour.sink_rank, detour.through.back(), false);
    detour.through.insert(detour.through.begin(), out.begin(), out.end());
    detour.through.insert(detour.through.end(), in.begin(), in.end());
  }
}

// ---- rings ----

// All ranks, one after the other.
struct Ring {
  std::vector<int32_t> ranks;
  std::vector<verify::Detour> detours;  // from box to box
};

// Channel of the file that a box runs as channel `c`.
size_t channel_in_box(const ChannelGraph& rings, size_t c, size_t box) {
  const bool alternates = rings.crossnic == 2 && rings.channels.size() % 2 == 0;
  return alternates && box % 2 == 1 ? c ^ 1 : c;
}

Ring ring_of(const Source& source, const ChannelGraph& rings, const std::vector<Box>& boxes,
             size_t c) {
  Ring ring;
  std::vector<PlacedChannel> parts;
  for (size_t b = 0; b < boxes.size(); ++b) {
    parts.push_back(nccl::place(rings.channels[channel_in_box(rings, c, b)], boxes, b, source.graph,
                                source.file));
    ring.ranks.insert(ring.ranks.end(), parts.back().ranks.begin(), parts.back().ranks.end());
  }
  for (size_t b = 0; b < boxes.size() && boxes.size() > 1; ++b) {
    const PlacedChannel& from = parts[b];
    const PlacedChannel& to = parts[(b + 1) % boxes.size()];
    verify::Detour detour{from.ranks.back(), to.ranks.front(), static_cast<int32_t>(c), {}};
    if (!from.nics.empty()) detour.through.push_back(from.nics.back());
    if (!to.nics.empty()) detour.through.push_back(to.nics.front());
    ring.detours.push_back(std::move(detour));
  }
  return ring;
}

// One rank's place in a ring. A part is what starts at one rank: its block, or an n-th of
// AllReduce's only block.
struct Seat {
  const std::vector<int32_t>& ranks;
  size_t position;
  int32_t channel;
  int32_t channels;

  size_t hops() const { return ranks.size() - 1; }
  plan::Operand next() const { return peer(ranks[(position + 1) % ranks.size()], channel); }
  plan::Operand previous() const {
    return peer(ranks[(position + hops()) % ranks.size()], channel);
  }
  // Extent of this channel's chunk of the part of the rank so many hops behind.
  int32_t part(size_t behind) const {
    return ranks[(position + 2 * ranks.size() - behind) % ranks.size()] * channels + channel;
  }
};

// Parts first, first + 1, ... go by with our contribution added; the last of them is not ours to
// pass on.
void pass_on_sums(LaneBuilder& lane, const Seat& me, size_t first) {
  lane.step(me.part(first), {me.next()}, {scaled_input()});
  for (size_t s = 1; s < me.hops(); ++s)
    lane.step(me.part(first + s), {me.next()}, {me.previous(), scaled_input()});
}

void pass_on_results(LaneBuilder& lane, const Seat& me, size_t first) {
  for (size_t s = 0; s + 1 < me.hops(); ++s)
    lane.step(me.part(first + s), {output(), me.next()}, {me.previous()});
  lane.step(me.part(first + me.hops() - 1), {output()}, {me.previous()});
}

void add_ring_lane(LaneBuilder lane, const Seat& me, Collective collective) {
  switch (collective) {
    case Collective::kAllGather:
      lane.step(me.part(0), {output(), me.next()}, {input()});
      return pass_on_results(lane, me, 1);
    case Collective::kReduceScatter:
      pass_on_sums(lane, me, 1);
      return lane.step(me.part(me.ranks.size()), {output()}, {me.previous(), scaled_input()},
                       Post::kYes);
    default:
      pass_on_sums(lane, me, 0);
      lane.step(me.part(me.hops()), {output(), me.next()}, {me.previous(), scaled_input()},
                Post::kYes);
      pass_on_results(lane, me, me.ranks.size());
  }
}

PlacedPlan ring_plan(const Source& source, const ChannelGraph& rings) {
  const std::vector<Box> boxes = boxes_of(source, rings);
  const auto n = static_cast<int32_t>(boxes.size() * boxes.front().gpus.size());
  const auto channels = static_cast<int32_t>(rings.channels.size());
  const PlanRequest request{.collective = source.collective, .n_ranks = n};
  if (n == 1) return placed(source, local_plan("nccl_ring", request), {});
  const bool one_block = source.collective == Collective::kAllReduce;
  PlanBuilder builder("nccl_ring", request, (one_block ? n : 1) * channels);
  std::vector<verify::Detour> detours;
  for (int32_t c = 0; c < channels; ++c) {
    Ring ring = ring_of(source, rings, boxes, static_cast<size_t>(c));
    for (size_t i = 0; i < ring.ranks.size(); ++i)
      add_ring_lane(builder.lane(ring.ranks[i]), {ring.ranks, i, c, channels}, source.collective);
    detours.insert(detours.end(), ring.detours.begin(), ring.detours.end());
  }
  keep_inside(source, boxes, &detours);
  return placed(source, builder.finish(), detours);
}

// ---- trees ----

// This rank's part of one tree's reduction and broadcast. Contributions are in the order of ranks,
// as far as a tree allows.
void add_tree_lanes(PlanBuilder& builder, int32_t rank, const nccl::TreeSeat& seat, int32_t tree) {
  Operands contributions;
  Operands result{output()};
  bool own_added = false;
  for (const int32_t child : seat.children) {
    if (child > rank && !own_added) contributions.push_back(scaled_input());
    own_added = own_added || child > rank;
    contributions.push_back(peer(child, tree));
    result.push_back(peer(child, tree));
  }
  if (!own_added) contributions.push_back(scaled_input());
  LaneBuilder up = builder.lane(rank);
  if (seat.parent == nccl::kNoRank) {
    up.step(tree, result, contributions, Post::kYes);
  } else {
    up.step(tree, {peer(seat.parent, tree)}, contributions);
    builder.lane(rank).step(tree, result, {peer(seat.parent, tree)});
  }
}

PlacedPlan tree_plan(const Source& source, const ChannelGraph& trees) {
  constexpr int32_t kTilesInFlight = 8;
  const std::vector<Box> boxes = boxes_of(source, trees);
  const auto n = static_cast<int32_t>(boxes.size() * boxes.front().gpus.size());
  const PlanRequest request{.collective = source.collective, .n_ranks = n};
  if (n == 1) return placed(source, local_plan("nccl_tree", request), {});
  std::vector<nccl::Tree> all;
  for (const bool second : {false, true}) {
    if (second && boxes.size() == 1) break;
    for (const nccl::Channel& channel : trees.channels) {
      std::vector<PlacedChannel> parts;
      parts.reserve(boxes.size());
      for (size_t b = 0; b < boxes.size(); ++b)
        parts.push_back(nccl::place(channel, boxes, b, source.graph, source.file));
      all.push_back(
          nccl::tree_of(parts, {trees.pattern, second}, n, static_cast<int32_t>(all.size())));
    }
  }
  PlanBuilder builder("nccl_tree", request, static_cast<int32_t>(all.size()));
  builder.set_tiles_in_flight(kTilesInFlight);
  std::vector<verify::Detour> detours;
  for (size_t t = 0; t < all.size(); ++t) {
    for (int32_t rank = 0; rank < n; ++rank)
      add_tree_lanes(builder, rank, all[t].seats[static_cast<size_t>(rank)],
                     static_cast<int32_t>(t));
    detours.insert(detours.end(), all[t].detours.begin(), all[t].detours.end());
  }
  keep_inside(source, boxes, &detours);
  return placed(source, builder.finish(), detours);
}

// ---- what of the file is used ----

constexpr const char* kOtherGraphs[] = {"", "", "CollNet chain", "NVLS", "CollNet direct"};

std::string describe(int32_t id) {
  const bool known = id >= 2 && static_cast<size_t>(id) < std::size(kOtherGraphs);
  return known ? fmt::format("graph {} ({})", id, kOtherGraphs[id]) : fmt::format("graph {}", id);
}

// Why a graph gives no plan; nothing when it does.
std::string reason_to_skip(const ChannelGraph& graph, Collective collective) {
  if (graph.id > nccl::kTreeId)
    return static_cast<size_t>(graph.id) < std::size(kOtherGraphs)
               ? "switches reduce in it; tutti plan explain makes such plans"
               : "it is none of rings (0), trees (1), CollNet (2, 4) and NVLS (3)";
  if (graph.channels.empty()) return "it has no channels";
  if (graph.id == nccl::kTreeId && collective != Collective::kAllReduce)
    return fmt::format("NCCL's trees serve all_reduce alone, not {}", plan::name(collective));
  return "";
}

}  // namespace

NcclGraphPlans plans_from_nccl_graph(std::string_view text, std::string_view file,
                                     const topology::Graph& graph, Collective collective) {
  if (collective != Collective::kAllReduce && collective != Collective::kAllGather &&
      collective != Collective::kReduceScatter)
    nccl::fail(file, 1,
               fmt::format("expected all_reduce, all_gather or reduce_scatter for NCCL's graphs, "
                           "got {}",
                           plan::name(collective)));
  const Source source{file, graph, collective};
  NcclGraphPlans result;
  std::string skipped;
  for (const ChannelGraph& channels : nccl::read_graphs(text, file)) {
    const std::string reason = reason_to_skip(channels, collective);
    if (reason.empty()) {
      result.plans.push_back(channels.id == nccl::kRingId ? ring_plan(source, channels)
                                                          : tree_plan(source, channels));
      continue;
    }
    const std::string what = fmt::format("{}: {}", describe(channels.id), reason);
    skipped += (skipped.empty() ? "" : "; ") + what;
    result.notes.push_back(
        {std::string(file), fmt::format("line {}: left out {}", channels.line, what)});
  }
  if (result.plans.empty())
    nccl::fail(file, 1,
               fmt::format("nothing in it serves {}: {}", plan::name(collective), skipped));
  std::ranges::stable_sort(result.plans, {}, [](const PlacedPlan& p) { return p.plan.algorithm; });
  return result;
}

bool is_nccl_graph(std::string_view text) {
  // Past a declaration, comments and white space.
  constexpr std::string_view kSpace = " \t\r\n";
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
    const std::string_view end = text.starts_with("<?")     ? "?>"
                                 : text.starts_with("<!--") ? "-->"
                                                            : "";
    if (end.empty()) break;
    const size_t at = text.find(end);
    text.remove_prefix(at == std::string_view::npos ? text.size() : at + end.size());
  }
  constexpr std::string_view kRoot = "<graphs";
  return text.starts_with(kRoot) && text.find_first_of(" \t\r\n/>") == kRoot.size();
}

}  // namespace tutti::planner
