// SPDX-License-Identifier: Apache-2.0
// Checks that what a switch does at once is one step for the rank that it is done for.
#include "src/plan/switch_channels.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "src/base/error.h"

namespace tutti::plan {
namespace {

using Kind = SwitchChannel::Kind;
using Peers = std::set<int32_t>;

[[noreturn]] void fail(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "plan: " + what);
}

const std::vector<Operand>& ends_of(const Step& step, Kind kind) {
  return kind == Kind::kMulticast ? step.sinks : step.sources;
}

void check_entry(const Plan& plan, const SwitchChannel& entry, const SwitchChannel* before) {
  const std::string what = "switch channel (" + to_text(entry) + "): ";
  if (entry.rank < 0 || entry.rank >= plan.shape.n_ranks)
    fail(what + "expected a rank from 0 to " + std::to_string(plan.shape.n_ranks - 1));
  if (entry.channel < 0 || entry.channel >= plan.channels)
    fail(what + "expected a channel below " + std::to_string(plan.channels));
  if (before != nullptr && !(*before < entry))
    fail(what + "expected entries in ascending order, each once, got it after " + to_text(*before));
}

// A message can't be copied by one switch for its sender and be added up by another for its
// receiver.
void check_apart(const Plan& plan, const SwitchChannel& entry, const Peers& peers) {
  if (entry.kind != Kind::kMulticast) return;
  for (const int32_t peer : peers) {
    const SwitchChannel other{peer, entry.channel, Kind::kReduce};
    if (std::binary_search(plan.switch_channels.begin(), plan.switch_channels.end(), other))
      fail("the connection from rank " + std::to_string(entry.rank) + " to rank " +
           std::to_string(peer) + ", channel " + std::to_string(entry.channel) +
           ", is of two switch channels: " + to_text(entry) + ", and " + to_text(other));
  }
}

// What is wrong with a step that names `ends` of the entry's `all` peers; empty: nothing.
std::string fault_of(const Step& step, const SwitchChannel& entry, size_t ends, size_t all) {
  const bool multicast = entry.kind == Kind::kMulticast;
  if (ends != all)
    return std::string("expected ") + (multicast ? "sinks to" : "sources from") + " all " +
           std::to_string(all) + " peers of the switch channel (" + to_text(entry) + "), got " +
           std::to_string(ends);
  if (multicast) return "";
  const size_t others = step.sources.size() - ends;
  const bool one_chunk =
      others == 1 && std::any_of(step.sources.begin(), step.sources.end(),
                                 [](const Operand& o) { return o.kind == Operand::Kind::kChunk; });
  if (others == 0 || one_chunk) return "";
  return "expected at most one source beside the switch channel (" + to_text(entry) +
         "), a chunk of the rank's own, which the switch adds too; got " + std::to_string(others) +
         " others";
}

// The entries of one rank against its steps.
class RankChecker {
 public:
  RankChecker(const Plan& plan, int32_t rank)
      : rank_(rank), lanes_(plan.ranks[static_cast<size_t>(rank)].lanes) {}

  void add(const SwitchChannel& entry) { peers_[entry]; }

  // By entry, whom the rank's steps name.
  const std::map<SwitchChannel, Peers>& find_peers() {
    for (const Lane& lane : lanes_)
      for (const Step& step : lane.steps)
        for (const Kind kind : kKinds)
          for (const Operand& operand : ends_of(step, kind))
            if (const auto found = entry_of(operand, kind); found != peers_.end())
              found->second.insert(operand.index);
    return peers_;
  }

  void check() {
    for (size_t lane = 0; lane < lanes_.size(); ++lane)
      for (size_t step = 0; step < lanes_[lane].steps.size(); ++step) {
        const std::string fault = fault_in(lanes_[lane].steps[step]);
        if (fault.empty()) continue;
        fail("rank " + std::to_string(rank_) + " lane " + std::to_string(lane) + " step " +
             std::to_string(step) + ": " + fault);
      }
  }

 private:
  static constexpr Kind kKinds[] = {Kind::kMulticast, Kind::kReduce};

  std::map<SwitchChannel, Peers>::iterator entry_of(const Operand& operand, Kind kind) {
    return operand.kind == Operand::Kind::kPeer ? peers_.find({rank_, operand.channel, kind})
                                                : peers_.end();
  }

  std::string fault_in(const Step& step) {
    std::map<SwitchChannel, size_t> ends;
    for (const Kind kind : kKinds)
      for (const Operand& operand : ends_of(step, kind))
        if (const auto found = entry_of(operand, kind); found != peers_.end()) ++ends[found->first];
    for (const auto& [entry, count] : ends) {
      std::string fault = fault_of(step, entry, count, peers_.at(entry).size());
      if (!fault.empty()) return fault;
    }
    return "";
  }

  const int32_t rank_;
  const std::vector<Lane>& lanes_;
  std::map<SwitchChannel, Peers> peers_;
};

}  // namespace

std::string to_text(const SwitchChannel& entry) {
  return std::string(entry.kind == Kind::kMulticast ? "multicast from" : "reduction into") +
         " rank " + std::to_string(entry.rank) + ", channel " + std::to_string(entry.channel);
}

void check_switch_channels(const Plan& plan) {
  const SwitchChannel* before = nullptr;
  for (const SwitchChannel& entry : plan.switch_channels) {
    check_entry(plan, entry, before);
    before = &entry;
  }
  for (size_t i = 0; i < plan.switch_channels.size();) {
    RankChecker rank(plan, plan.switch_channels[i].rank);
    const int32_t number = plan.switch_channels[i].rank;
    for (; i < plan.switch_channels.size() && plan.switch_channels[i].rank == number; ++i)
      rank.add(plan.switch_channels[i]);
    for (const auto& [entry, peers] : rank.find_peers()) {
      if (peers.empty())
        fail("switch channel (" + to_text(entry) + "): no step has a connection of it");
      check_apart(plan, entry, peers);
    }
    rank.check();
  }
}

}  // namespace tutti::plan
