// SPDX-License-Identifier: Apache-2.0
// Two plans side by side on one topology: what each is, how fast its links let it be, and how long
// it takes at several sizes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "perf/explain/contender.h"
#include "src/verify/simulator.h"
#include "src/verify/verifier.h"

namespace tutti::command {

// One way over a link, and how long it is busy per byte of a block.
struct BusyWay {
  verify::Hop hop;
  double ns_per_byte = 0;
};

struct MeasuredPlan {
  Contender contender;
  verify::Verdict verdict;  // when it is rejected, what follows `size` is not there
  plan::PlanSize size;
  int64_t lanes = 0;            // of the rank with the most
  double ns_per_byte = 0;       // of a block, that its busiest way takes
  double plan_over_bound = 0;   // 0: no bound is known for this collective
  std::vector<BusyWay> ways;    // all that it uses; by link
  std::vector<double> time_ns;  // by size
};

struct Comparison {
  Arena arena;
  plan::Collective collective = plan::Collective::kAllReduce;
  std::vector<uint64_t> bytes;  // of one block, as the C API takes them
  MeasuredPlan a;
  MeasuredPlan b;
};

// `step` is called with what comes next, for progress.
Comparison compare(Arena arena, std::vector<Contender> contenders, plan::Collective collective,
                   std::vector<uint64_t> bytes,
                   const std::function<void(const std::string&)>& step);
bool is_accepted(const Comparison& comparison);  // both are

// GB/s of what nccl-tests calls the size of a call, and the factor to its bus bandwidth.
double algbw(const Comparison& comparison, uint64_t block_bytes, double time_ns);
double busbw_factor(const Comparison& comparison);

std::string as_text(const Comparison& comparison);
std::string as_json(const Comparison& comparison);

}  // namespace tutti::command
