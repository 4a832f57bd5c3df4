// SPDX-License-Identifier: Apache-2.0
// Pipes to and from a remote shell.
#include "perf/hosts/host_link.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <sys/wait.h>

#include "perf/signal_gate.h"
#include "perf/spawn.h"
#include "perf/terminal_input.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

constexpr size_t kReadBytes = size_t{64} << 10;
constexpr size_t kSaidBytes = 2048;  // of a remote shell's messages, for ours
constexpr int kDrainReads = 64;      // others may hold the pipes of a shell that has ended

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \r\n\t");
  if (end == std::string::npos) return "";
  const size_t newline = text.rfind('\n', end);
  const size_t begin = newline == std::string::npos ? 0 : newline + 1;
  return text.substr(begin, end + 1 - begin);
}

}  // namespace

HostLink::HostLink(HostShare share, const std::vector<std::string>& command, LineSink& messages,
                   const sigset_t& signal_mask)
    : share_(std::move(share)),
      shell_(command.at(0)),
      messages_(fmt::format("[{}] ", share_.name), messages),
      heard_at_ns_(now_ns()) {
  const std::optional<std::string> path = find_program(command[0]);
  if (!path) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("can't find \"{}\", the remote shell, beside tutti or on PATH; name "
                            "one by --rsh or TUTTI_RSH",
                            command[0]));
  }
  Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  pid_ = spawn({.path = *path,
                .arguments = command,
                .variables = {},
                .cpus = {},
                .stdin_fd = in.read_end.get(),
                .stdout_fd = out.write_end.get(),
                .stderr_fd = err.write_end.get(),
                .signal_mask = signal_mask});
  for (const FileDescriptor* fd : {&in.write_end, &out.read_end, &err.read_end})
    set_nonblocking(fd->get());
  to_ = std::move(in.write_end);
  from_ = std::move(out.read_end);
  err_ = std::move(err.read_end);
  to_agent_ = LineSink(to_.get());
}

HostLink::~HostLink() {
  if (state_ == State::kGone) return;
  kill_shell();
  waitpid(pid_, nullptr, 0);
}

void HostLink::say(FrameKind kind, int32_t rank, std::string_view payload) {
  if (to_) to_agent_.add(encode(kind, rank, payload));
}

void HostLink::close(int64_t patience_ns) {
  if (!up()) return;
  state_ = State::kClosing;
  kill_at_ = Deadline::after_ns(patience_ns);
  if (to_agent_.empty()) to_.reset();
}

void HostLink::kill_shell() {
  if (state_ != State::kGone) kill(-pid_, SIGKILL);
  kill_at_ = Deadline::never();
}

void HostLink::add_to(std::vector<pollfd>& polled, bool want_output) const {
  polled.push_back({to_agent_.empty() ? -1 : to_.get(), POLLOUT, 0});
  polled.push_back({want_output ? from_.get() : -1, POLLIN, 0});
  polled.push_back({want_output ? err_.get() : -1, POLLIN, 0});
}

void HostLink::on_ready(const pollfd* polled) {
  if (polled[0].revents != 0) {
    to_agent_.write_some();
    // A closed one: the end of the shell says why.
    if (to_agent_.closed() || (to_agent_.empty() && state_ == State::kClosing)) to_.reset();
  }
  if (polled[1].revents != 0) read_output();
  if (polled[2].revents != 0) read_messages();
}

bool HostLink::read_output() {
  std::array<char, kReadBytes> buffer;
  const ssize_t got = read(from_.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    from_.reset();
    return false;
  }
  heard_at_ns_ = now_ns();
  frames_.add({buffer.data(), static_cast<size_t>(got)});
  return true;
}

bool HostLink::read_messages() {
  std::array<char, kReadBytes> buffer;
  const ssize_t got = read(err_.get(), buffer.data(), buffer.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (got <= 0) {
    err_.reset();
    return false;
  }
  const std::string_view text(buffer.data(), static_cast<size_t>(got));
  if (greeted_) messages_.add(text);
  said_ += text;
  if (said_.size() > kSaidBytes) said_.erase(0, said_.size() - kSaidBytes);
  return true;
}

std::optional<Frame> HostLink::next_frame() {
  if (!greeted_) {
    greeted_ = frames_.skip_to_greeting();
    if (!greeted_) return std::nullopt;
    said_.clear();
  }
  return frames_.next();
}

std::optional<HostLink::State> HostLink::reap() {
  if (state_ == State::kGone || waitpid(pid_, &wait_status_, WNOHANG) != pid_) return std::nullopt;
  const State before = std::exchange(state_, State::kGone);
  for (int i = 0; i < kDrainReads && from_ && read_output(); ++i) {
  }
  for (int i = 0; i < kDrainReads && err_ && read_messages(); ++i) {
  }
  messages_.finish();
  to_.reset();
  from_.reset();
  err_.reset();
  kill_at_ = Deadline::never();
  return before;
}

std::string HostLink::end_text() const {
  const std::string how = WIFSIGNALED(wait_status_)
                              ? "was killed by " + signal_text(WTERMSIG(wait_status_))
                              : fmt::format("exited with status {}", WEXITSTATUS(wait_status_));
  const std::string line = last_line(said_);
  return fmt::format("{} {}{}", shell_, how, line.empty() ? "" : ": " + line);
}

}  // namespace tutti::command
