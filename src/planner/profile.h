// SPDX-License-Identifier: Apache-2.0
// What `tutti tune` has measured on a machine, and what the planner makes of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/machine.h"
#include "src/plan/collective.h"
#include "src/planner/cost_parameters.h"

namespace tutti::planner {

struct MeasuredPoint {
  uint64_t bytes = 0;  // of one block
  double ns = 0;       // of one call
  bool operator==(const MeasuredPoint&) const = default;
};

// One algorithm on one number of ranks, in buffers that no peer can map.
struct Curve {
  plan::Collective collective = plan::Collective::kAllReduce;
  std::string algorithm;
  int32_t n_ranks = 1;
  int32_t cores = 1;                  // that the ranks shared; at most one for each
  std::vector<MeasuredPoint> points;  // by ascending bytes
  bool operator==(const Curve&) const = default;
};

// What is best for all connections of a communicator; 0: the default.
struct RankTuning {
  int32_t n_ranks = 1;
  int32_t cores = 1;
  uint32_t slot_bytes = 0;  // a power of two
  uint32_t channels = 0;
  bool operator==(const RankTuning&) const = default;
};

struct Profile {
  Machine machine;
  CostParameters parameters;
  std::vector<RankTuning> tunings;
  std::vector<Curve> curves;
  bool operator==(const Profile&) const = default;
};

// What of it matters to communicators of so many ranks.
Profile only_for(const Profile& profile, int32_t n_ranks);
// Null where there is none.
const Curve* find_curve(const Profile& profile, plan::Collective collective,
                        std::string_view algorithm, int32_t n_ranks, int32_t cores);
// Null where there is none.
const RankTuning* find_tuning(const Profile& profile, int32_t n_ranks, int32_t cores);

// The text of a profile's file. profile_from_json(to_json(p)) == p. Throws InvalidArgument with the
// place in the text and what was expected there.
std::string to_json(const Profile& profile);
Profile profile_from_json(std::string_view text);
// The same, parsed once per process and text: a communicator's ranks and its splits share it.
std::shared_ptr<const Profile> shared_profile(const std::string& text);

}  // namespace tutti::planner
