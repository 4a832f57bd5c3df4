// SPDX-License-Identifier: Apache-2.0
// Joins what several processes or hosts detected into one cluster.
#pragma once

#include <span>

#include "topology/report.h"

namespace tutti::topology {

// Each report's root must be a machine. The result's root is a cluster node "cluster"; machine M's
// node becomes "M" and its part P "M/P"; two different hosts of one name become "M" and "M.2".
// Reports of one host (equal non-empty host_id) become one machine: parts with equal ids are one
// part, usable CPUs unite, a value one report lacks comes from another; where they contradict, the
// earlier report's value stays and a note says so. Links between machines are the caller's to add.
// Throws InvalidArgument when there is no report, or when a root is not a machine.
Report merge_hosts(std::span<const Report> reports);

}  // namespace tutti::topology
