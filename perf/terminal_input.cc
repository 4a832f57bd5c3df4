// SPDX-License-Identifier: Apache-2.0
// Reads the terminal while this job is in its foreground.
#include "perf/terminal_input.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "src/base/error.h"

namespace tutti::command {

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw system_error("can't make a pipe", errno);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

FileDescriptor TerminalInput::open() {
  Pipe pipe = make_pipe();
  set_nonblocking(pipe.write_end.get());
  to_rank_ = std::move(pipe.write_end);
  return std::move(pipe.read_end);
}

void TerminalInput::add_to(std::vector<pollfd>& polled) const {
  if (!to_rank_) return;
  if (!pending_.empty()) {
    polled.push_back({to_rank_.get(), POLLOUT, 0});
  } else if (tcgetpgrp(STDIN_FILENO) == getpgrp()) {
    polled.push_back({STDIN_FILENO, POLLIN, 0});
  }
}

void TerminalInput::on_ready(int fd) {
  if (!to_rank_ || (fd != STDIN_FILENO && fd != to_rank_.get())) return;
  if (fd == STDIN_FILENO) {
    std::array<char, 4096> buffer;
    const ssize_t got = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got <= 0) return to_rank_.reset();
    pending_.assign(buffer.data(), static_cast<size_t>(got));
  }
  const ssize_t written = write(to_rank_.get(), pending_.data(), pending_.size());
  if (written > 0) {
    pending_.erase(0, static_cast<size_t>(written));
  } else if (errno != EAGAIN) {
    to_rank_.reset();
  }
}

}  // namespace tutti::command
