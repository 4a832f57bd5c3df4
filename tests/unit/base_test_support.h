// SPDX-License-Identifier: Apache-2.0
// Helpers of the base tests: errors as values, and children that report by exit status.
#pragma once

#include <unistd.h>

#include <optional>
#include <string>
#include <utility>

#include <sys/wait.h>

#include "src/base/error.h"

namespace tutti {

// The error that `action` throws, or nullopt.
template <typename Action>
std::optional<Error> error_of(Action&& action) {
  try {
    std::forward<Action>(action)();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

// Runs `body` in a forked child, which exits with what it returns (255 when it throws); returns the
// child's pid.
template <typename Body>
pid_t fork_child(Body&& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  try {
    ::_exit(std::forward<Body>(body)());
  } catch (...) {
    ::_exit(255);
  }
}

// The exit status of a child; 1000 + the signal when one ended it.
inline int exit_status(pid_t pid) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

}  // namespace tutti
