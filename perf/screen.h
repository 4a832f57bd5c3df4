// SPDX-License-Identifier: Apache-2.0
// A terminal that one command redraws in place.
#pragma once

#include <signal.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file.h"

namespace tutti::command {

struct ScreenSize {
  size_t columns = 80;
  size_t rows = 24;
};

// While it lives the terminal shows its alternate screen and no cursor; signals wait at a
// descriptor. The terminal is as before afterwards, and while the process is stopped.
class Screen {
 public:
  Screen();  // throws SystemError
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // Lines longer than the terminal are cut; those that do not fit are counted.
  void draw(const std::vector<std::string>& lines);
  // Waits until it is time to draw again. False: the user wants to end.
  bool wait(int64_t ns);
  // The signal that ended the waiting; 0: none.
  int ended_by() const noexcept { return ended_by_; }

 private:
  enum class Patience { kUntilSignal, kShort };
  void put(std::string_view text, Patience patience) const;
  void suspend() const;

  sigset_t before_{};
  FileDescriptor terminal_;  // standard output opened anew, so that only we don't block on it
  FileDescriptor signals_;
  int ended_by_ = 0;
};

// `lines` as the terminal gets them.
std::string frame_text(const std::vector<std::string>& lines, const ScreenSize& size);

}  // namespace tutti::command
