// SPDX-License-Identifier: Apache-2.0
// Corrects the model by what was measured.
#include <algorithm>
#include <cmath>

#include "src/planner/network_load.h"
#include "src/planner/planner.h"
#include "src/planner/profile.h"

namespace tutti::planner {
namespace {

// Above what was measured the last correction holds, below it the first.
double correction(const AlgorithmRow& row, const CostInput& cost, const Curve& curve) {
  const auto at = [&](const MeasuredPoint& point) {
    CostInput there = cost;
    there.bytes = point.bytes;
    return std::log(point.ns / row.cost_ns(there));
  };
  const auto upper = std::ranges::lower_bound(curve.points, cost.bytes, {}, &MeasuredPoint::bytes);
  if (upper == curve.points.end()) return std::exp(at(curve.points.back()));
  if (upper == curve.points.begin() || upper->bytes == cost.bytes) return std::exp(at(*upper));
  const MeasuredPoint& lower = *(upper - 1);
  const auto log_of = [](uint64_t bytes) { return std::log(static_cast<double>(bytes) + 1); };
  const double share =
      (log_of(cost.bytes) - log_of(lower.bytes)) / (log_of(upper->bytes) - log_of(lower.bytes));
  return std::exp(at(lower) + share * (at(*upper) - at(lower)));
}

}  // namespace

double predicted_ns(const AlgorithmRow& row, const CostInput& cost) {
  const double ns = row.cost_ns(cost);
  if (cost.profile == nullptr || cost.hosts.several()) return ns;  // curves are of one host
  const Curve* curve =
      find_curve(*cost.profile, row.collective, row.name, cost.n_ranks, cost.cores);
  return curve == nullptr || curve->points.empty() ? ns : ns * correction(row, cost, *curve);
}

double predicted_ns(const AlgorithmRow& row, const PlanRequest& request, const CostInput& cost) {
  const double ns = predicted_ns(row, cost);
  if (!cost.hosts.several()) return ns;
  return ns + network_ns(network_load(row, request, cost.hosts), cost.network, cost.bytes);
}

Profile only_for(const Profile& profile, int32_t n_ranks) {
  Profile some{.machine = profile.machine, .parameters = profile.parameters};
  const auto same = [&](const auto& one) { return one.n_ranks == n_ranks; };
  std::ranges::copy_if(profile.tunings, std::back_inserter(some.tunings), same);
  std::ranges::copy_if(profile.curves, std::back_inserter(some.curves), same);
  return some;
}

const Curve* find_curve(const Profile& profile, plan::Collective collective,
                        std::string_view algorithm, int32_t n_ranks, int32_t cores) {
  const int32_t used = std::min(cores, n_ranks);
  const auto at = std::ranges::find_if(profile.curves, [&](const Curve& curve) {
    return curve.collective == collective && curve.n_ranks == n_ranks && curve.cores == used &&
           curve.algorithm == algorithm;
  });
  return at == profile.curves.end() ? nullptr : &*at;
}

const RankTuning* find_tuning(const Profile& profile, int32_t n_ranks, int32_t cores) {
  const int32_t used = std::min(cores, n_ranks);
  const auto at = std::ranges::find_if(profile.tunings, [&](const RankTuning& tuning) {
    return tuning.n_ranks == n_ranks && tuning.cores == used;
  });
  return at == profile.tunings.end() ? nullptr : &*at;
}

}  // namespace tutti::planner
