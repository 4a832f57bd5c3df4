// SPDX-License-Identifier: Apache-2.0
// Works out a certificate's bound and its plan's time from nothing but what is in it.
#include "src/verify/certificate.h"

#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/verify/bound.h"
#include "src/verify/length_bound.h"
#include "src/verify/verifier.h"

namespace tutti::verify {
namespace {

using Reason = std::optional<std::string>;

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
      const Rational time =
          Rational::of_wide(Rational::Wide{chunks} * plan.shape.n_ranks,
                            Rational::Wide{plan::extent_count(plan.shape)} * mbit_s);
      if (time > verdict->plan) verdict->busiest.clear();
      if (time >= verdict->plan)
        verdict->busiest.push_back({static_cast<int32_t>(i), reverse, time});
      verdict->plan = std::max(verdict->plan, time);
    }
  }
  return std::nullopt;
}

Reason find_certified_bound(const Certificate& certificate, Rational* bound) {
  const plan::Collective collective = certificate.plan.shape.collective;
  const std::vector<int32_t>& nodes = certificate.placement.node_of_rank;
  if (collective == plan::Collective::kAllToAll) {
    if (!certificate.parts.empty())
      return fmt::format("parts: expected none, lengths prove an all_to_all, got {}",
                         certificate.parts.size());
    return bound_by_lengths(certificate.graph, nodes, certificate.lengths, bound);
  }
  if (!certificate.lengths.empty())
    return fmt::format("lengths: expected none, parts prove an {}, got {}", plan::name(collective),
                       certificate.lengths.size());
  return find_bound({.collective = collective,
                     .graph = &certificate.graph,
                     .node_of_rank = &nodes,
                     .parts = &certificate.parts},
                    bound);
}

Reason judge(const Certificate& certificate, CertificateVerdict* verdict) {
  topology::validate(certificate.graph);  // throws
  const Verdict proof = verify(certificate.plan);
  if (!proof.accepted) return "plan: " + proof.reason;
  check_placement(certificate.plan, certificate.placement, certificate.graph);  // throws
  if (Reason why = check_ranks_apart(certificate.placement.node_of_rank, certificate.graph))
    return why;
  if (Reason why = find_certified_bound(certificate, &verdict->bound)) return why;
  if (Reason why = find_plan_time(certificate, verdict)) return why;
  return compare_times(verdict);
}

}  // namespace

CertificateVerdict check_certificate(const Certificate& certificate) {
  return verdict_of<CertificateVerdict>(
      [&](CertificateVerdict* verdict) { return judge(certificate, verdict); });
}

}  // namespace tutti::verify
