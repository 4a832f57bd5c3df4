// SPDX-License-Identifier: Apache-2.0
// sim: runs seeds, several processes at a time, and says which fail and how to see it again.
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>

#include "perf/cli/cli.h"
#include "src/base/planted.h"
#include "src/base/shared_bell.h"
#include "tests/sim/crew.h"
#include "tests/sim/job.h"
#include "tests/sim/scenario.h"

namespace tutti::sim {
namespace {

struct Arguments {
  uint64_t seeds = 1000;
  uint64_t first = 1;
  int jobs = 2;
  std::string replay;
  bool verbose = false;
  double limit_seconds = 0;
  std::string plant;
  bool find_planted = false;
};

struct Plant {
  const char* name;
  const char* what;
  PlantedBug bug;
};
constexpr Plant kPlants[] = {
#define X(id, what) {&#id[1], what, PlantedBug::id},
    TUTTI_PLANTED_BUGS_ROWS(X)
#undef X
};

#ifdef TUTTI_PLANTED_BUGS
void plant(PlantedBug bug) { planted_bug = bug; }
#else
void plant(PlantedBug) {
  std::fprintf(stderr, "sim: this program has no bugs to choose from; run sim_planted\n");
  std::exit(2);
}
#endif

int replay(const Arguments& arguments) {
  Job job;
  Scenario scenario;
  make_scenario(std::stoull(arguments.replay), &scenario);
  std::printf("seed %s: %s", arguments.replay.c_str(), describe(scenario).c_str());
  const std::string finding = job.run(scenario, true);
  std::printf("seed %s: %s\n", arguments.replay.c_str(),
              finding.empty() ? "as it must be" : finding.c_str());
  return finding.empty() ? 0 : 1;
}

int run(const Arguments& arguments, const char* program) {
  const Report report = run_seeds({.first = arguments.first,
                                   .seeds = arguments.seeds,
                                   .jobs = arguments.jobs,
                                   .verbose = arguments.verbose});
  const Tally& tally = report.tally;
  std::printf(
      "%llu seeds, %llu with a harmful fault, %llu of them with survivors that went on; %llu "
      "faults, "
      "%llu calls completed, %llu errors of ranks; %.1f s (%.1f s of processor time for each "
      "worker)\n",
      static_cast<unsigned long long>(tally.jobs), static_cast<unsigned long long>(tally.harmful),
      static_cast<unsigned long long>(tally.went_on), static_cast<unsigned long long>(tally.faults),
      static_cast<unsigned long long>(tally.calls), static_cast<unsigned long long>(tally.errors),
      report.seconds, report.cpu_seconds);
  if (report.finding.empty()) {
    if (arguments.limit_seconds <= 0 || report.cpu_seconds <= arguments.limit_seconds) return 0;
    std::printf("FAILED: took %.1f s of processor time, expected at most %.1f s\n",
                report.cpu_seconds, arguments.limit_seconds);
    return 1;
  }
  std::printf("FAILED: seed %llu: %s\n  replay: %s --replay %llu\n",
              static_cast<unsigned long long>(report.seed), report.finding.c_str(), program,
              static_cast<unsigned long long>(report.seed));
  return 1;
}

// Each planted bug must show within the given number of seeds.
int find_planted(const Arguments& arguments, const char* program) {
  plant(PlantedBug::kNone);
  if (const int status = run(arguments, program); status != 0) {
    std::printf(
        "without any planted bug no seed must fail, or nothing that is found proves anything\n");
    return status;
  }
  int missed = 0;
  for (const Plant& one : kPlants) {
    plant(one.bug);
    const Report report =
        run_seeds({.first = arguments.first, .seeds = arguments.seeds, .jobs = arguments.jobs});
    if (report.finding.empty()) {
      ++missed;
      std::printf("%-24s MISSED in %llu seeds: %s\n", one.name,
                  static_cast<unsigned long long>(report.tally.jobs), one.what);
      continue;
    }
    std::printf("%-24s found by seed %llu: %s\n    replay: %s --plant %s --replay %llu\n", one.name,
                static_cast<unsigned long long>(report.seed), report.finding.c_str(), program,
                one.name, static_cast<unsigned long long>(report.seed));
    std::fflush(stdout);
  }
  std::printf("%zu bugs planted, %d missed\n", std::size(kPlants), missed);
  return missed == 0 ? 0 : 1;
}

void plant_by_name(const std::string& name) {
  for (const Plant& one : kPlants) {
    if (name == one.name) return plant(one.bug);
  }
  std::fprintf(stderr, "sim: no bug is called '%s'; expected one of\n", name.c_str());
  for (const Plant& one : kPlants) std::fprintf(stderr, "  %-24s %s\n", one.name, one.what);
  std::exit(2);
}

int main_of(int argc, char** argv) {
  cli::CommandLine line(
      "Runs communicators over a simulated network in virtual time, a job per seed.");
  Arguments arguments;
  line.add_option("--seeds", arguments.seeds, "how many seeds");
  line.add_option("--first", arguments.first, "the first seed");
  line.add_option("--jobs", arguments.jobs,
                  "processes, each with all ranks of a seed in one thread");
  line.add_option("--replay", arguments.replay, "one seed, with what happens in virtual time");
  line.add_flag("--verbose", arguments.verbose, "say what each seed stands for");
  line.add_option("--limit", arguments.limit_seconds,
                  "fail when a worker takes more processor time (seconds)");
  line.add_option("--plant", arguments.plant, "with this bug (sim_planted only)");
  line.add_flag("--find-planted", arguments.find_planted,
                "with each bug in turn, which must be found within --seeds (sim_planted only)");
  if (const auto status = line.parse(argc, argv)) return *status;
  if (!arguments.plant.empty()) plant_by_name(arguments.plant);
  // A page of bells is made once and stays.
  const SharedBell keeps_the_page = SharedBell::allocate();
  if (arguments.find_planted) return find_planted(arguments, argv[0]);
  return arguments.replay.empty() ? run(arguments, argv[0]) : replay(arguments);
}

}  // namespace
}  // namespace tutti::sim

int main(int argc, char** argv) { return tutti::sim::main_of(argc, argv); }
