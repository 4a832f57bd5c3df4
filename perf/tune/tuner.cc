// SPDX-License-Identifier: Apache-2.0
// For each number of ranks: which slots are best, then every algorithm at every size; from all of
// it the model's parameters.
#include "perf/tune/tuner.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <spdlog/fmt/fmt.h>

#include "perf/tune/fit.h"
#include "perf/tune/job.h"
#include "src/base/cores.h"

namespace tutti::command {
namespace {

using plan::Collective;
using planner::Curve;
using planner::Profile;

constexpr uint64_t kSmallestBlock = 8;
constexpr uint64_t kLargestCall = 32 << 20;
constexpr int kFactor = 4;
constexpr int kQuickFactor = 32;
constexpr int kJobs = 2;  // per number of ranks
constexpr Effort kEffort{
    .rounds = 6, .least_rounds = 1, .point_ns = 60'000'000, .slice_ns = 400'000, .drop_above = 2};
constexpr Effort kQuickEffort{
    .rounds = 3, .least_rounds = 1, .point_ns = 50'000'000, .slice_ns = 200'000, .drop_above = 2};

constexpr uint32_t kUsualSlotBytes = 64 << 10;
constexpr uint32_t kSlotBytes[] = {kUsualSlotBytes, 16 << 10, 32 << 10, 128 << 10};
constexpr Collective kSlotCollectives[] = {Collective::kAllReduce, Collective::kAllGather,
                                           Collective::kBroadcast};
constexpr uint64_t kSlotCalls[] = {256 << 10, 1 << 20, 4 << 20};
constexpr double kWorthIt = 1.08;  // what another size of slots has to gain on the mean

uint64_t blocks_of_call(Collective collective, int n_ranks) {
  const plan::Shape shape{collective, n_ranks, 0, 1};
  return static_cast<uint64_t>(std::max(plan::blocks_in(shape, 0, plan::Buffer::kInput),
                                        plan::blocks_in(shape, 0, plan::Buffer::kOutput)));
}

const planner::AlgorithmRow& choice(Collective collective, int n_ranks, uint64_t bytes,
                                    const Profile& profile) {
  return planner::choose({collective, n_ranks}, cost_input(n_ranks, bytes, &profile), {});
}

bool uses_channels(const std::string& algorithm) {
  return algorithm == "ring" || algorithm == "tree";
}

Request slot_request(int n_ranks, const Profile& profile) {
  Request request{.effort = kEffort};
  request.effort.drop_above = 1e9;
  for (const Collective collective : kSlotCollectives) {
    for (const uint64_t call : kSlotCalls) {
      const uint64_t bytes = call / blocks_of_call(collective, n_ranks);
      const std::string algorithm = choice(collective, n_ranks, bytes, profile).name;
      Point point{.collective = collective, .bytes = bytes};
      for (const uint32_t slot : kSlotBytes) point.candidates.push_back({algorithm, slot, 1});
      if (uses_channels(algorithm)) point.candidates.push_back({algorithm, kUsualSlotBytes, 2});
      request.points.push_back(std::move(point));
    }
  }
  return request;
}

// The variant that gains most over the usual one, on the geometric mean of the points.
planner::RankTuning best_slots(int n_ranks, const Request& request,
                               const std::vector<Times>& times) {
  std::map<std::pair<uint32_t, uint32_t>, std::pair<double, int>> gains;  // sum of logs, points
  for (size_t i = 0; i < times.size(); ++i) {
    for (size_t k = 1; k < times[i].size(); ++k) {
      const Candidate& candidate = request.points[i].candidates[k];
      auto& [sum, points] = gains[{candidate.slot_bytes, candidate.channels}];
      sum += std::log(slowdown(times[i][0], times[i][k]));
      ++points;
    }
  }
  planner::RankTuning best{.n_ranks = n_ranks, .cores = shared_cores(n_ranks)};
  double most = kWorthIt;
  for (const auto& [variant, gain] : gains) {
    const double mean = std::exp(gain.first / static_cast<double>(times.size()));
    if (mean <= most) continue;
    most = mean;
    best.slot_bytes = variant.first;
    best.channels = variant.second;
  }
  return best;
}

Request curve_request(int n_ranks, const TuneOptions& options, const Profile& profile) {
  Request request{.effort = options.quick ? kQuickEffort : kEffort};
  const planner::RankTuning* tuning = planner::find_tuning(profile, n_ranks, shared_cores(n_ranks));
  for (int i = 0; i < plan::kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    const int factor = options.quick ? kQuickFactor : kFactor;
    for (const uint64_t bytes : ladder(collective, n_ranks, factor)) {
      Point point{.collective = collective, .bytes = bytes};
      for (const auto* row : rows_for(collective, n_ranks)) {
        Candidate candidate{.algorithm = row->name};
        if (tuning != nullptr) candidate.slot_bytes = tuning->slot_bytes;
        if (tuning != nullptr) candidate.channels = tuning->channels;
        point.candidates.push_back(std::move(candidate));
      }
      request.points.push_back(std::move(point));
    }
  }
  return request;
}

void add_curves(int n_ranks, const Request& request, const std::vector<Times>& times,
                Profile* profile) {
  const size_t before = profile->curves.size();
  for (size_t i = 0; i < times.size(); ++i) {
    const Point& point = request.points[i];
    for (size_t k = 0; k < times[i].size(); ++k) {
      const std::string& algorithm = point.candidates[k].algorithm;
      auto curve =
          std::find_if(profile->curves.begin() + static_cast<ptrdiff_t>(before),
                       profile->curves.end(), [&](const Curve& c) {
                         return c.collective == point.collective && c.algorithm == algorithm;
                       });
      if (curve == profile->curves.end()) {
        profile->curves.push_back({.collective = point.collective,
                                   .algorithm = algorithm,
                                   .n_ranks = n_ranks,
                                   .cores = shared_cores(n_ranks)});
        curve = profile->curves.end() - 1;
      }
      // A tenth of a nanosecond is more than can be measured.
      curve->points.push_back({point.bytes, std::round(median(times[i][k]) * 10) / 10});
    }
  }
}

int jobs_for(const TuneOptions& options) { return options.quick ? 1 : kJobs; }

size_t count_steps(const TuneOptions& options, const Profile& profile) {
  size_t steps = 0;
  for (const int n : options.ranks) {
    steps +=
        static_cast<size_t>(jobs_for(options)) * curve_request(n, options, profile).points.size();
    if (!options.quick) steps += slot_request(n, profile).points.size();
  }
  return steps;
}

}  // namespace

int shared_cores(int n_ranks) { return std::min(n_ranks, count(usable_cores())); }

std::vector<uint64_t> ladder(Collective collective, int n_ranks, int factor) {
  if (collective == Collective::kBarrier) return {0};
  const uint64_t largest = kLargestCall / blocks_of_call(collective, n_ranks);
  std::vector<uint64_t> sizes;
  for (uint64_t bytes = kSmallestBlock; bytes <= largest; bytes *= static_cast<uint64_t>(factor))
    sizes.push_back(bytes);
  return sizes;
}

std::vector<const planner::AlgorithmRow*> rows_for(Collective collective, int n_ranks) {
  std::vector<const planner::AlgorithmRow*> rows;
  for (const planner::AlgorithmRow& row : planner::algorithm_table())
    if (row.collective == collective && row.supports({collective, n_ranks})) rows.push_back(&row);
  return rows;
}

planner::CostInput cost_input(int n_ranks, uint64_t bytes, const Profile* profile) {
  planner::CostInput input{
      .n_ranks = n_ranks, .cores = shared_cores(n_ranks), .bytes = bytes, .profile = profile};
  if (profile != nullptr) input.parameters = profile->parameters;
  return input;
}

Profile tune(const TuneOptions& options) {
  Profile profile{.machine = this_machine()};
  Progress progress(count_steps(options, profile), options.quiet);
  for (const int n : options.ranks) {
    progress.begin(fmt::format("{} ranks", n));
    if (!options.quick) {
      const Request request = slot_request(n, profile);
      const planner::RankTuning best = best_slots(n, request, measure(n, request, progress));
      if (best.slot_bytes != 0) profile.tunings.push_back(best);
    }
    const Request request = curve_request(n, options, profile);
    add_curves(n, request, measure_by_jobs(jobs_for(options), n, request, progress), &profile);
  }
  profile.parameters = fit(profile.curves, profile.parameters);
  return profile;
}

}  // namespace tutti::command
