// SPDX-License-Identifier: Apache-2.0
// Escape sequences that every terminal of the last decades knows.
#include "perf/screen.h"

#include <fcntl.h>
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
constexpr int kShortMs = 500;

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

Screen::Screen()
    : terminal_(::open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {
  if (!terminal_) throw system_error("can't open the terminal of standard output", errno);
  sigset_t handled;
  sigemptyset(&handled);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH})
    sigaddset(&handled, number);
  signals_ = FileDescriptor(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) throw system_error("can't make a signalfd", errno);
  ::sigprocmask(SIG_BLOCK, &handled, &before_);
  put(kEnter, Patience::kUntilSignal);
}

Screen::~Screen() {
  put(kLeave, Patience::kShort);
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

// Never blocks for longer than until the next signal: a terminal may be held up (Ctrl-S) or hang.
void Screen::put(std::string_view text, Patience patience) const {
  const bool until_signal = patience == Patience::kUntilSignal;
  while (!text.empty()) {
    pollfd polled[] = {{terminal_.get(), POLLOUT, 0}, {signals_.get(), POLLIN, 0}};
    const int ready = ::poll(polled, until_signal ? 2 : 1, until_signal ? -1 : kShortMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || (polled[0].revents & POLLOUT) == 0 || polled[1].revents != 0) return;
    const ssize_t done = ::write(terminal_.get(), text.data(), text.size());
    if (done < 0 && (errno == EINTR || (errno == EAGAIN && until_signal))) continue;
    if (done <= 0) return;  // the terminal is gone; SIGHUP follows
    text.remove_prefix(static_cast<size_t>(done));
  }
}

// As the terminal's suspend key asks for; goes on when the shell continues the process.
void Screen::suspend() const {
  put(kLeave, Patience::kShort);
  ::raise(SIGSTOP);
  put(kEnter, Patience::kUntilSignal);
}

void Screen::draw(const std::vector<std::string>& lines) {
  put(frame_text(lines, size_of_terminal()), Patience::kUntilSignal);
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
