// SPDX-License-Identifier: Apache-2.0
// Draws a job from a seed: small buffers around every boundary, few and tiny slots, and faults that
// hit while something is in flight.
#include "tests/sim/scenario.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "src/comm/selection.h"
#include "src/planner/planner.h"
#include "tests/sim/rng.h"
#include "tests/sim/star_plan.h"

namespace tutti::sim {
namespace {

using plan::Collective;
using Kind = Fault::Kind;

constexpr int64_t kSetUpNs = 5 * kNsPerMs;

template <size_t N>
void put(char (&into)[N], const std::string& text) {
  std::memset(into, 0, N);
  std::memcpy(into, text.data(), std::min(N - 1, text.size()));
}

class Maker {
 public:
  Maker(uint64_t seed, Scenario& s) : rng_(seed ^ 0x73636e'6172696f), s_(s) {
    s_.seed = seed;
    s_.steps.clear();
    s_.faults.clear();
    s_.agreed = {};
    s_.star = false;
    s_.network = {};
  }
  void make() {
    place();
    choose_pace();
    choose_calls();
    choose_faults();
    choose_settings();
    set_patience();
  }

 private:
  template <typename T, size_t N>
  T one_of(const T (&values)[N]) {
    return values[rng_.below(N)];
  }

  void place() {
    static constexpr int kRanks[] = {2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8};
    s_.n_ranks = one_of(kRanks);
    const int hosts = rng_.chance(30) ? 1 : rng_.chance(40) ? s_.n_ranks : 2 + rng_.pick(2);
    for (int rank = 0; rank < s_.n_ranks; ++rank)
      s_.hosts[static_cast<size_t>(rank)] = hosts == s_.n_ranks ? rank : rng_.pick(hosts);
  }

  void choose_pace() {
    static constexpr int64_t kTimeouts[] = {300 * kNsPerMs, 600 * kNsPerMs, kNsPerSecond};
    static constexpr int64_t kDelays[] = {5 * kNsPerUs, 50 * kNsPerUs, 500 * kNsPerUs};
    s_.timeout_ns = one_of(kTimeouts);
    s_.pace = {.preempt_percent = rng_.chance(50) ? 0 : 20,
               .idle_yields = static_cast<uint32_t>(rng_.pick(4)),
               .wake_max_ns = 5 * kNsPerUs};
    NetworkShape& net = s_.network;
    net.delay_max_ns = one_of(kDelays);
    // A rank may see nothing move until a message has gone through all the others.
    const int64_t crawl = s_.timeout_ns / 8 / s_.n_ranks;
    if (rng_.chance(8)) net.delay_max_ns = crawl;
    net.delay_min_ns = rng_.chance(50) ? net.delay_max_ns / 2 : net.delay_max_ns / 20;
    net.slow_percent = rng_.chance(50) ? 0 : 1 + rng_.pick(5);
    net.slow_max_ns = net.delay_max_ns == crawl ? 0 : crawl / 4;
    net.unreferable_percent = rng_.chance(70) ? 0 : 30;
  }

  void choose_calls() {
    const int n_steps = 3 + rng_.pick(3);
    for (int i = 0; i < n_steps; ++i) s_.steps.push_back(draw_step());
    // At least three are collectives.
    for (int i = 0; i < 3; ++i) s_.steps[static_cast<size_t>(i)].is_shift = false;
    std::swap(s_.steps.front(), s_.steps[rng_.below(s_.steps.size())]);
    // Jobs repeat their calls, and these go a shorter way then.
    for (size_t i = 1; i < s_.steps.size(); ++i) {
      if (rng_.chance(40)) repeat(s_.steps[i - 1], s_.steps[i]);
    }
    s_.star = rng_.chance(10);
    if (s_.star) {
      Step& step = s_.steps[static_cast<size_t>(rng_.pick(3))];
      step.is_shift = false;
      step.collective = Collective::kAllReduce;
      step.root = 0;
    }
  }

  // All but when, and in which buffers.
  static void repeat(const Step& earlier, Step& step) {
    const bool in_place = step.in_place;
    const auto think_ns = step.think_ns;
    step = earlier;
    step.in_place = in_place;
    step.think_ns = think_ns;
  }

