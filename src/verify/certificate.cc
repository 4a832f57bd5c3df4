// SPDX-License-Identifier: Apache-2.0
// Works out a certificate's bound and its plan's time from nothing but what is in it.
#include "src/verify/certificate.h"

#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/verifier.h"

namespace tutti::verify {
namespace {

using plan::Collective;
using Reason = std::optional<std::string>;

// By node: the part that it is in; -1: none.
using PartOf = std::vector<int32_t>;

Reason assign_parts(const Certificate& certificate, PartOf* part_of) {
  const auto n_nodes = static_cast<int32_t>(certificate.graph.nodes.size());
  part_of->assign(certificate.graph.nodes.size(), -1);
  for (size_t part = 0; part < certificate.parts.size(); ++part) {
    for (const int32_t node : certificate.parts[part]) {
      if (node < 0 || node >= n_nodes)
        return fmt::format("part {}: expected a node from 0 to {}, got {}", part, n_nodes - 1,
                           node);
      if ((*part_of)[node] >= 0)
        return fmt::format("part {}: {} is in part {} already", part,
                           certificate.graph.nodes[node].id, (*part_of)[node]);
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
std::vector<Border> borders(const Certificate& certificate, const PartOf& part_of) {
  std::vector<Border> borders(certificate.parts.size());
  for (const topology::Link& link : certificate.graph.links) {
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

std::vector<int32_t> ranks_in(const Certificate& certificate, const PartOf& part_of) {
  std::vector<int32_t> count(certificate.parts.size(), 0);
  for (const int32_t node : certificate.placement.node_of_rank)
    if (part_of[node] >= 0) ++count[part_of[node]];
  return count;
}

Reason bound_by_cut(const Certificate& certificate, const PartOf& part_of, Rational* bound) {
  if (certificate.parts.size() != 1)
    return fmt::format("parts: expected one, the cut, got {}", certificate.parts.size());
  const int32_t inside = ranks_in(certificate, part_of).front();
  const int32_t n = certificate.plan.shape.n_ranks;
  if (inside == 0 || inside == n)
    return fmt::format("cut: expected 1 to {} ranks inside, got {}", n - 1, inside);
  const Border border = borders(certificate, part_of).front();
  const bool leaves = certificate.plan.shape.collective == Collective::kAllGather;
  const int64_t capacity = leaves ? border.out : border.in;
  if (capacity <= 0) return "cut: nothing crosses it, so no plan can be right";
  *bound = Rational::of(inside, capacity);
  return std::nullopt;
}

// What a switch that reduces passes on is not somebody's data any more, so it has to be in a part.
Reason check_partition(const Certificate& certificate, const PartOf& part_of) {
  if (certificate.parts.size() < 2)
    return fmt::format("parts: expected two or more, got {}", certificate.parts.size());
  const std::vector<int32_t> count = ranks_in(certificate, part_of);
  for (size_t part = 0; part < count.size(); ++part)
    if (count[part] == 0) return fmt::format("part {}: has no rank", part);
  for (size_t rank = 0; rank < certificate.placement.node_of_rank.size(); ++rank)
    if (part_of[certificate.placement.node_of_rank[rank]] < 0)
      return fmt::format("parts: rank {} is in none", rank);
  for (size_t node = 0; node < part_of.size(); ++node)
    if (certificate.graph.nodes[node].attributes.reduces && part_of[node] < 0)
      return fmt::format("parts: {} reduces and is in none", certificate.graph.nodes[node].id);
  return std::nullopt;
}

Reason bound_by_partition(const Certificate& certificate, const PartOf& part_of, Rational* bound) {
  if (Reason why = check_partition(certificate, part_of)) return why;
  int64_t capacity = 0;
  for (const Border& border : borders(certificate, part_of)) capacity += border.in;
  if (capacity <= 0) return "partition: nothing crosses it, so no plan can be right";
  const auto parts = static_cast<int64_t>(certificate.parts.size());
  *bound = Rational::of(2 * (parts - 1) * certificate.plan.shape.n_ranks, capacity);
  return std::nullopt;
}

Reason find_bound(const Certificate& certificate, Rational* bound) {
  PartOf part_of;
  if (Reason why = assign_parts(certificate, &part_of)) return why;
  switch (certificate.plan.shape.collective) {
    case Collective::kAllGather:
    case Collective::kReduceScatter:
      return bound_by_cut(certificate, part_of, bound);
    case Collective::kAllReduce:
      return bound_by_partition(certificate, part_of, bound);
    default:
      return std::string("collective: expected all_gather, reduce_scatter or all_reduce, got ") +
             plan::name(certificate.plan.shape.collective);
  }
}

Reason check_ranks(const Certificate& certificate) {
  std::vector<int32_t> nodes = certificate.placement.node_of_rank;
  std::ranges::sort(nodes);
  const auto twice = std::ranges::adjacent_find(nodes);
  if (twice == nodes.end()) return std::nullopt;
  return "placement: two ranks are on " + certificate.graph.nodes[*twice].id;
}

Reason find_plan_time(const Certificate& certificate, CertificateVerdict* verdict) {
  const plan::Plan& plan = certificate.plan;
  const std::vector<LinkLoad> loads = link_loads(plan, certificate.placement, certificate.graph);
  for (size_t i = 0; i < loads.size(); ++i) {
    const topology::Link& link = certificate.graph.links[i];
    for (const bool reverse : {false, true}) {
      const int64_t chunks = reverse ? loads[i].reverse_chunks : loads[i].forward_chunks;
      const int64_t mbit_s = reverse ? link.reverse_mbit_s : link.forward_mbit_s;
      if (chunks == 0) continue;
      if (mbit_s <= 0)
        return fmt::format("link {}: the plan uses it, but it is down or its capacity unknown", i);
      const Rational time = Rational::of(chunks * plan.shape.n_ranks,
                                         int64_t{plan::extent_count(plan.shape)} * mbit_s);
      if (time > verdict->plan) verdict->busiest.clear();
      if (time >= verdict->plan)
        verdict->busiest.push_back({static_cast<int32_t>(i), reverse, time});
      verdict->plan = std::max(verdict->plan, time);
    }
  }
  return std::nullopt;
}

Reason judge(const Certificate& certificate, CertificateVerdict* verdict) {
  topology::validate(certificate.graph);  // throws
  const Verdict proof = verify(certificate.plan);
  if (!proof.accepted) return "plan: " + proof.reason;
  check_placement(certificate.plan, certificate.placement, certificate.graph);  // throws
  if (Reason why = check_ranks(certificate)) return why;
  if (Reason why = find_bound(certificate, &verdict->bound)) return why;
  if (Reason why = find_plan_time(certificate, verdict)) return why;
  if (verdict->plan < verdict->bound)
    return fmt::format("the plan takes {}, less than its bound {}: one of them is wrong",
                       verdict->plan.to_string(), verdict->bound.to_string());
  verdict->plan_over_bound = verdict->bound.value() / verdict->plan.value();
  return std::nullopt;
}

}  // namespace

CertificateVerdict check_certificate(const Certificate& certificate) {
  CertificateVerdict verdict;
  try {
    if (Reason why = judge(certificate, &verdict))
      verdict.reason = std::move(*why);
    else
      verdict.accepted = true;
  } catch (const Error& error) {
    verdict.reason = error.what();
  }
  return verdict;
}

}  // namespace tutti::verify
