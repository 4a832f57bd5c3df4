// SPDX-License-Identifier: Apache-2.0
// Measures all candidates of each point in turn and judges the median of their rounds' ratios.
#include "perf/tune/check.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "perf/tune/job.h"
#include "perf/tune/tuner.h"

namespace tutti::command {
namespace {

using plan::Collective;

constexpr int kFactor = 2;
constexpr int kQuickFactor = 32;
constexpr int kJobs = 3;  // per number of ranks
constexpr Effort kEffort{
    .rounds = 9, .least_rounds = 2, .point_ns = 200'000'000, .slice_ns = 500'000, .drop_above = 2};
constexpr Effort kQuickEffort{
    .rounds = 5, .point_ns = 50'000'000, .slice_ns = 200'000, .drop_above = 1.6};

Request request_for(int n_ranks, const CheckOptions& options) {
  Request request{.effort = options.quick ? kQuickEffort : kEffort, .mapped = options.mapped};
  const planner::RankTuning* tuning =
      options.profile == nullptr
          ? nullptr
          : planner::find_tuning(*options.profile, n_ranks, shared_cores(n_ranks));
  const planner::RankTuning usual = tuning == nullptr ? planner::RankTuning{} : *tuning;
  for (int i = 0; i < plan::kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    const auto rows = rows_for(collective, n_ranks);
    if (rows.size() < 2) continue;
    for (const uint64_t bytes :
         ladder(collective, n_ranks, options.quick ? kQuickFactor : kFactor)) {
      const planner::AlgorithmRow& chosen =
          planner::choose({collective, n_ranks}, cost_input(n_ranks, bytes, options.profile), {});
      Point point{.collective = collective, .bytes = bytes};
      for (const auto* row : rows) {
        if (row == &chosen) point.keep = static_cast<int>(point.candidates.size());
        point.candidates.push_back({row->name, usual.slot_bytes, usual.channels});
      }
      request.points.push_back(std::move(point));
    }
  }
  return request;
}

CheckedPoint judge(int n_ranks, const Point& point, const Times& times) {
  const auto keep = static_cast<size_t>(point.keep);
  CheckedPoint result{.n_ranks = n_ranks,
                      .collective = plan::name(point.collective),
                      .bytes = point.bytes,
                      .chosen = point.candidates[keep].algorithm,
                      .best = point.candidates[keep].algorithm,
                      .chosen_ns = median(times[keep]),
                      .best_ns = median(times[keep])};
  for (size_t i = 0; i < times.size(); ++i) {
    const double ratio = slowdown(times[keep], times[i]);
    if (i == keep || times[i].size() != times[keep].size() || ratio <= result.slowdown) continue;
    result.slowdown = ratio;
    result.best = point.candidates[i].algorithm;
    result.best_ns = median(times[i]);
  }
  return result;
}

size_t count_good(const std::vector<CheckedPoint>& points) {
  return static_cast<size_t>(std::ranges::count_if(
      points, [](const CheckedPoint& p) { return p.slowdown <= kGoodSlowdown; }));
}

}  // namespace

std::vector<CheckedPoint> check(const CheckOptions& options) {
  const int jobs = options.quick ? 1 : kJobs;
  std::vector<Request> requests;
  size_t steps = 0;
  for (const int n : options.ranks) {
    requests.push_back(request_for(n, options));
    steps += static_cast<size_t>(jobs) * requests.back().points.size();
  }
  Progress progress(steps, options.quiet);
  std::vector<CheckedPoint> checked;
  for (size_t i = 0; i < requests.size(); ++i) {
    const int n = options.ranks[i];
    progress.begin(fmt::format("{} ranks", n));
    const std::vector<Times> times = measure_by_jobs(jobs, n, requests[i], progress);
    for (size_t k = 0; k < times.size(); ++k)
      checked.push_back(judge(n, requests[i].points[k], times[k]));
  }
  return checked;
}

double good_share(const std::vector<CheckedPoint>& points) {
  return points.empty()
             ? 1
             : static_cast<double>(count_good(points)) / static_cast<double>(points.size());
}

std::string report(const std::vector<CheckedPoint>& points) {
  constexpr const char* kFormat = "{:>5}  {:<15} {:>9}  {:<18} {:>12}  {:<18} {:>12}  {:>6}\n";
  std::string text;
  if (count_good(points) != points.size()) {
    text +=
        fmt::format(kFormat, "ranks", "collective", "bytes", "chosen", "us", "best", "us", "ratio");
  }
  for (const CheckedPoint& p : points) {
    if (p.slowdown <= kGoodSlowdown) continue;
    text += fmt::format(kFormat, p.n_ranks, p.collective, p.bytes, p.chosen,
                        fmt::format("{:.2f}", p.chosen_ns / 1e3), p.best,
                        fmt::format("{:.2f}", p.best_ns / 1e3), fmt::format("{:.2f}", p.slowdown));
  }
  std::vector<int> ranks;
  for (const CheckedPoint& p : points)
    if (ranks.empty() || ranks.back() != p.n_ranks) ranks.push_back(p.n_ranks);
  for (const int n : ranks) {
    std::vector<CheckedPoint> some;
    std::ranges::copy_if(points, std::back_inserter(some),
                         [&](const CheckedPoint& p) { return p.n_ranks == n; });
    text += fmt::format("{} ranks: {} of {} choices within 10 % of the best, {:.1f} %\n", n,
                        count_good(some), some.size(), 100 * good_share(some));
  }
  text += fmt::format("all: {} of {}, {:.1f} %; wanted are {:.0f} %\n", count_good(points),
                      points.size(), 100 * good_share(points), 100 * kGoodShare);
  return text;
}

}  // namespace tutti::command