  Step draw_step() {
    static constexpr DType kTypes[] = {DType::kInt8,   DType::kUint8, DType::kInt32,
                                       DType::kUint32, DType::kInt64, DType::kUint64};
    static constexpr Op kOps[] = {Op::kSum, Op::kProd, Op::kMax, Op::kMin};
    static constexpr size_t kBytes[] = {1, 8, 56, 64, 64, 128, 192, 256, 320, 512, 768, 1024};
    Step step;
    step.is_shift = rng_.chance(20);
    step.shift = rng_.pick(s_.n_ranks);
    step.collective = static_cast<Collective>(rng_.pick(plan::kCollectiveCount));
    step.dtype = one_of(kTypes);
    step.op = one_of(kOps);
    step.root = plan::has_root(step.collective) ? rng_.pick(s_.n_ranks) : 0;
    step.in_place = rng_.chance(30);
    const size_t elem = size_of(step.dtype);
    const auto around = static_cast<int64_t>(one_of(kBytes) / elem) + rng_.between(-1, 1);
    step.count = step.collective == Collective::kBarrier && !step.is_shift
                     ? 0
                     : static_cast<size_t>(std::max<int64_t>(around, 0));
    for (int64_t& think : step.think_ns) {
      think = rng_.chance(60) ? 0 : rng_.between(0, 4 * s_.network.delay_max_ns);
      think = std::min(think, s_.timeout_ns / 40);
    }
    return step;
  }

  void choose_settings() {
    static constexpr const char* kProtocols[] = {"", "", "inline", "staged", "direct"};
    static constexpr uint32_t kSlotBytes[] = {64, 64, 128, 256};
    static constexpr uint32_t kSlots[] = {1, 1, 2, 4};
    AgreedConfig& agreed = s_.agreed;
    put(agreed.protocol, one_of(kProtocols));
    agreed.slot_bytes = one_of(kSlotBytes);
    agreed.slots = one_of(kSlots);
    agreed.channels = rng_.chance(80) ? 1 : 2;
    if (rng_.chance(60)) agreed.direct_min_bytes = 64;
    if (rng_.chance(40)) agreed.pull_min_bytes = 64;
    if (rng_.chance(85)) force_algorithm();
    const auto slots = std::bit_ceil(std::max<uint32_t>(least_slots(), agreed.slots));
    agreed.slots = slots;
    s_.network.n_lines = slots << rng_.pick(3);
  }

  // A row of the table that can do every call it names.
  void force_algorithm() {
    const auto rows = planner::algorithm_table();
    const planner::AlgorithmRow& row = rows[rng_.below(rows.size())];
    const auto fits = [&](const Step& step) {
      const auto* same = planner::find_algorithm(step.collective, row.name);
      return step.is_shift || same == nullptr || same->supports(request(step));
    };
    for (const Step& step : s_.steps)
      if (!fits(step)) return;
    for (const Fault& fault : s_.faults)
      if (fault.kind == Kind::kMismatch && !fits(fault.instead)) return;
    put(s_.agreed.algorithm, row.name);
  }

  planner::PlanRequest request(const Step& step) const {
    return {.collective = step.collective,
            .n_ranks = s_.n_ranks,
            .root = step.root,
            .channels = static_cast<int>(s_.agreed.channels),
            .hosts = hosts().for_plans()};
  }
  planner::Hosts hosts() const {
    const auto ranks = static_cast<size_t>(s_.n_ranks);
    const std::vector<uint64_t> by_rank(s_.hosts.begin(), s_.hosts.begin() + ranks);
    return planner::Hosts::of(by_rank);
  }

  // That the plans of all calls need.
  uint32_t least_slots() {
    comm::Tuning tuning = comm::resolve(s_.agreed);
    if (s_.star) tuning.plan = star_plan(s_.n_ranks).plan;
    int64_t least = 1;
    for (const Step& step : s_.steps) least = std::max(least, least_slots(step, tuning));
    for (const Fault& fault : s_.faults) {
      if (fault.kind == Kind::kMismatch)
        least = std::max(least, least_slots(fault.instead, tuning));
    }
    return static_cast<uint32_t>(least);
  }
  int64_t least_slots(const Step& step, const comm::Tuning& tuning) const {
    if (step.is_shift) return 1;
    const comm::Choice choice = comm::select({.collective = step.collective,
                                              .n_ranks = s_.n_ranks,
                                              .root = step.root,
                                              .cores = 1,
                                              .hosts = hosts(),
                                              .block_bytes = step.count * size_of(step.dtype)},
                                             tuning);
    const auto plan =
        choice.plan != nullptr ? choice.plan : planner::verified_plan(*choice.row, choice.request);
    return plan->verdict.min_slots;
  }

