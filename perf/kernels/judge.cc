// SPDX-License-Identifier: Apache-2.0
#include "perf/kernels/judge.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <vector>

#include "perf/kernels/cases.h"
#include "perf/kernels/instructions.h"
#include "perf/kernels/stream.h"

namespace tutti::perf {
namespace {

constexpr double kLeastFraction = 0.85;
// Of the limit of its instruction mix, where the mix is what a kernel claims to be bound by. The
// limit lets any instruction start wherever an addition can and reaches full rate, so no real mix
// attains it; a kernel that waits for its own results stays far below.
constexpr double kLeastIssue = 0.45;
// Whoever shares the machine disturbs a measurement now and then, hardly thrice in a row.
constexpr int kAttempts = 3;
constexpr double kLineBytes = 64;
// Per buffer: nine of them fit in a first-level cache of 48 KiB, three in any.
constexpr size_t kFirstLevelBytes = 4096;

// Processor time, since the machine may run other things: a preempted call costs no more.
double now_ns() {
  timespec t = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

template <class Call>
double time_ns(int calls, const Call& call) {
  const double begin = now_ns();
  for (int i = 0; i < calls; ++i) call();
  return (now_ns() - begin) / calls;
}

template <class Call>
double least_ns(int calls, const Call& call) {
  double least = time_ns(calls, call);
  for (int i = 0; i < 6; ++i) least = std::min(least, time_ns(calls, call));
  return least;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What the core does per cycle.
struct Core {
  double ns_per_cycle = 0;
  double per_cycle[kProbes] = {};  // by Probe; 0 where it can't be measured
};

Core measure_core() {
  constexpr size_t kCount = 1 << 15;
  Core core;
  core.ns_per_cycle = least_ns(1, [] { run_chain(kCount); }) / kCount;
  for (int i = 0; i < kProbes; ++i) {
    const auto probe = static_cast<Probe>(i);
    if (!run_probe(probe, 16)) continue;
    const double ns = least_ns(1, [&] { run_probe(probe, kCount); });
    core.per_cycle[i] = kCount * core.ns_per_cycle / ns;
  }
  return core;
}

// One round after the other, kernel and streams by turns: the machine's bandwidth moves.
struct Memory {
  double kernel_ns = 0;
  double stream_ns = 0;
  double fraction = 0;
};

Memory measure_memory(const Case& c, const Prepared& prepared, int rounds) {
  constexpr double kRoundNs = 150e3;
  const int calls =
      std::max(1, static_cast<int>(kRoundNs / time_ns(1, [&] { prepared.run_kernel(); })));
  std::vector<double> kernel;
  std::vector<double> reference;
  std::vector<double> fraction;
  for (int round = 0; round < rounds; ++round) {
    kernel.push_back(time_ns(calls, [&] { prepared.run_kernel(); }));
    double least = time_ns(calls, [&] { prepared.run_stream(StreamLoop::kPlain); });
    least = std::min(least, time_ns(calls, [&] { prepared.run_stream(StreamLoop::kPrefetching); }));
    if (c.n_sources == 1 && c.n_sinks == 1)
      least = std::min(least, time_ns(calls, [&] { prepared.run_memcpy(); }));
    reference.push_back(least);
    fraction.push_back(least / kernel.back());
  }
  return {median(kernel), median(reference), median(fraction)};
}

// Per 64 bytes of a sink.
struct Arithmetic {
  bool known = false;
  VectorInstructions mix;
  double limit_cycles = 0;        // what the mix takes at least
  double first_level_cycles = 0;  // what it takes when nothing waits for memory
};

VectorInstructions mix_per_line(const Case& c, bool* known) {
  Case twice = c;
  twice.bytes = 2 * c.bytes;
  VectorInstructions one;
  VectorInstructions two;
  const Prepared once_prepared(c);
  *known = count_instructions([&] { once_prepared.run_kernel(); }, &one);
  const Prepared twice_prepared(twice);
  *known = *known && count_instructions([&] { twice_prepared.run_kernel(); }, &two);
  const double lines = static_cast<double>(c.bytes) / kLineBytes;
  return {(two.total - one.total) / lines, (two.convert - one.convert) / lines,
          (two.divide_float - one.divide_float) / lines,
          (two.divide_double - one.divide_double) / lines};
}

double cycles_of(double count, const Core& core, Probe probe) {
  const double rate = core.per_cycle[static_cast<int>(probe)];
  return rate > 0 ? count / rate : 0;
}

Arithmetic measure_arithmetic(Case c, const Core& core) {
  c.bytes = kFirstLevelBytes;
  c.streaming = false;
  Arithmetic found;
  found.mix = mix_per_line(c, &found.known);
  found.limit_cycles = std::max({cycles_of(found.mix.total, core, Probe::kAdd),
                                 cycles_of(found.mix.convert, core, Probe::kConvert),
                                 cycles_of(found.mix.divide_float, core, Probe::kDivideFloat),
                                 cycles_of(found.mix.divide_double, core, Probe::kDivideDouble)});
  const Prepared prepared(c);
  const double ns = least_ns(200, [&] { prepared.run_kernel(); });
  found.first_level_cycles = ns / core.ns_per_cycle / (kFirstLevelBytes / kLineBytes);
  found.known = found.known && core.per_cycle[0] > 0;
  return found;
}

double gb_per_s(const Case& c, double ns) { return static_cast<double>(c.moved_bytes()) / ns; }

struct Verdict {
  Memory memory;
  bool by_memory = false;
  Arithmetic arithmetic;  // of a kernel that memory does not bound
  double cycles = 0;
  bool good = false;
};

Verdict judge_once(const Case& c, int rounds) {
  Verdict verdict;
  {
    const Prepared prepared(c);
    verdict.memory = measure_memory(c, prepared, rounds);
  }
  verdict.by_memory = verdict.good = verdict.memory.fraction >= kLeastFraction;
  if (verdict.good) return verdict;
  const Core core = measure_core();
  verdict.cycles =
      verdict.memory.kernel_ns / core.ns_per_cycle / (static_cast<double>(c.bytes) / kLineBytes);
  verdict.arithmetic = measure_arithmetic(c, core);
  const Arithmetic& found = verdict.arithmetic;
  verdict.good = found.known && found.first_level_cycles >= kLeastFraction * verdict.cycles &&
                 found.limit_cycles >= kLeastIssue * found.first_level_cycles;
  return verdict;
}

bool judge_case(const Case& c, int rounds) {
  Verdict verdict = judge_once(c, rounds);
  for (int attempt = 1; attempt < kAttempts && !verdict.good; ++attempt)
    verdict = judge_once(c, rounds);
  std::printf("%-42s %7.1f %7.1f %5.2f", name(c).c_str() + std::strlen("kernel/"),
              gb_per_s(c, verdict.memory.kernel_ns), gb_per_s(c, verdict.memory.stream_ns),
              verdict.memory.fraction);
  if (!verdict.by_memory) {
    const Arithmetic& found = verdict.arithmetic;
    std::printf(" %6.1f %5.1f %6.1f %7.1f %7.1f%s", found.mix.total, found.mix.convert,
                found.limit_cycles, found.first_level_cycles, verdict.cycles,
                verdict.good ? "  arithmetic" : "  BELOW BOTH");
  }
  std::printf("\n");
  std::fflush(stdout);
  return verdict.good;
}

void print_head(const Core& core) {
  std::printf(
      "# %s; a core cycle is %.3f ns; vector instructions per cycle: %.2f additions, %.2f float16 "
      "conversions, %.2f divisions of float32, %.2f of float64\n"
      "# GB/s of kernel and stream, fraction; where that is below %.2f, per 64 bytes of a sink: "
      "vector instructions, conversions among them, cycles that they take at least, cycles from "
      "the first-level cache, cycles\n",
      kernels::instruction_set(), core.ns_per_cycle, core.per_cycle[0], core.per_cycle[1],
      core.per_cycle[2], core.per_cycle[3], kLeastFraction);
}

}  // namespace

bool judge(const JudgeOptions& options) {
  print_head(measure_core());
  bool good = true;
  for (const size_t bytes : options.sizes) {
    for (const Case& c : all_cases(bytes)) {
      if (name(c).find(options.filter) == std::string::npos) continue;
      good = judge_case(c, options.rounds) && good;
    }
  }
  return good;
}

}  // namespace tutti::perf
