// SPDX-License-Identifier: Apache-2.0
#include "perf/kernels/judge.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <ctime>

#include "perf/kernels/cases.h"
#include "perf/kernels/instructions.h"
#include "perf/kernels/stream.h"

namespace tutti::perf {
namespace {

constexpr double kLeastFraction = 0.85;
constexpr double kLineBytes = 64;
// Half of the smallest first-level cache, for all buffers of two sources and one sink.
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

Arithmetic measure_arithmetic(Case c) {
  c.bytes = kFirstLevelBytes;
  c.streaming = false;
  Arithmetic found;
  found.mix = mix_per_line(c, &found.known);
  const Core core = measure_core();
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

bool judge_case(const Case& c, int rounds) {
  Memory memory;
  {
    const Prepared prepared(c);
    memory = measure_memory(c, prepared, rounds);
  }
  std::printf("%-44s %7.1f %7.1f %6.2f", name(c).c_str() + 7, gb_per_s(c, memory.kernel_ns),
              gb_per_s(c, memory.stream_ns), memory.fraction);
  bool good = memory.fraction >= kLeastFraction;
  if (!good) {
    const Arithmetic arithmetic = measure_arithmetic(c);
    const Core core = measure_core();
    const double cycles =
        memory.kernel_ns / core.ns_per_cycle / (static_cast<double>(c.bytes) / kLineBytes);
    std::printf(" %6.1f %5.1f %7.1f %7.1f %7.1f", arithmetic.mix.total, arithmetic.mix.convert,
                arithmetic.limit_cycles, arithmetic.first_level_cycles, cycles);
    good = arithmetic.known && arithmetic.first_level_cycles / cycles >= kLeastFraction;
  }
  std::printf("%s\n", good ? "" : "  BELOW");
  std::fflush(stdout);
  return good;
}

}  // namespace

bool judge(const JudgeOptions& options) {
  const Core core = measure_core();
  std::printf(
      "%s; ns per cycle %.3f; per cycle: %.2f additions, %.2f conversions, %.2f divisions "
      "of float32, %.2f of float64\n",
      kernels::instruction_set(), core.ns_per_cycle, core.per_cycle[0], core.per_cycle[1],
      core.per_cycle[2], core.per_cycle[3]);
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
