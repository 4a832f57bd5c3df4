// SPDX-License-Identifier: Apache-2.0
// Adds up capacities at borders.
#include "src/verify/bound.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/verify/placement.h"

namespace tutti::verify {
namespace {

using plan::Collective;
using Reason = std::optional<std::string>;

int64_t n_ranks(const BoundClaim& claim) {
  return static_cast<int64_t>(claim.node_of_rank->size());
}

// By node: the part that it is in; -1: none.
using PartOf = std::vector<int32_t>;

Reason assign_parts(const BoundClaim& claim, PartOf* part_of) {
  const auto n_nodes = static_cast<int32_t>(claim.graph->nodes.size());
  part_of->assign(claim.graph->nodes.size(), -1);
  for (size_t part = 0; part < claim.parts->size(); ++part) {
    for (const int32_t node : (*claim.parts)[part]) {
      if (node < 0 || node >= n_nodes)
        return fmt::format("part {}: expected a node from 0 to {}, got {}", part, n_nodes - 1,
                           node);
      if ((*part_of)[node] >= 0)
        return fmt::format("part {}: {} is in part {} already", part, claim.graph->nodes[node].id,
                           (*part_of)[node]);
      (*part_of)[node] = static_cast<int32_t>(part);
    }
  }
  return std::nullopt;
}

// Mbit/s that leave and enter a part.
struct Border {
  int64_t out = 0;
  int64_t in = 0;
};
std::vector<Border> borders(const BoundClaim& claim, const PartOf& part_of) {
  std::vector<Border> borders(claim.parts->size());
  for (const topology::Link& link : claim.graph->links) {
    const int32_t from = part_of[link.from];
    const int32_t to = part_of[link.to];
    if (from == to) continue;
    const int64_t forward = std::max<int64_t>(link.forward_mbit_s, 0);
    const int64_t reverse = std::max<int64_t>(link.reverse_mbit_s, 0);
    if (from >= 0) borders[from].out += forward;
    if (from >= 0) borders[from].in += reverse;
    if (to >= 0) borders[to].in += forward;
    if (to >= 0) borders[to].out += reverse;
  }
  return borders;
}

std::vector<int32_t> ranks_in(const BoundClaim& claim, const PartOf& part_of) {
  std::vector<int32_t> count(claim.parts->size(), 0);
  for (const int32_t node : *claim.node_of_rank)
    if (part_of[node] >= 0) ++count[part_of[node]];
  return count;
}

Reason bound_by_cut(const BoundClaim& claim, const PartOf& part_of, Rational* bound) {
  if (claim.parts->size() != 1)
    return fmt::format("parts: expected one, the cut, got {}", claim.parts->size());
  const int32_t inside = ranks_in(claim, part_of).front();
  const int64_t n = n_ranks(claim);
  if (inside == 0 || inside == n)
    return fmt::format("cut: expected 1 to {} ranks inside, got {}", n - 1, inside);
  const Border border = borders(claim, part_of).front();
  const bool leaves = claim.collective == Collective::kAllGather;
  const int64_t capacity = leaves ? border.out : border.in;
  if (capacity <= 0) return "cut: nothing crosses it, so no plan can be right";
  *bound = Rational::of(inside, capacity);
  return std::nullopt;
}

// What a switch that reduces passes on is not somebody's data any more, so it has to be in a part.
Reason check_partition(const BoundClaim& claim, const PartOf& part_of) {
  if (claim.parts->size() < 2)
    return fmt::format("parts: expected two or more, got {}", claim.parts->size());
  const std::vector<int32_t> count = ranks_in(claim, part_of);
  for (size_t part = 0; part < count.size(); ++part)
    if (count[part] == 0) return fmt::format("part {}: has no rank", part);
  for (size_t rank = 0; rank < claim.node_of_rank->size(); ++rank)
    if (part_of[(*claim.node_of_rank)[rank]] < 0)
      return fmt::format("parts: rank {} is in none", rank);
  for (size_t node = 0; node < part_of.size(); ++node)
    if (claim.graph->nodes[node].attributes.reduces && part_of[node] < 0)
      return fmt::format("parts: {} reduces and is in none", claim.graph->nodes[node].id);
  return std::nullopt;
}

Reason bound_by_partition(const BoundClaim& claim, const PartOf& part_of, Rational* bound) {
  if (Reason why = check_partition(claim, part_of)) return why;
  int64_t capacity = 0;
  for (const Border& border : borders(claim, part_of)) capacity += border.in;
  if (capacity <= 0) return "partition: nothing crosses it, so no plan can be right";
  const auto parts = static_cast<int64_t>(claim.parts->size());
  *bound = Rational::of(2 * (parts - 1) * n_ranks(claim), capacity);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> find_bound(const BoundClaim& claim, Rational* bound) {
  for (const topology::Link& link : claim.graph->links)
    if (std::max(link.forward_mbit_s, link.reverse_mbit_s) > kMostMbitPerSecond)
      return fmt::format("expected capacities of at most {} Mbit/s, got {}", kMostMbitPerSecond,
                         std::max(link.forward_mbit_s, link.reverse_mbit_s));
  PartOf part_of;
  if (Reason why = assign_parts(claim, &part_of)) return why;
  switch (claim.collective) {
    case Collective::kAllGather:
    case Collective::kReduceScatter:
      return bound_by_cut(claim, part_of, bound);
    case Collective::kAllReduce:
      return bound_by_partition(claim, part_of, bound);
    default:
      return std::string("collective: expected all_gather, reduce_scatter or all_reduce, got ") +
             plan::name(claim.collective);
  }
}

std::optional<std::string> compare_times(BoundVerdict* verdict) {
  if (verdict->plan < verdict->bound)
    return fmt::format("the plan takes {}, less than its bound {}: one of them is wrong",
                       verdict->plan.to_string(), verdict->bound.to_string());
  verdict->plan_over_bound = verdict->bound.value() / verdict->plan.value();
  return std::nullopt;
}

std::optional<std::string> check_ranks_apart(const std::vector<int32_t>& node_of_rank,
                                             const topology::Graph& graph) {
  std::vector<int32_t> nodes = node_of_rank;
  std::ranges::sort(nodes);
  const auto twice = std::ranges::adjacent_find(nodes);
  if (twice == nodes.end()) return std::nullopt;
  return "placement: two ranks are on " + graph.nodes[*twice].id;
}

}  // namespace tutti::verify
