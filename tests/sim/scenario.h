// SPDX-License-Identifier: Apache-2.0
// What a seed stands for: ranks, hosts, settings, calls, and what goes wrong when.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/plan/collective.h"
#include "tests/sim/network.h"
#include "tests/sim/world.h"

namespace tutti::sim {

// One call of every rank.
struct Step {
  bool is_shift = false;  // each rank sends to the one `shift` further on, else a collective
  int shift = 0;
  plan::Collective collective = plan::Collective::kBarrier;
  size_t count = 0;
  DType dtype = DType::kInt32;
  Op op = Op::kSum;
  int root = 0;
  bool in_place = false;
  std::array<int64_t, kMaxRanks> think_ns{};  // before the call
};
std::string describe(const Step& step);

struct Fault {
  enum class Kind : uint8_t {
    kStall,      // one message comes late
    kNap,        // a rank does not run for less than the time-out
    kRift,       // hosts can't reach each other for less than the time-out
    kCrash,      // a rank ends, and the others' transports notice
    kVanish,     // a rank ends, nobody is told
    kStop,       // a rank does not run for longer than the time-out
    kBreak,      // the connections of two ranks break
    kPartition,  // hosts can't reach each other any more
    kAbort,      // a rank calls tuttiCommAbort from another thread
    kRevoke,     // the same with tuttiCommRevoke
    kMismatch,   // a rank calls something else
  };
  Kind kind = Kind::kStall;
  int rank = 0;
  int peer = 0;
  uint32_t hosts = 0;
  int64_t duration_ns = 0;
  int64_t nth_act = 0;  // when the rank has done so many things that others can see; 0: at `at_ns`
  int64_t at_ns = 0;    // from the start
  size_t step = 0;      // kMismatch: which call
  Step instead;         // kMismatch
};
// Whether every rank is expected to complete all the same.
constexpr bool is_harmless(Fault::Kind kind) noexcept { return kind <= Fault::Kind::kRift; }
std::string describe(const Fault& fault);

struct Scenario {
  uint64_t seed = 0;
  int n_ranks = 2;
  std::array<int, kMaxRanks> hosts{};
  AgreedConfig agreed;
  bool star = false;  // AllReduce by the plan of star_plan.h
  int64_t timeout_ns = 0;
  Pace pace;
  NetworkShape network;
  std::vector<Step> steps;
  std::vector<Fault> faults;
  int64_t patience_ns = 0;  // virtual time that a job without trouble may take
};
// A pure function of the seed. Reuses the memory of *scenario.
void make_scenario(uint64_t seed, Scenario* scenario);
std::string describe(const Scenario& scenario);

}  // namespace tutti::sim
