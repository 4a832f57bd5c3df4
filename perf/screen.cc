// SPDX-License-Identifier: Apache-2.0
// Escape sequences that every terminal of the last decades knows.
#include "perf/screen.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include <spdlog/fmt/fmt.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/wait.h"

namespace tutti::command {
namespace {

constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view kHome = "\x1b[H";
constexpr std::string_view kClearLine = "\x1b[K";
constexpr std::string_view kClearRest = "\x1b[J";

void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = ::write(STDOUT_FILENO, text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return;  // the terminal is gone; SIGHUP follows
    text.remove_prefix(static_cast<size_t>(done));
  }
}

ScreenSize size_of_terminal() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {};
  return {size.ws_col, size.ws_row};
}

}  // namespace

std::string frame_text(const std::vector<std::string>& lines, const ScreenSize& size) {
  const bool all_fit = lines.size() <= size.rows;
  const size_t shown = all_fit ? lines.size() : size.rows - 1;
  std::string text(kHome);
  for (size_t i = 0; i < shown; ++i) {
    text += lines[i].substr(0, size.columns);
    text += kClearLine;
    if (i + 1 < size.rows) text += "\r\n";
  }
  if (!all_fit) {
    text += fmt::format("... {} more lines", lines.size() - shown).substr(0, size.columns);
    text += kClearLine;
  }
  if (shown < size.rows && all_fit) text += kClearRest;
  return text;
}

Screen::Screen() {
  sigset_t handled;
  sigemptyset(&handled);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH})
    sigaddset(&handled, number);
  signals_ = FileDescriptor(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) throw system_error("can't make a signalfd", errno);
  ::sigprocmask(SIG_BLOCK, &handled, &before_);
  enter();
}

Screen::~Screen() {
  leave();
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

void Screen::enter() const { put(kEnter); }
void Screen::leave() const { put(kLeave); }

// As the terminal's suspend key asks for; goes on when the shell continues the process.
void Screen::suspend() const {
  leave();
  ::raise(SIGSTOP);
  enter();
}

void Screen::draw(const std::vector<std::string>& lines) {
  put(frame_text(lines, size_of_terminal()));
}

bool Screen::wait(int64_t ns) {
  const Deadline deadline = Deadline::after_ns(ns);
  pollfd polled{signals_.get(), POLLIN, 0};
  while (!deadline.expired()) {
    const int64_t ms = (deadline.left_ns() + kNsPerMs - 1) / kNsPerMs;
    if (::poll(&polled, 1, static_cast<int>(std::min<int64_t>(ms, 1 << 30))) <= 0) continue;
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == SIGWINCH) return true;
    if (number == SIGTSTP) {
      suspend();
      return true;
    }
    ended_by_ = number;
    return false;
  }
  return true;
}

}  // namespace tutti::command
