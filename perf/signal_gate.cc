// SPDX-License-Identifier: Apache-2.0
// signalfd and the dispositions around it.
#include "perf/signal_gate.h"

#include <string.h>
#include <unistd.h>

#include <cerrno>

#include <spdlog/fmt/fmt.h>
#include <sys/signalfd.h>

#include "src/base/error.h"

namespace tutti::command {

SignalGate::SignalGate() {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int number :
       {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT}) {
    struct sigaction now {};
    sigaction(number, nullptr, &now);
    if (number == SIGCHLD || now.sa_handler != SIG_IGN) sigaddset(&handled, number);
  }
  fd_ = FileDescriptor(signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw system_error("can't make a signalfd", errno);
  sigprocmask(SIG_BLOCK, &handled, &mask_before_);
  child_action_before_ = signal(SIGCHLD, SIG_DFL);  // an inherited SIG_IGN would hide exit statuses
  pipe_action_before_ = signal(SIGPIPE, SIG_IGN);
}

SignalGate::~SignalGate() {
  signal(SIGPIPE, pipe_action_before_);
  signal(SIGCHLD, child_action_before_);
  sigprocmask(SIG_SETMASK, &mask_before_, nullptr);
}

int SignalGate::take() const {
  signalfd_siginfo info{};
  return read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
}

std::string signal_text(int number) {
  const char* name = sigabbrev_np(number);
  return name == nullptr ? fmt::format("signal {}", number)
                         : fmt::format("signal {} (SIG{})", number, name);
}

}  // namespace tutti::command
