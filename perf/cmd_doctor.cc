// SPDX-License-Identifier: Apache-2.0
// `tutti doctor`: what works here, what does not and why, and where the ranks of a job differ.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/doctor/rank_report.h"
#include "perf/launcher.h"
#include "perf/meeting.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/process_memory.h"
#include "src/bootstrap/bootstrap.h"
#include "src/comm/group.h"
#include "src/comm/setup.h"

namespace tutti::command {
namespace {

constexpr int kProblemStatus = 1;
constexpr int kEstimatedRanks = 8;  // of the communicator that the limits are held against
constexpr int kMostRanks = 1024;

struct DoctorOptions {
  int ranks = 0;  // 0: this process alone, or the launcher's job
  bool json = false;
};

// What a rank's start took; two numbers for an AllReduce.
struct StartCost {
  int64_t ns = 0;
  int64_t private_bytes = 0;
};
static_assert(sizeof(StartCost) == 2 * sizeof(int64_t));

// The most of all ranks, which all ranks say alike.
Finding start_finding(comm::Communicator& comm, const StartCost& mine) {
  StartCost most;
  comm::run_now(comm, comm::CollectiveCall{.name = "AllReduce",
                                           .collective = plan::Collective::kAllReduce,
                                           .input = &mine,
                                           .output = &most,
                                           .count = 2,
                                           .dtype = DType::kInt64,
                                           .op = Op::kMax});
  return {"start", fmt::format("at most {:.3f} s to form it, at most {} of private memory in each "
                               "process before first use",
                               static_cast<double>(most.ns) / kNsPerSecond,
                               bytes_text(static_cast<uint64_t>(most.private_bytes)))};
}

// A communicator of all ranks adds one number per rank.
Section try_communicator(const bootstrap::Launch& launch, const bootstrap::UniqueId& id) {
  try {
    const comm::Options options{.config = config_from_environment()};
    const int64_t start_ns = now_ns();
    const auto made =
        comm::join(id, {.rank = launch.rank, .n_ranks = launch.size}, options, nullptr, 0);
    // Before first use.
    const StartCost start{.ns = now_ns() - start_ns,
                          .private_bytes = static_cast<int64_t>(private_bytes().value_or(0))};
    const int64_t mine = launch.rank;
    int64_t sum = 0;
    comm::run_now(*made, comm::CollectiveCall{.name = "AllReduce",
                                              .collective = plan::Collective::kAllReduce,
                                              .input = &mine,
                                              .output = &sum,
                                              .count = 1,
                                              .dtype = DType::kInt64});
    const int64_t expected = int64_t{launch.size} * (launch.size - 1) / 2;
    if (sum != expected) {
      return failed_section(
          fmt::format("wrong: expected {} as the sum of all ranks, got {}", expected, sum));
    }
    Section section = communicator_section(*made);
    section.findings.push_back(start_finding(*made, start));
    made->finalize();
    return section;
  } catch (const Error& error) {
    return failed_section(error.what());
  }
}

std::vector<RankHealth> gather(const bootstrap::Launch& launch, const RankHealth& mine) {
  const auto meeting = meet(launch);
  RankHealth whole = mine;
  whole.sections.push_back(try_communicator(launch, bootstrap::launch_unique_id(launch, 1)));
  std::vector<RankHealth> ranks;
  for (const std::string& rank : all_texts(*meeting, to_json(whole).dump()))
    ranks.push_back(from_json(nlohmann::ordered_json::parse(rank)));
  return ranks;
}

int report(const std::vector<RankHealth>& ranks, bool json) {
  const std::string text = json ? as_json(ranks) : as_text(ranks);
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  if (!written) throw Error(StatusCode::kSystemError, "can't write to standard output");
  return count_problems(ranks) == 0 ? 0 : kProblemStatus;
}

// Of the job that a launcher has started; broken launcher variables are reported, not thrown.
std::optional<bootstrap::Launch> job() {
  try {
    return job_of_many();
  } catch (const Error&) {
    return std::nullopt;
  }
}

int run_doctor(const DoctorOptions& options) {
  const auto launch = job();
  if (launch.has_value()) {
    const auto ranks = gather(*launch, examine(launch->size));
    return launch->rank == 0 ? report(ranks, options.json) : 0;
  }
  if (options.ranks <= 1) return report({examine(kEstimatedRanks)}, options.json);
  RunOptions run{.ranks = options.ranks, .pinning = Pinning::kNone};
  run.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "doctor"};
  if (options.json) run.command.emplace_back("--json");
  return run_job(run);
}

}  // namespace

void add_doctor(cli::Command app, int* exit_status) {
  auto options = std::make_shared<DoctorOptions>();
  cli::Command doctor =
      app.add_subcommand("doctor", "Say what works on this machine, what does not, and what to do");
  doctor
      .add_option("-n,--ranks", options->ranks,
                  "Start so many ranks here, form a communicator, and compare them")
      .range(1, kMostRanks)
      .type_name("N");
  doctor.add_flag("--json", options->json, "Print JSON instead of text");
  doctor.footer(R"(
Alone it looks at this process and its host. Under a launcher (tutti run, mpirun, torchrun, srun) every rank does, all form
a communicator, and rank 0 reports what is wrong with any of them and where they differ.
Lines marked with ! are problems; the line below says what to do.
Exit status: 0 healthy, 1 problems, 2 wrong usage.

Examples:
  tutti doctor
  tutti doctor --ranks 4
  tutti run -n 4 tutti doctor
  mpirun -n 16 tutti doctor --json)");
  doctor.callback([options, exit_status] { *exit_status = run_doctor(*options); });
}

}  // namespace tutti::command
