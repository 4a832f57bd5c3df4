// SPDX-License-Identifier: Apache-2.0
// Takes the signals of `tutti run` through a descriptor instead of handlers.
#pragma once

#include <signal.h>

#include <string>

#include "src/base/file.h"

namespace tutti::command {

// While it lives the signals that a job passes on, and SIGCHLD, are blocked and wait at fd();
// SIGPIPE is ignored. Signals that were ignored before (nohup) stay ignored.
class SignalGate {
 public:
  SignalGate();
  ~SignalGate();
  SignalGate(const SignalGate&) = delete;
  SignalGate& operator=(const SignalGate&) = delete;

  int fd() const { return fd_.get(); }
  const sigset_t& mask_before() const { return mask_before_; }
  int take() const;  // the next signal; 0 when there is none

 private:
  sigset_t mask_before_{};
  void (*child_action_before_)(int) = SIG_DFL;
  void (*pipe_action_before_)(int) = SIG_DFL;
  FileDescriptor fd_;
};

std::string signal_text(int number);  // "signal 9 (SIGKILL)"

}  // namespace tutti::command
