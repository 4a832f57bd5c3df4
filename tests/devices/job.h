// SPDX-License-Identifier: Apache-2.0
// The ranks of a job, as processes or as threads of one process, and what they tell whoever watches
// them. The watching process uses no GPU: a driver that it had initialised would not work in
// theirs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tutti/tutti.h"

namespace tutti::devices {

inline constexpr int kMostRanks = 8;

// What is wrong, found by a rank.
class Trouble : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Result {
  std::atomic<int> state;  // release by the rank, acquire by who watches: 0 runs, 1 good, 2 bad
  char text[600];
};

// In memory that all processes of the job share; zeroed at first.
struct Board {
  std::atomic<int> id_ready;  // release by who made the id, acquire by who uses it
  tuttiUniqueId id;
  std::atomic<int64_t> event_ns;  // when what the trial is about has happened; 0: not yet
  std::atomic<int> ready;         // ranks that have come to where it may happen
  Result results[kMostRanks];
};

struct Job {
  int n = 2;
  bool threads = false;  // else processes
  int victim = -1;       // does not come back by itself
  std::function<void(Board&, int rank)> body;
  // By the watching process while the ranks run, again and again.
  std::function<void(Board&, const std::vector<pid_t>&)> meanwhile;
};

// "" when every rank but the victim was good, else what was not.
std::string run(const Job& job);

int64_t now_ns();
double seconds_since(int64_t ns);
void nap();
// Throws Trouble when it takes more than half a minute.
void await(const std::function<bool()>& condition, const char* what);

}  // namespace tutti::devices
