// SPDX-License-Identifier: Apache-2.0
// Bytes per second of the reduce_copy kernels, by data type, operation, shape and size, beside the
// machine's own bandwidth.
//
// Every figure counts the bytes that must move: each source read once, each sink written once. Rows
// are named kernel/DTYPE/OP/2to1/HINT/BYTES-PER-BUFFER; "stream" in place of "kernel" is a plain
// vector loop of the same shape. Buffers of 64 MiB and more are written with non-temporal stores.
//
//   kernels_bench [--benchmark_...]                    rows by Google Benchmark
//   kernels_bench --judge [--rounds=N] [--filter=TEXT] [--bytes=N]
//
// --judge takes kernel and stream by turns and prints the fraction; it fails when a kernel is
// slower than 0.85 of the stream and than 0.85 of its own instructions (docs/design/kernels.md).
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>

#include "perf/kernels/cases.h"
#include "perf/kernels/judge.h"

namespace {

using tutti::perf::Case;
using tutti::perf::kMiB;
using tutti::perf::Prepared;
using tutti::perf::StreamLoop;

void count_bytes(benchmark::State& state, const Case& c) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * c.moved_bytes()));
}

void kernel_row(benchmark::State& state, const Case& c) {
  const Prepared prepared(c);
  for (auto _ : state) prepared.run_kernel();
  count_bytes(state, c);
}

void stream_row(benchmark::State& state, const Case& c) {
  const Prepared prepared(c);
  for (auto _ : state) prepared.run_stream(StreamLoop::kPrefetching);
  count_bytes(state, c);
}

void register_rows(size_t bytes) {
  std::string last_shape;
  for (const Case& c : tutti::perf::all_cases(bytes)) {
    const std::string row = name(c);
    std::string shape = "stream/" + std::to_string(c.n_sources);
    shape += "to" + std::to_string(c.n_sinks);
    shape += row.substr(row.rfind('/', row.rfind('/') - 1));
    if (shape != last_shape) benchmark::RegisterBenchmark(shape.c_str(), stream_row, c);
    last_shape = shape;
    benchmark::RegisterBenchmark(row.c_str(), kernel_row, c);
  }
}

int run_judge(int argc, char** argv) {
  tutti::perf::JudgeOptions options{.sizes = {kMiB, 256 * kMiB}};
  for (int i = 2; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const char* value = std::strchr(argv[i], '=');
    if (value == nullptr) {
      std::fprintf(stderr, "expected --rounds=N, --filter=TEXT or --bytes=N, got %s\n", argv[i]);
      return 2;
    }
    ++value;
    if (argument.starts_with("--rounds=")) options.rounds = std::max(1, std::atoi(value));
    if (argument.starts_with("--filter=")) options.filter = value;
    if (argument.starts_with("--bytes=")) options.sizes = {std::strtoull(value, nullptr, 10)};
  }
  return tutti::perf::judge(options) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--judge") return run_judge(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("instruction_set", tutti::kernels::instruction_set());
  for (const size_t bytes : {kMiB / 16, kMiB, 256 * kMiB}) register_rows(bytes);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
