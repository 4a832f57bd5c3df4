// SPDX-License-Identifier: Apache-2.0
// Starts one process of a `tutti run` job.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace tutti::command {

struct SpawnRequest {
  std::string path;                           // of the program, with a slash
  const std::vector<std::string>& arguments;  // arguments[0] is the name the user gave
  std::vector<std::string> variables;         // "NAME=value", replacing those of the same name
  std::vector<int32_t> cpus;                  // to run on; empty: wherever this process may
  int stdin_fd = 0;
  int stdout_fd = 1;
  int stderr_fd = 2;
  const sigset_t& signal_mask;
};

// The process leads a process group of its own and is killed when this thread ends. When it
// returns, exec has succeeded; else throws InvalidArgument (the program can't be run) or
// SystemError (no process).
pid_t spawn(const SpawnRequest& request);

// A program by path, or by name beside this executable and then on PATH; nullopt when there is
// none.
std::optional<std::string> find_program(const std::string& name);

// Lets this process have at least `needed` descriptors, as far as the system allows.
void raise_file_limit(size_t needed);

}  // namespace tutti::command
