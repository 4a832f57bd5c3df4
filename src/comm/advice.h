// SPDX-License-Identifier: Apache-2.0
// What rank 0's tuner plugin wants, as a table that all ranks agree on (docs/adr/0009).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/comm/tuner_plugin.h"
#include "src/plan/collective.h"
#include "src/planner/planner.h"

namespace tutti::comm {

// From so many bytes on, up to the collective's next range.
struct AdvisedRange {
  plan::Collective collective = plan::Collective::kAllReduce;
  uint64_t from_bytes = 0;  // as NCCL counts them, see counted_bytes()
  std::string algorithm;    // a row's name; empty: no advice
  bool operator==(const AdvisedRange&) const = default;
};
struct Advice {
  std::string tuner;                 // for people
  std::vector<AdvisedRange> ranges;  // by collective, then ascending

  // Empty when there is none.
  std::string_view algorithm_for(plan::Collective collective, uint64_t bytes) const;
};

// Bytes of a call as NCCL's tuners count them: the larger of what a rank gives and gets.
uint64_t counted_bytes(plan::Collective collective, uint64_t block_bytes, int n_ranks);

// Asks the plugin about every collective that it knows and sizes up to 1 TiB. Sizes where its
// answer changes are found between powers of two, to the byte. Throws as open_tuner() does.
Advice ask_tuner(const TunerSetting& setting, const planner::CostInput& cost);

std::vector<std::byte> encode(const Advice& advice);
Advice decode_advice(std::span<const std::byte> bytes);  // throws InternalError

}  // namespace tutti::comm
