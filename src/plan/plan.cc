// SPDX-License-Identifier: Apache-2.0
// What can be said of a plan without running it: is it well formed, what is its hash, how big is
// it, how does it read.
#include "src/plan/plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/plan/operand_text.h"
#include "src/plan/switch_channels.h"

namespace tutti::plan {
namespace {

using Kind = Operand::Kind;

constexpr int32_t kMaxRanks = 1 << 20;
// The executor counts a step's sources, sinks and waits, and a rank's connections, in 16 bits.
constexpr size_t kMaxCount = UINT16_MAX;

[[noreturn]] void fail(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "plan: " + what);
}

std::string got(int64_t value) { return ", got " + std::to_string(value); }

void check_shape(const Plan& plan) {
  const Shape& s = plan.shape;
  if (s.n_ranks < 1 || s.n_ranks > kMaxRanks) {
    fail("expected 1 to " + std::to_string(kMaxRanks) + " ranks" + got(s.n_ranks));
  }
  if (static_cast<int64_t>(plan.ranks.size()) != s.n_ranks) {
    fail("expected one program for each of " + std::to_string(s.n_ranks) + " ranks" +
         got(static_cast<int64_t>(plan.ranks.size())));
  }
  const int32_t root_limit = has_root(s.collective) ? s.n_ranks : 1;
  if (s.root < 0 || s.root >= root_limit) {
    fail("expected a root from 0 to " + std::to_string(root_limit - 1) + got(s.root));
  }
  const bool barrier = s.collective == Collective::kBarrier;
  if (barrier ? s.chunks_per_block != 0 : s.chunks_per_block < 1) {
    fail(std::string("expected ") + (barrier ? "0" : "at least 1") + " chunks_per_block for " +
         name(s.collective) + got(s.chunks_per_block));
  }
  const int64_t n = s.n_ranks;
  const int64_t blocks = s.collective == Collective::kAllToAll ? n * n : n;
  if (blocks * s.chunks_per_block > INT32_MAX) {
    fail("expected at most 2^31 - 1 extents" + got(blocks * s.chunks_per_block));
  }
  if (plan.channels < 1) fail("expected at least 1 channel" + got(plan.channels));
  if (plan.slots < 1) fail("expected at least 1 slot" + got(plan.slots));
  if (plan.tiles_in_flight < 1)
    fail("expected at least 1 tile in flight" + got(plan.tiles_in_flight));
}

// Checks the steps of one rank, lane by lane.
class RankChecker {
 public:
  RankChecker(const Plan& plan, int32_t rank)
      : plan_(plan), rank_(rank), program_(plan.ranks[static_cast<size_t>(rank)]) {}

  void check() {
    if (program_.scratch_chunks < 0) {
      fail("rank " + std::to_string(rank_) + ": expected scratch_chunks of at least 0" +
           got(program_.scratch_chunks));
    }
    for (lane_ = 0; lane_ < program_.lanes.size(); ++lane_) {
      const std::vector<Step>& steps = program_.lanes[lane_].steps;
      for (step_ = 0; step_ < steps.size(); ++step_) check_step(steps[step_]);
    }
  }

 private:
  [[noreturn]] void fail_here(const std::string& what) const {
    fail("rank " + std::to_string(rank_) + " lane " + std::to_string(lane_) + " step " +
         std::to_string(step_) + ": " + what);
  }

  void check_counts(const Step& step) const {
    const std::pair<const char*, size_t> counts[] = {{"sources", step.sources.size()},
                                                     {"sinks", step.sinks.size()},
                                                     {"waits", step.waits.size()}};
    for (const auto& [what, count] : counts) {
      if (count <= kMaxCount) continue;
      fail_here("expected at most " + std::to_string(kMaxCount) + " " + what +
                got(static_cast<int64_t>(count)));
    }
  }

  void check_step(const Step& step) {
    check_counts(step);
    if (step.extent < kNoExtent || step.extent >= extent_count(plan_.shape)) {
      fail_here("expected an extent below " + std::to_string(extent_count(plan_.shape)) +
                got(step.extent));
    }
    if (step.sources.empty() && step.sinks.empty())
      fail_here("expected a source or a sink, got neither");
    if (step.extent != kNoExtent && (step.sources.empty() || step.sinks.empty())) {
      fail_here("a step with an extent moves data: expected a source and a sink");
    }
    if (step.extent == kNoExtent && step.post)
      fail_here("a step without an extent has nothing to apply post to");
    for (size_t i = 0; i < step.sources.size(); ++i) check_operand(step, step.sources[i], true, i);
    for (size_t i = 0; i < step.sinks.size(); ++i) check_operand(step, step.sinks[i], false, i);
    check_distinct(step.sources, "source");
    check_distinct(step.sinks, "sink");
    for (const Wait& wait : step.waits) check_wait(wait);
  }

