// SPDX-License-Identifier: Apache-2.0
// Profiles, from the text to the choice.
#include <cmath>

#include "src/planner/planner.h"
#include "src/planner/profile.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

constexpr int32_t kMostRanks = 64;  // more than that makes the same choice slowly

// Whatever was measured, every call has a plan and a time.
void check_choices(const planner::Profile& profile) {
  for (const planner::Curve& curve : profile.curves) {
    const planner::PlanRequest request{curve.collective, std::min(curve.n_ranks, kMostRanks)};
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{100}, uint64_t{1} << 40}) {
      const planner::CostInput input{.n_ranks = request.n_ranks,
                                     .cores = curve.cores,
                                     .bytes = bytes,
                                     .parameters = profile.parameters,
                                     .profile = &profile};
      const planner::AlgorithmRow& row = planner::choose(request, input, {});
      const double ns = planner::predicted_ns(row, input);
      require(std::isfinite(ns) && ns >= 0, "a time is a number");
    }
  }
}

}  // namespace

void run(std::string_view input) {
  const auto profile = accepted([&] { return planner::profile_from_json(input); });
  if (!profile) return;
  const std::string text = planner::to_json(*profile);
  require(planner::to_json(planner::profile_from_json(text)) == text,
          "what is written is read back equal");
  check_choices(*profile);
}

std::vector<std::string> seeds() {
  planner::Profile profile{.machine = {"cpu", "0-1", "L1 32K", "page 4096"}};
  profile.tunings = {{.n_ranks = 4, .cores = 2, .slot_bytes = 16 << 10, .channels = 1}};
  std::vector<std::string> texts{planner::to_json(profile)};
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    profile.curves.push_back({.collective = row.collective,
                              .algorithm = row.name,
                              .n_ranks = 4,
                              .cores = 2,
                              .points = {{8, 100}, {1024, 200}, {1 << 20, 1e5}}});
  }
  texts.push_back(planner::to_json(profile));
  return texts;
}

}  // namespace tutti::fuzz
