// SPDX-License-Identifier: Apache-2.0
// Where a command takes a topology from: a file of any format, a synthetic line, or this machine.
#pragma once

#include <string>
#include <vector>

#include "topology/report.h"

namespace tutti::command {

struct TopologySource {
  std::string from;       // a file, "-" for the standard input, or a synthetic line
  std::vector<int> gpus;  // of its GPUs these alone, by position; empty: all
  std::string changes;    // see topology/change.h
};

// The whole text of a file, or of the standard input for "-". Throws Error naming it.
std::string read_text(const std::string& file);
// A name is a file where there is one, else a synthetic line. Throws InvalidArgument naming both
// when it is neither.
topology::Report load_topology(const TopologySource& source);
// With the changes that the source asks for.
topology::Report with_changes(topology::Report report, const TopologySource& source);

}  // namespace tutti::command
