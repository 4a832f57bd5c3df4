// SPDX-License-Identifier: Apache-2.0
// Communicators whose ranks are not all GPUs of one host: ranks of the host among them, and GPUs of
// two hosts, whose messages the watching thread carries over the network.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "perf/cli/cli.h"
#include "tests/devices/job.h"
#include "tests/devices/rank.h"

namespace tutti::devices {
namespace {

constexpr size_t kCounts[] = {1, 300, 20'000, 70'000};
constexpr int kMachines = 2;
constexpr int kGpusPerMachine = 4;

struct Trial {
  std::string name;
  Job job;
};

// What carries the rank's messages, with commas around each name.
std::string carriers(const Rank& rank) {
  tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  if (tuttiCommGetStats(rank.comm(), &stats) != tuttiSuccess) throw Trouble(rank.message());
  return "," + std::string(stats.transports) + ",";
}

void expect_carrier(const Rank& rank, const std::string& name) {
  if (carriers(rank).find("," + name + ",") == std::string::npos)
    throw Trouble("nothing went by " + name + " but by " + carriers(rank));
}

void call_all(Rank& rank) {
  for (const size_t count : kCounts) {
    for (const Kind kind : kKinds) {
      for (int i = 0; i < 3; ++i) rank.call(kind, count);
    }
  }
}

// Even ranks are GPUs.
void mix(Board& board, int number, int n, bool threads) {
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.device = number % 2 == 0 ? number / 2 : TUTTI_DEVICE_HOST;
  Rank rank(board, number, n, kCounts[3], config);
  call_all(rank);
  expect_carrier(rank, threads ? "inproc" : "shm");
  if (config.device >= 0 && n > 2) expect_carrier(rank, "cuda_p2p");
  rank.destroy();
}

void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }

void span_machines(Board& board, int number) {
  const int machine = number / kGpusPerMachine;
  set("TUTTI_HOST_ID", "machine " + std::to_string(machine));
  set("CUDASIM_TOPOLOGY", "dgx-h100 x" + std::to_string(kMachines));
  set("CUDASIM_MACHINE", std::to_string(machine));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.device = number % kGpusPerMachine;
  Rank rank(board, number, kMachines * kGpusPerMachine, kCounts[3], config);
  call_all(rank);
  expect_carrier(rank, "cuda_p2p");
  expect_carrier(rank, "tcp");
  rank.destroy();
}

std::vector<Trial> all_trials() {
  std::vector<Trial> trials;
  for (const int n : {2, 4, 5}) {
    for (const bool threads : {false, true}) {
      trials.push_back(
          {"mixed: GPUs and the host, " + std::to_string(n) + (threads ? " threads" : " processes"),
           {.n = n, .threads = threads, .body = [=](Board& board, int rank) {
              mix(board, rank, n, threads);
            }}});
    }
  }
  trials.push_back({"machines: two of four GPUs",
                    {.n = kMachines * kGpusPerMachine,
                     .body = [](Board& board, int rank) { span_machines(board, rank); }}});
  return trials;
}

int run_all(const std::string& only) {
  size_t tried = 0, failed = 0;
  for (const Trial& trial : all_trials()) {
    if (trial.name.find(only) == std::string::npos) continue;
    ++tried;
    const int64_t begin = now_ns();
    const std::string trouble = run(trial.job);
    failed += trouble.empty() ? 0 : 1;
    std::printf("%s: %s, %.2f s%s\n", trouble.empty() ? "ok" : "FAILED", trial.name.c_str(),
                seconds_since(begin), trouble.c_str());
    std::fflush(stdout);
  }
  std::printf("device_layouts: %zu trials, %zu failed\n", tried, failed);
  return failed == 0 && tried != 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::devices

int main(int argc, char** argv) {
  std::string only;
  tutti::cli::CommandLine line("GPUs and the host in one communicator, and GPUs of two hosts.");
  line.add_option("--only", only, "trials whose name contains this");
  if (const auto status = line.parse(argc, argv)) return *status;
  return tutti::devices::run_all(only);
}