  int64_t horizon() const {
    const NetworkShape& net = s_.network;
    return kSetUpNs / 5 + static_cast<int64_t>(s_.steps.size()) * 8 * net.delay_max_ns;
  }

  void choose_faults() {
    const int harmless = 1 + rng_.pick(2);
    for (int i = 0; i < harmless; ++i) s_.faults.push_back(draw_harmless());
    // The first one is sure to happen: every rank sends or gives back something.
    s_.faults.front() = draw(Kind::kStall);
    s_.faults.front().nth_act = 1;
    if (rng_.chance(60)) s_.faults.push_back(draw_harmful());
  }

  Fault draw(Kind kind) {
    Fault fault{.kind = kind, .rank = rng_.pick(s_.n_ranks)};
    fault.peer = (fault.rank + 1 + rng_.pick(s_.n_ranks - 1)) % s_.n_ranks;
    if (rng_.chance(70)) {
      fault.nth_act = 1 + rng_.pick(12);
    } else {
      fault.at_ns = rng_.between(0, horizon());
    }
    fault.duration_ns = rng_.between(10 * kNsPerUs, s_.timeout_ns / 16);
    return fault;
  }

  Fault draw_harmless() {
    static constexpr Kind kKinds[] = {Kind::kStall, Kind::kNap, Kind::kNap, Kind::kRift};
    Fault fault = draw(one_of(kKinds));
    if (fault.kind == Kind::kRift) part(fault);
    return fault;
  }

  // Some hosts from the others. Only across hosts, of course: else a nap instead.
  void part(Fault& fault) {
    fault.hosts = static_cast<uint32_t>(1 + rng_.pick(254));
    uint32_t used = 0;
    for (int rank = 0; rank < s_.n_ranks; ++rank) used |= 1u << s_.hosts[static_cast<size_t>(rank)];
    if ((used & fault.hosts) == 0 || (used & ~fault.hosts) == 0)
      fault.kind = is_harmless(fault.kind) ? Kind::kNap : Kind::kCrash;
  }

  Fault draw_harmful() {
    static constexpr Kind kKinds[] = {
        Kind::kCrash, Kind::kCrash, Kind::kCrash,  Kind::kVanish,   Kind::kStop,
        Kind::kStop,  Kind::kStop,  Kind::kBreak,  Kind::kBreak,    Kind::kPartition,
        Kind::kAbort, Kind::kAbort, Kind::kRevoke, Kind::kMismatch, Kind::kMismatch};
    Fault fault = draw(one_of(kKinds));
    if (fault.kind == Kind::kPartition) part(fault);
    // A host that vanishes takes all its ranks along.
    if (fault.kind == Kind::kVanish && std::count(s_.hosts.begin(), s_.hosts.begin() + s_.n_ranks,
                                                  s_.hosts[static_cast<size_t>(fault.rank)]) > 1) {
      fault.kind = Kind::kCrash;
    }
    if (fault.kind == Kind::kStop)
      fault.duration_ns = 3 * s_.timeout_ns + rng_.between(0, s_.timeout_ns);
    if (fault.kind == Kind::kBreak &&
        s_.hosts[static_cast<size_t>(fault.rank)] == s_.hosts[static_cast<size_t>(fault.peer)]) {
      fault.kind = Kind::kCrash;  // memory does not break
    }
    if (fault.kind == Kind::kMismatch) alter(fault);
    return fault;
  }

  // Another count, type, operation, root, or another collective.
  void alter(Fault& fault) {
    fault.nth_act = 0;
    fault.step = rng_.below(3);
    const Step& original = s_.steps[fault.step];
    if (original.is_shift && original.shift == 0) {  // no peer would notice
      fault.kind = Kind::kCrash;
      fault.nth_act = 1 + rng_.pick(12);
      return;
    }
    Step& step = fault.instead = original;
    const int how = original.is_shift || original.count == 0 ? 0 : rng_.pick(4);
    if (how == 1) {
      step.dtype = step.dtype == DType::kInt8 ? DType::kUint8 : DType::kInt8;
    } else if (how == 2 && plan::has_root(step.collective)) {
      step.root = (step.root + 1) % s_.n_ranks;
    } else if (how == 3 && plan::reduces(step.collective)) {
      step.op = step.op == Op::kSum ? Op::kMax : Op::kSum;
    } else {
      ++step.count;
    }
    if (original.collective == Collective::kBarrier) {
      step.collective = Collective::kAllReduce;
      step.in_place = false;
    }
  }