  void check_operand(const Step& step, const Operand& operand, bool source, size_t position) {
    const std::string where = std::string(source ? "source " : "sink ") + std::to_string(position) +
                              " (" + to_text(operand) + "): ";
    if (operand.pre && (!source || step.extent == kNoExtent)) {
      fail_here(where + "only a source that moves data may be marked pre");
    }
    if (operand.kind == Kind::kPeer) return check_peer(operand, source, where);
    if (step.extent == kNoExtent) fail_here(where + "a step without an extent may only name peers");
    check_chunk(step, operand, source, where);
  }

  void check_peer(const Operand& operand, bool source, const std::string& where) {
    if (operand.index < 0 || operand.index >= plan_.shape.n_ranks || operand.index == rank_) {
      fail_here(where + "expected another rank from 0 to " +
                std::to_string(plan_.shape.n_ranks - 1));
    }
    if (operand.channel < 0 || operand.channel >= plan_.channels) {
      fail_here(where + "expected a channel below " + std::to_string(plan_.channels) +
                got(operand.channel));
    }
    const auto [owner, fresh] =
        end_owner_.try_emplace({operand.index, operand.channel, source}, lane_);
    if (fresh && ++ends_[source ? 1 : 0] > kMaxCount) {
      fail_here(where + "this rank has more than " + std::to_string(kMaxCount) + " connections " +
                (source ? "from" : "to") + " others, over all channels");
    }
    if (!fresh && owner->second != lane_) {
      fail_here(where + "lane " + std::to_string(owner->second) +
                " uses this end of the connection too; each end belongs to one lane");
    }
  }

  void check_chunk(const Step& step, const Operand& operand, bool source,
                   const std::string& where) const {
    if (!source && operand.buffer == Buffer::kInput)
      fail_here(where + "the input buffer is read-only");
    if (operand.buffer == Buffer::kScratch) {
      if (operand.index < 0 || operand.index >= program_.scratch_chunks) {
        fail_here(where + "this rank has " + std::to_string(program_.scratch_chunks) +
                  " scratch chunks");
      }
      return;
    }
    const int32_t extent = extent_of(plan_.shape, rank_, operand.buffer, operand.index);
    if (extent == kNoExtent) {
      const int32_t chunks =
          blocks_in(plan_.shape, rank_, operand.buffer) * plan_.shape.chunks_per_block;
      fail_here(where + "this rank's " + name(operand.buffer) + " has " + std::to_string(chunks) +
                " chunks");
    }
    if (extent != step.extent) {
      fail_here(where + "expected a chunk of the step's extent " + std::to_string(step.extent) +
                got(extent));
    }
  }

  void check_distinct(const std::vector<Operand>& operands, const char* role) const {
    std::vector<std::tuple<Kind, Buffer, int32_t, int32_t>> keys;
    keys.reserve(operands.size());
    for (const Operand& o : operands) keys.emplace_back(o.kind, o.buffer, o.index, o.channel);
    std::sort(keys.begin(), keys.end());
    if (std::adjacent_find(keys.begin(), keys.end()) != keys.end()) {
      fail_here(std::string("expected distinct operands, got a ") + role + " twice");
    }
  }

  void check_wait(const Wait& wait) const {
    const std::string where =
        "wait for lane " + std::to_string(wait.lane) + " step " + std::to_string(wait.step) + ": ";
    if (wait.lane >= program_.lanes.size()) {
      fail_here(where + "this rank has " + std::to_string(program_.lanes.size()) + " lanes");
    }
    if (wait.lane == lane_) fail_here(where + "a lane runs in order and can't wait for itself");
    if (wait.step >= program_.lanes[wait.lane].steps.size()) {
      fail_here(where + "that lane has " + std::to_string(program_.lanes[wait.lane].steps.size()) +
                " steps");
    }
  }

