// SPDX-License-Identifier: Apache-2.0
// Where a subcommand of `tutti plan` takes its plan from: a file, or an algorithm of the library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/planner/planner.h"

namespace tutti::cli {
class Command;
}

namespace tutti::command {

inline constexpr int32_t kMostListedRanks = 16;  // of what `list` and `verify` look at

struct PlanSource {
  std::string file;  // empty: the rest says which
  std::string collective;
  std::string algorithm;
  planner::PlanRequest request;
  std::string hosts;  // layout; empty: all ranks on one host
};

// FILE, or --collective, --algorithm, -n or --hosts, --root and --channels. `source` must outlive
// the parser.
void add_plan_source(cli::Command command, PlanSource* source);
// Throws Error naming the option or the place in the file.
plan::Plan load_plan(PlanSource source);
plan::Plan load_plan_file(const std::string& path);  // "-": the standard input

// Every request for the row with up to kMostListedRanks ranks and `most_channels` channels, and all
// roots; for two levels on hosts of equal and unequal sizes, also with interleaved ranks.
std::vector<planner::PlanRequest> listed_requests(const planner::AlgorithmRow& row,
                                                  int32_t most_channels);
// "1-16", "2, 4, 8, 16"; "2-8 hosts" for two levels.
std::string supported_ranks(const planner::AlgorithmRow& row);
// "ring4.json: all_reduce ring, 4 ranks"
std::string plan_title(const std::string& path, const plan::Plan& plan);
// "needs 1 of its 4 slots, folds in any order"; of a plan that is accepted.
std::string what_is_proved(const plan::Plan& plan, const verify::Verdict& verdict);

}  // namespace tutti::command