  void set_patience() {
    const NetworkShape& net = s_.network;
    const int64_t hop =
        net.delay_max_ns + (net.slow_percent > 0 ? net.slow_max_ns : 0) + 50 * kNsPerUs;
    int64_t total = kSetUpNs;
    for (const Step& step : s_.steps) {
      const size_t bytes = step.count * size_of(step.dtype) * static_cast<size_t>(s_.n_ranks);
      const auto messages = static_cast<int64_t>(bytes / s_.agreed.slot_bytes) + 2;
      total += *std::max_element(step.think_ns.begin(), step.think_ns.end());
      total += (4 * messages + int64_t{6} * s_.n_ranks + 8) * hop;
    }
    for (const Fault& fault : s_.faults) {
      if (is_harmless(fault.kind)) total += 2 * fault.duration_ns;
    }
    s_.patience_ns = total;
  }

  Rng rng_;
  Scenario& s_;
};

std::string us(int64_t ns) { return std::to_string(ns / 1000) + " us"; }

}  // namespace

void make_scenario(uint64_t seed, Scenario* scenario) { Maker(seed, *scenario).make(); }

std::string describe(const Step& step) {
  const std::string size = std::to_string(step.count) + " " + name(step.dtype);
  if (step.is_shift) return "send and receive " + size + " by " + std::to_string(step.shift);
  std::string text = plan::name(step.collective) + (" " + size);
  if (plan::reduces(step.collective)) text += std::string(" ") + name(step.op);
  if (plan::has_root(step.collective)) text += " root " + std::to_string(step.root);
  return text + (step.in_place ? " in place" : "");
}

std::string describe(const Fault& fault) {
  const std::string rank = "rank " + std::to_string(fault.rank);
  const std::string when = fault.nth_act > 0 ? " at its act #" + std::to_string(fault.nth_act)
                                             : " at " + us(fault.at_ns);
  const std::string lasting = " for " + us(fault.duration_ns);
  const std::string hosts = "hosts " + std::to_string(fault.hosts) + " (mask) are cut off";
  switch (fault.kind) {
    case Kind::kStall:
      return "a message of " + rank + " is late" + lasting + when;
    case Kind::kNap:
    case Kind::kStop:
      return rank + " does not run" + lasting + when;
    case Kind::kRift:
      return hosts + lasting + when;
    case Kind::kCrash:
      return rank + " dies" + when;
    case Kind::kVanish:
      return rank + " vanishes" + when;
    case Kind::kBreak:
      return "the connections of " + rank + " and rank " + std::to_string(fault.peer) + " break" +
             when;
    case Kind::kPartition:
      return hosts + when;
    case Kind::kAbort:
      return rank + " aborts" + when;
    case Kind::kRevoke:
      return rank + " revokes" + when;
    case Kind::kMismatch:
      return rank + " calls as #" + std::to_string(fault.step) + ": " + describe(fault.instead);
  }
  return "";
}

std::string describe(const Scenario& s) {
  std::string text = std::to_string(s.n_ranks) + " ranks on hosts";
  for (int rank = 0; rank < s.n_ranks; ++rank)
    text += " " + std::to_string(s.hosts[static_cast<size_t>(rank)]);
  text += "; delays " + us(s.network.delay_min_ns) + " to " + us(s.network.delay_max_ns) +
          ", time-out " + us(s.timeout_ns) + "\n  algorithm '" + s.agreed.algorithm +
          (s.star ? "' and the star, protocol '" : "', protocol '") + s.agreed.protocol + "', " +
          std::to_string(s.agreed.slots) + " slots of " + std::to_string(s.agreed.slot_bytes) +
          " bytes, " + std::to_string(s.network.n_lines) + " lines, " +
          std::to_string(s.agreed.channels) + " channels, direct from " +
          std::to_string(s.agreed.direct_min_bytes) + ", pull from " +
          std::to_string(s.agreed.pull_min_bytes) + "\n";
  for (size_t i = 0; i < s.steps.size(); ++i)
    text += "  call #" + std::to_string(i) + ": " + describe(s.steps[i]) + "\n";
  for (const Fault& fault : s.faults) text += "  fault: " + describe(fault) + "\n";
  return text;
}

}  // namespace tutti::sim