  const Plan& plan_;
  const int32_t rank_;
  const RankProgram& program_;
  size_t lane_ = 0;
  size_t step_ = 0;
  std::map<std::tuple<int32_t, int32_t, bool>, size_t>
      end_owner_;        // (peer, channel, receiving end) -> lane
  size_t ends_[2] = {};  // sending, receiving
};

void hash_operands(Hasher& hasher, const std::vector<Operand>& operands) {
  hasher.value(operands.size());
  for (const Operand& o : operands) {
    hasher.value(o.kind);
    hasher.value(o.buffer);
    hasher.value(o.pre);
    hasher.value(o.index);
    hasher.value(o.channel);
  }
}

void hash_step(Hasher& hasher, const Step& step) {
  hash_operands(hasher, step.sources);
  hash_operands(hasher, step.sinks);
  hasher.value(step.extent);
  hasher.value(step.post);
  hasher.value(step.waits.size());
  for (const Wait& wait : step.waits) {
    hasher.value(wait.lane);
    hasher.value(wait.step);
  }
}

std::string joined(const std::vector<Operand>& operands) {
  std::string text;
  for (const Operand& o : operands) text += (text.empty() ? "" : ", ") + to_text(o);
  return text.empty() ? "{}" : text;
}

// "  in the switch: sum, copies" where switches serve the rank's step.
std::string switch_text(const Plan& plan, int32_t rank, const Step& step) {
  const auto served = [&](const std::vector<Operand>& operands, SwitchChannel::Kind kind) {
    return std::any_of(operands.begin(), operands.end(), [&](const Operand& o) {
      const SwitchChannel entry{rank, o.channel, kind};
      return o.kind == Kind::kPeer &&
             std::binary_search(plan.switch_channels.begin(), plan.switch_channels.end(), entry);
    });
  };
  const bool sum = served(step.sources, SwitchChannel::Kind::kReduce);
  const bool copies = served(step.sinks, SwitchChannel::Kind::kMulticast);
  if (!sum && !copies) return "";
  return std::string("  in the switch: ") + (sum ? "sum" : "") + (sum && copies ? ", " : "") +
         (copies ? "copies" : "");
}

std::string step_text(const Step& step) {
  std::string text = joined(step.sinks) + " <- ";
  text += step.sources.size() > 1 ? "reduce(" + joined(step.sources) + ")" : joined(step.sources);
  if (step.post) text += "  post";
  for (const Wait& wait : step.waits) {
    text += "  after lane " + std::to_string(wait.lane) + " step " + std::to_string(wait.step);
  }
  return text;
}

}  // namespace

void check_well_formed(const Plan& plan) {
  check_shape(plan);
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) RankChecker(plan, rank).check();
  check_switch_channels(plan);
}

uint64_t hash(const Plan& plan) {
  Hasher hasher;
  hasher.text(plan.algorithm);
  hasher.value(plan.shape.collective);
  hasher.value(plan.shape.n_ranks);
  hasher.value(plan.shape.root);
  hasher.value(plan.shape.chunks_per_block);
  hasher.value(plan.channels);
  hasher.value(plan.slots);
  hasher.value(plan.tiles_in_flight);
  hasher.value(plan.ranks.size());
  for (const RankProgram& program : plan.ranks) {
    hasher.value(program.scratch_chunks);
    hasher.value(program.lanes.size());
    for (const Lane& lane : program.lanes) {
      hasher.value(lane.steps.size());
      for (const Step& step : lane.steps) hash_step(hasher, step);
    }
  }
  for (const SwitchChannel& entry : plan.switch_channels) {  // none: as before there were any
    hasher.value(entry.rank);
    hasher.value(entry.channel);
    hasher.value(entry.kind);
  }
  return hasher.finish();
}

std::string to_text(const Plan& plan) {
  std::string text;
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    const std::vector<Lane>& lanes = plan.ranks[rank].lanes;
    for (size_t lane = 0; lane < lanes.size(); ++lane) {
      for (size_t step = 0; step < lanes[lane].steps.size(); ++step) {
        text += "rank " + std::to_string(rank) + " lane " + std::to_string(lane) + ": " +
                std::to_string(step) + "  " + step_text(lanes[lane].steps[step]) +
                switch_text(plan, static_cast<int32_t>(rank), lanes[lane].steps[step]) + "\n";
      }
    }
  }
  return text;
}

PlanSize size_of(const Plan& plan) {
  PlanSize size;
  for (const RankProgram& program : plan.ranks) {
    for (const Lane& lane : program.lanes) {
      const auto steps = static_cast<int64_t>(lane.steps.size());
      size.steps += steps;
      size.longest_lane = std::max(size.longest_lane, steps);
      for (const Step& step : lane.steps) {
        size.messages +=
            std::count_if(step.sinks.begin(), step.sinks.end(),
                          [](const Operand& sink) { return sink.kind == Kind::kPeer; });
      }
    }
  }
  return size;
}

}  // namespace tutti::plan
