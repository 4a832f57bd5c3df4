// SPDX-License-Identifier: Apache-2.0
// Says from the recordings of all ranks why a job hangs, has failed, or is slow.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/trace/timeline.h"

namespace tutti::trace {

enum class Verdict : uint8_t {
  kHealthy,
  kStraggler,     // works, and one rank is often last
  kMissing,       // ranks without a recording
  kFailed,        // the communicator has failed; its message
  kInside,        // all have entered, and somebody does not get on
  kTransfer,      // a send, receive or wait for a signal does not end
  kNeverEntered,  // some ranks have not entered what others wait in
  kMismatch,      // the same call with other arguments
  kDiverged,      // other calls
};
const char* name(Verdict verdict) noexcept;

struct Finding {
  Verdict verdict = Verdict::kHealthy;
  uint64_t number = 0;     // of the collective that it is about
  std::vector<int> ranks;  // that it blames
  std::string text;        // without the communicator
};

struct CommFindings {
  const CommView* comm = nullptr;
  std::vector<Finding> findings;  // most telling first
  // "comm 'dp' (8 ranks): AllReduce #1205 ... ", one line per finding.
  std::string text() const;
};

// `timeline` must stay.
std::vector<CommFindings> analyse(const Timeline& timeline, const Fate& fate);

// Parts of it.
std::vector<Finding> find_disagreement(const CommView& comm);
std::vector<Finding> find_straggler(const Timeline& timeline, const CommView& comm);

}  // namespace tutti::trace
