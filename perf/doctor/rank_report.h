// SPDX-License-Identifier: Apache-2.0
// The sections of `tutti doctor`, each made from what the library itself detects and records.
#pragma once

#include "perf/doctor/health.h"
#include "src/base/config.h"
#include "src/comm/communicator.h"

namespace tutti::command {

// The environment's configuration; the defaults when the environment can't be read, which
// environment_section() reports.
Config config_or_default();

// This process and its host. `n_ranks`: of the communicator whose needs the limits are held
// against.
RankHealth examine(int n_ranks);

Section library_section();
Section machine_section();
Section transports_section();  // can each carry messages here, and what it uses
Section limits_section(int n_ranks);
Section environment_section();        // variables in force, misspelt ones, the launcher
Section memory_section(int n_ranks);  // what a communicator takes
// A communicator that was formed and has run an AllReduce.
Section communicator_section(comm::Communicator& comm);
Section failed_section(const std::string& what);

}  // namespace tutti::command
