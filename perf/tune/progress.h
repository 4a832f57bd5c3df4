// SPDX-License-Identifier: Apache-2.0
// How far a long command is: a bar on a terminal, a few lines elsewhere. On standard error.
#pragma once

#include <cstdint>
#include <string>

namespace tutti::command {

class Progress {
 public:
  // Of so many steps of about the same length. `quiet`: shows nothing.
  Progress(size_t steps, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Names what the next steps are about.
  void begin(std::string what);
  void step();

 private:
  enum class Show : uint8_t { kBar, kLines, kNothing };
  void draw();
  void erase() const;

  size_t steps_;
  size_t done_ = 0;
  Show show_;
  std::string what_;
  int64_t began_ns_;
  int64_t drawn_ns_ = 0;
};

// "[##########..............]  41 %  12 s left  8 ranks"
std::string bar_text(size_t done, size_t steps, int64_t elapsed_ns, const std::string& what);

}  // namespace tutti::command
