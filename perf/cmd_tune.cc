// SPDX-License-Identifier: Apache-2.0
// `tutti tune`: measures this machine, so that the planner chooses by it.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/command.h"
#include "perf/tune/check.h"
#include "perf/tune/fit.h"
#include "perf/tune/tuner.h"
#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/comm/profile_file.h"

namespace tutti::command {
namespace {

constexpr int kBadChoiceStatus = 1;
constexpr int kMostRanks = 64;

struct TuneCommand {
  TuneOptions tune;
  std::string out;
  std::string profile;  // of --check; empty: TUTTI_PROFILE
  bool check = false;
  bool mapped = false;
};

std::string chosen_path(const TuneCommand& options) {
  if (!options.out.empty()) return options.out;
  std::string setting = config_from_environment().local.profile;
  if (setting != comm::kOwnProfile && setting != comm::kNoProfile) return setting;
  std::string path = comm::own_profile_path();
  if (path.empty()) {
    throw Error(StatusCode::kInvalidArgument,
                "neither XDG_CACHE_HOME nor HOME says where to keep the profile; give --out FILE");
  }
  return path;
}

// What is measured must not depend on an older profile.
void leave_profile_to_us() { setenv("TUTTI_PROFILE", comm::kNoProfile, 1); }

std::string rates_text(const planner::ByWorkingSet& rates) {
  return fmt::format("{:.3f}, {:.3f}, {:.3f}", rates[0], rates[1], rates[2]);
}

void print_summary(const planner::Profile& profile, const std::string& path, double seconds) {
  const planner::CostParameters& p = profile.parameters;
  fmt::print(
      "a call {:.0f} ns, a hop {:.0f} ns, a message {:.0f} ns of a core, {:.0f} ns to switch "
      "ranks on one\n",
      p.call_ns, p.hop_ns, p.message_ns, p.switch_ns);
  fmt::print("ns per byte in L2, L3, memory: written {}; read {}\n",
             rates_text(p.write_ns_per_byte), rates_text(p.read_ns_per_byte));
  for (const planner::RankTuning& tuning : profile.tunings)
    fmt::print("{} ranks: slots of {} bytes, {} channels\n", tuning.n_ranks, tuning.slot_bytes,
               tuning.channels);
  fmt::print(
      "{} algorithms measured; the model by itself is off by a factor of {:.2f} on the "
      "mean\n",
      profile.curves.size(), mean_error(profile.curves, p));
  fmt::print("{} written in {:.1f} s\n", path, seconds);
}

int run_tune(const TuneCommand& options) {
  const std::string path = chosen_path(options);
  leave_profile_to_us();
  const int64_t began = now_ns();
  const planner::Profile profile = tune(options.tune);
  comm::write_profile(profile, path);
  print_summary(profile, path, static_cast<double>(now_ns() - began) / kNsPerSecond);
  return 0;
}

int run_check(const TuneCommand& options) {
  const std::string setting =
      options.profile.empty() ? config_from_environment().local.profile : options.profile;
  const auto found = comm::find_profile(setting);
  leave_profile_to_us();
  fmt::print("the planner's choice by {}\n",
             found.has_value() ? found->file : "its defaults, without a profile");
  std::fflush(stdout);
  const auto points = check({.ranks = options.tune.ranks,
                             .profile = found.has_value() ? &found->profile : nullptr,
                             .quick = options.tune.quick,
                             .mapped = options.mapped});
  fmt::print("{}", report(points));
  return good_share(points) >= kGoodShare ? 0 : kBadChoiceStatus;
}

}  // namespace

void add_tune(cli::Command app, int* exit_status) {
  auto options =
      std::make_shared<TuneCommand>();  // shared with the callback, which the parser keeps
  cli::Command tune = app.add_subcommand(
      "tune", "Measure this machine, so that the library chooses algorithms by it");
  tune.add_option("-n,--ranks", options->tune.ranks, "Numbers of ranks to measure")
      .capture_default_str()
      .range(2, kMostRanks)
      .delimiter(',')
      .type_name("N...");
  const cli::Option out =
      tune.add_option("-o,--out", options->out, "File to write the profile to").type_name("FILE");
  tune.add_flag("--quick", options->tune.quick, "Measure few sizes, in a few seconds");
  cli::Option check =
      tune.add_flag("--check", options->check,
                    "Write nothing: measure every algorithm at every size, and say how "
                    "often the library's choice "
                    "is within 10 % of the best");
  check.excludes(out);
  tune.add_option("--profile", options->profile,
                  "With --check: a profile, or none (default: TUTTI_PROFILE)")
      .type_name("FILE")
      .needs(check);
  tune.add_flag("--mapped", options->mapped, "With --check: in memory of tuttiMemAlloc")
      .needs(check);
  tune.footer(R"(
Starts ranks as `tutti run` does, on an otherwise idle machine, and times every algorithm of every collective from 8 bytes
to 32 MiB. The profile goes to $XDG_CACHE_HOME/tutti or ~/.cache/tutti, under a name that says which machine it is for,
where communicators look for it; TUTTI_PROFILE=FILE names another, TUTTI_PROFILE=none does without. Rank 0's counts.
`tutti plan explain` shows what follows from it. With --check the exit status is 1 when less than 95 % of the choices
are good.

Examples:
  tutti tune
  tutti tune -n 2 16 --out cluster.json
  tutti tune --check)");
  tune.callback([options, exit_status] {
    *exit_status = options->check ? run_check(*options) : run_tune(*options);
  });
}

}  // namespace tutti::command
