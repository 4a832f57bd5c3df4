// SPDX-License-Identifier: Apache-2.0
// Flags as nccl-tests has them, so that scripts written for it keep working.
#include "perf/bench/options.h"

#include <cmath>
#include <cstdlib>
#include <optional>

#include "perf/bench/pattern.h"
#include "perf/cli/cli.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::bench {
namespace {

constexpr int kUsageStatus = 2;

// "64M", "1.5G", "0x40", "8": bytes.
size_t parse_bytes(const std::string& flag, const std::string& text) {
  size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string suffix = text.substr(used);
  double unit = 0;
  if (suffix.empty() || suffix == "B") unit = 1;
  if (suffix == "K" || suffix == "k") unit = 1 << 10;
  if (suffix == "M" || suffix == "m") unit = 1 << 20;
  if (suffix == "G" || suffix == "g") unit = 1 << 30;
  if (used == 0 || unit == 0 || value < 0 || value * unit > 1e15) {
    throw cli::wrong_value(flag, "expected a size such as 8, 64K, 32M or 1G, got '" + text + "'");
  }
  return static_cast<size_t>(value * unit);
}

std::vector<int> parse_names(const std::string& flag, const std::string& text, int n,
                             const char* (*name_of)(int)) {
  std::vector<int> all;
  std::string known;
  for (int i = 0; i < n; ++i) {
    if (text == name_of(i)) return {i};
    all.push_back(i);
    known += std::string(name_of(i)) + " ";
  }
  if (text == "all") return all;
  throw cli::wrong_value(flag, "expected one of: " + known + "all, got '" + text + "'");
}

struct Texts {
  std::string min, max, step, op = "sum", type = "float", place = "auto";
};

void add_ranks(cli::Command command, Options& o, Texts& t) {
  command.add_option("-t,--nthreads", o.threads, "threads per process, each with its own ranks")
      .range(1, 1024);
  command
      .add_option("-g,--ngpus", o.ranks_per_thread,
                  "ranks per thread, each with a GPU of its own (or of the host: --device)")
      .range(1, 1024);
  command
      .add_option("--device", t.place,
                  "host: ranks of the host; gpu: of a GPU each, dealt out as nccl-tests does it; "
                  "auto: gpu where the driver has one for each rank. TUTTI_DEVICE=host is as host, "
                  "a number the GPU of the process's first rank (default auto)")
      .one_of({"host", "gpu", "auto"});
}

void add_flags(cli::Command command, Options& o, Texts& t) {
  command.take_last();  // as getopt does it: scripts append flags to a wrapper's
  add_ranks(command, o, t);
  command.add_option("-b,--minbytes", t.min, "smallest size (default 32M)");
  command.add_option("-e,--maxbytes", t.max, "largest size (default 32M)");
  command.add_option("-i,--stepbytes", t.step, "fixed increment between sizes (default 1M)");
  command.add_option("-f,--stepfactor", o.step_factor, "factor between sizes; overrides -i");
  command.add_option("-n,--iters", o.iterations, "timed iterations (default 20)").range(1, 1 << 30);
  command
      .add_option("-m,--agg_iters", o.aggregated,
                  "operations aggregated in one group per iteration")
      .range(1, 1 << 20);
  command.add_option("-w,--warmup_iters", o.warmup, "untimed iterations first (default 1)")
      .range(0, 1 << 30);
  command.add_option("-N,--run_cycles", o.cycles, "passes over all sizes; 0 = until stopped")
      .range(0, 1 << 30);
  command.add_option("-p,--parallel_init", o.parallel_init, "0/1: initialise in the threads");
  command.add_option("-c,--check", o.check, "0/1: check every result (default 1)");
  command.add_option("-o,--op", t.op, "sum prod max min avg mulsum all");
  command.add_option(
      "-d,--datatype", t.type,
      "int8 uint8 int32 uint32 int64 uint64 half float double bfloat16 f8e4m3 f8e5m2 all");
  command.add_option("-r,--root", o.root, "root rank; -1 = every rank in turn");
  command.add_option("-z,--blocking", o.blocking,
                     "0/1: wait for each operation of a GPU before the next is issued; of the host "
                     "all complete before they return");
  command
      .add_option("-T,--timeout", o.timeout_seconds,
                  "seconds without progress after which a call fails; 0: what TUTTI_TIMEOUT says")
      .range(0.0, 1e9);
  command.add_option("-C,--report_cputime", o.report_cpu_time,
                     "0/1: CPU time of the calling thread instead of latency");
  command.add_option("-S,--report_timestamps", o.timestamps,
                     "0/1: end each row with the time of day");
  command.add_option("-J,--output_file", o.json_file, "also write the results as JSON");
  command
      .add_option(
          "-a,--average", o.average,
          "time of 0 rank 0, 1 all ranks on average, 2 the fastest, 3 the slowest (default 1)")
      .range(0, 3);
  command
      .add_option("-R,--local_register", o.registration,
                  "0 ordinary memory, 1 tuttiMemAlloc and registered, 2 a symmetric window")
      .range(0, 2);
  command.add_option("-u,--unalign", o.unalign,
                     "0/1: buffers start one element behind their alignment");
  command.add_option("-I,--per_iter_timing", o.per_iteration,
                     "0/1: a comment line with the spread of iteration times behind each row");
  command.add_option_callback(
      "-G,--cudagraph",
      [](int graphs) {
        if (graphs != 0)
          throw cli::wrong_value("-G", "operations are not captured; only 0 is possible");
      },
      "0: accepted for compatibility");
}

// What the parser leaves to us: sizes, names, and which flags go together.
void take_texts(const Texts& texts, Options& o) {
  if (!texts.min.empty()) o.min_bytes = parse_bytes("-b", texts.min);
  if (!texts.max.empty()) o.max_bytes = parse_bytes("-e", texts.max);
  if (!texts.step.empty()) o.step_bytes = parse_bytes("-i", texts.step);
  if (texts.max.empty() && o.max_bytes < o.min_bytes) o.max_bytes = o.min_bytes;
  if (o.max_bytes < o.min_bytes)
    throw cli::wrong_value("-e", "the largest size is below the smallest (-b)");
  if (o.step_factor != 0 && o.step_factor <= 1)
    throw cli::wrong_value("-f", "the factor must be above 1");
  if (o.step_factor == 0 && o.step_bytes == 0)
    throw cli::wrong_value("-i", "the increment must not be 0");
  if (o.threads < 1)
    throw cli::wrong_value("TUTTI_THREADS", "expected a number of threads above 0");
  if (texts.place == "host") o.place = Place::kHost;
  if (texts.place == "gpu") o.place = Place::kGpu;
  o.ops = parse_names("-o", texts.op, kOpCount, op_name);
  o.types = parse_names("-d", texts.type, kDTypeCount, type_name);
}

}  // namespace

const char* type_name(int type) { return tutti::name(static_cast<DType>(type)); }
const char* op_name(int op) { return tutti::name(static_cast<Op>(op)); }

bool parse(int argc, char** argv, const char* program, Options* options, int* exit_status) {
  cli::CommandLine line(
      "Bandwidth of a collective, as a table: one row per size, out of place and in place.\n"
      "Run it alone with -t N (ranks as threads), or as processes: tutti run -n N PROGRAM, mpirun, "
      "srun.\n"
      "Example: " +
          std::string(program) + " -t 2 -b 8 -e 64M -f 4",
      program);
  Options& o = *options;
  // `tutti run --threads` says through the environment how many ranks it wants.
  if (const char* threads = std::getenv("TUTTI_THREADS"); threads != nullptr)
    o.threads = std::atoi(threads);
  Texts texts;
  add_flags(line, o, texts);
  line.callback([&] { take_texts(texts, o); });
  const std::optional<int> status = line.parse(argc, argv);
  if (status.has_value()) *exit_status = *status == 0 ? 0 : kUsageStatus;
  return !status.has_value();
}

}  // namespace tutti::bench
