// SPDX-License-Identifier: Apache-2.0
// Draws in one line of the terminal.
#include "perf/tune/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"

namespace tutti::command {
namespace {

constexpr size_t kBarWidth = 32;
constexpr int64_t kRedrawNs = 100 * kNsPerMs;
constexpr const char* kClear = "\r\x1b[K";

}  // namespace

std::string bar_text(size_t done, size_t steps, int64_t elapsed_ns, const std::string& what) {
  const double share =
      steps == 0 ? 1 : std::min(1.0, static_cast<double>(done) / static_cast<double>(steps));
  const auto filled = static_cast<size_t>(share * kBarWidth);
  std::string text = fmt::format("[{}{}] {:3.0f} %", std::string(filled, '#'),
                                 std::string(kBarWidth - filled, '.'), share * 100);
  if (share > 0.02 && share < 1) {
    const double left_ns = static_cast<double>(elapsed_ns) * (1 - share) / share;
    text += fmt::format("  {:.0f} s left", left_ns / static_cast<double>(kNsPerSecond));
  }
  return text + "  " + what;
}

Progress::Progress(size_t steps, bool quiet)
    : steps_(steps),
      show_(quiet                          ? Show::kNothing
            : ::isatty(STDERR_FILENO) == 1 ? Show::kBar
                                           : Show::kLines),
      began_ns_(now_ns()) {}

Progress::~Progress() { erase(); }

void Progress::begin(std::string what) {
  what_ = std::move(what);
  if (show_ == Show::kLines) fmt::print(stderr, "{}\n", what_);
  draw();
}

void Progress::step() {
  done_ = std::min(done_ + 1, steps_);
  if (now_ns() - drawn_ns_ >= kRedrawNs) draw();
}

void Progress::draw() {
  if (show_ != Show::kBar) return;
  drawn_ns_ = now_ns();
  fmt::print(stderr, "{}{}", kClear, bar_text(done_, steps_, drawn_ns_ - began_ns_, what_));
  std::fflush(stderr);
}

void Progress::erase() const {
  if (show_ == Show::kBar) fmt::print(stderr, "{}", kClear);
}

}  // namespace tutti::command
