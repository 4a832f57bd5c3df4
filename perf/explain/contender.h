// SPDX-License-Identifier: Apache-2.0
// One side of `tutti plan compare`: a plan from wherever it comes, on the ranks of a topology.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "src/planner/forest/flow_network.h"
#include "src/planner/forest/topology_plan.h"
#include "topology/report.h"

namespace tutti::command {

// Where both sides run.
struct Arena {
  topology::Report report;  // the view that was planned on; its notes say what was left out
  planner::FlowNetwork network;
};
Arena arena_of(const topology::Report& topology);

struct Contender {
  std::string given;  // as on the command line
  std::string name;   // the plan's
  planner::PlacedPlan placed;
  std::vector<std::string> notes;
};

// What was named on the command line, read as far as that goes without knowing the collective.
struct Source {
  std::string given;
  std::string file;                            // empty: the name of a candidate
  std::string text;                            // of the file
  std::string algorithm;                       // of a candidate, or of a graph with several plans
  std::optional<plan::Collective> collective;  // that the file's plan is for
  bool is_graph = false;                       // NCCL's graph XML
  planner::PlacedPlan placed;                  // of a plan or a certificate
  std::optional<topology::Graph> placed_on;    // of a certificate
};

// A file, or one with ":ring" or ":tree" behind it, or a candidate's name. Throws InvalidArgument
// as the file's reader does.
Source open_source(const std::string& given);

// Both sides for one collective. Throws InvalidArgument naming what was given when its collective
// or its ranks are others, or when it is no file and no candidate.
std::vector<Contender> contenders(const Arena& arena, std::vector<Source> sources,
                                  plan::Collective collective);

}  // namespace tutti::command
