// SPDX-License-Identifier: Apache-2.0
// Variants of a plan that are broken for certain, one way each: what `tutti plan verify
// --self-test` feeds to the verifier.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "src/plan/plan.h"
#include "src/verify/verifier.h"

namespace tutti::command {

namespace broken {

using plan::Operand;
using plan::Plan;
using plan::Step;
using Variant = std::optional<Plan>;  // nothing where the plan has not what it takes

// Calls visit(rank, lane, index of step) until it returns true; the last step first. Was there one?
template <typename Visit>
bool any_step(const Plan& plan, Visit visit) {
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank)
    for (auto lane = plan.ranks[rank].lanes.size(); lane-- > 0;)
      for (auto i = plan.ranks[rank].lanes[lane].steps.size(); i-- > 0;)
        if (visit(rank, lane, i)) return true;
  return false;
}

inline bool is_output(const Operand& o) {
  return o.kind == Operand::Kind::kChunk && o.buffer == plan::Buffer::kOutput;
}

// One end of a connection loses a message.
inline Variant unmatched_message(Plan plan) {
  const bool found = any_step(plan, [&](int32_t rank, size_t lane, size_t i) {
    Step& step = plan.ranks[rank].lanes[lane].steps[i];
    const auto peer = std::find_if(step.sinks.begin(), step.sinks.end(),
                                   [](const Operand& o) { return o.kind == Operand::Kind::kPeer; });
    if (peer == step.sinks.end()) return false;
    if (step.sinks.size() > 1) {
      step.sinks.erase(peer);
    } else {
      step.sinks[0].channel = plan.channels;  // nobody listens there
      ++plan.channels;
    }
    return true;
  });
  return found ? Variant(std::move(plan)) : std::nullopt;
}

// The last write of an output chunk goes to scratch instead.
inline Variant lost_output(Plan plan) {
  const bool found = any_step(plan, [&](int32_t rank, size_t lane, size_t i) {
    Step& step = plan.ranks[rank].lanes[lane].steps[i];
    const auto sink = std::find_if(step.sinks.begin(), step.sinks.end(), is_output);
    if (sink == step.sinks.end()) return false;
    *sink = Operand::chunk(plan::Buffer::kScratch, plan.ranks[rank].scratch_chunks++);
    return true;
  });
  return found ? Variant(std::move(plan)) : std::nullopt;
}

inline Variant flipped_post(Plan plan) {
  const bool found = any_step(plan, [&](int32_t rank, size_t lane, size_t i) {
    Step& step = plan.ranks[rank].lanes[lane].steps[i];
    if (std::none_of(step.sinks.begin(), step.sinks.end(), is_output)) return false;
    step.post = !step.post;
    return true;
  });
  return found ? Variant(std::move(plan)) : std::nullopt;
}

inline Variant flipped_pre(Plan plan) {
  const bool found = any_step(plan, [&](int32_t rank, size_t lane, size_t i) {
    Step& step = plan.ranks[rank].lanes[lane].steps[i];
    for (Operand& source : step.sources) {
      if (source.kind != Operand::Kind::kChunk) continue;
      source.pre = !source.pre;
      return true;
    }
    return false;
  });
  return found ? Variant(std::move(plan)) : std::nullopt;
}

// A further lane reads an output chunk and waits for nobody.
inline Variant racing_reader(Plan plan) {
  const bool found = any_step(plan, [&](int32_t rank, size_t lane, size_t i) {
    const Step& step = plan.ranks[rank].lanes[lane].steps[i];
    const auto sink = std::find_if(step.sinks.begin(), step.sinks.end(), is_output);
    if (sink == step.sinks.end()) return false;
    Step reader{{*sink},
                {Operand::chunk(plan::Buffer::kScratch, plan.ranks[rank].scratch_chunks++)},
                step.extent};
    plan.ranks[rank].lanes.push_back({{std::move(reader)}});
    return true;
  });
  return found ? Variant(std::move(plan)) : std::nullopt;
}

// Two ranks wait for each other's signal before they send theirs.
inline Variant crossed_signals(Plan plan) {
  if (plan.shape.n_ranks < 2) return std::nullopt;
  for (const int32_t rank : {0, 1}) {
    const Operand other = Operand::peer(1 - rank, plan.channels);
    plan.ranks[rank].lanes.push_back({{Step{{other}, {}}, Step{{}, {other}}}});
  }
  ++plan.channels;
  return plan;
}

inline Variant too_few_slots(Plan plan) {
  plan.slots = verify::verify(plan).min_slots - 1;
  return plan.slots > 0 ? Variant(std::move(plan)) : std::nullopt;
}

// The last rank does nothing, and nobody talks to it. Steps that this leaves without an end are
// taken out of the plan with their waits.
inline Variant absent_rank(Plan plan) {
  const int32_t absent = plan.shape.n_ranks - 1;
  if (absent == 0) return std::nullopt;
  plan.ranks[absent].lanes.clear();
  for (plan::RankProgram& rank : plan.ranks) {
    for (plan::Lane& lane : rank.lanes) {
      for (Step& step : lane.steps) {
        step.waits.clear();
        for (auto* operands : {&step.sources, &step.sinks})
          std::erase_if(*operands, [&](const Operand& o) {
            return o.kind == Operand::Kind::kPeer && o.index == absent;
          });
      }
      std::erase_if(lane.steps, [](const Step& step) {
        return step.extent == plan::kNoExtent ? step.sources.empty() && step.sinks.empty()
                                              : step.sources.empty() || step.sinks.empty();
      });
    }
  }
  return plan;
}

}  // namespace broken

struct BrokenVariant {
  const char* name;
  broken::Variant (*make)(plan::Plan plan);
};

inline std::span<const BrokenVariant> broken_variants() {
  static constexpr BrokenVariant kVariants[] = {
      {"unmatched message", broken::unmatched_message},
      {"lost output", broken::lost_output},
      {"post flipped", broken::flipped_post},
      {"pre flipped", broken::flipped_pre},
      {"racing reader", broken::racing_reader},
      {"crossed signals", broken::crossed_signals},
      {"too few slots", broken::too_few_slots},
      {"absent rank", broken::absent_rank},
  };
  return kVariants;
}

}  // namespace tutti::command
