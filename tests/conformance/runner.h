// SPDX-License-Identifier: Apache-2.0
// Runs cases on one rank of a communicator and checks every byte they may and may not have changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "perf/bench/pattern.h"
#include "tests/conformance/call.h"
#include "tests/conformance/case.h"
#include "tests/conformance/device_arena.h"
#include "tutti/tutti.h"

namespace tutti::conformance {

// What one rank says of one case. In memory shared between processes: trivially copyable.
struct Report {
  enum State : int32_t { kNotRun = 0, kPassed = 1, kFailed = 2 };
  int32_t state = kNotRun;
  bool algorithm_matches = false;
  bool transport_matches = false;
  uint64_t bytes[4] = {};  // sent, by kind of message: inline, staged, mapped, pulled
  char text[240] = {};     // why it failed
};

// Does the sum of the ranks' reports show that the requested algorithm, protocol and transport
// carried the bytes?
bool counts(const Case& c, const Report* reports, int n_ranks);

// Options of the communicator for a case's group; its strings are the case's.
tuttiConfig_t config_for(const Case& c, int rank);

class Runner {
 public:
  // `first`: a case of the group that the communicator was made for.
  Runner(tuttiComm_t comm, int rank, const Case& first);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  void run(const Case& c, Report* report);

 private:
  void call_and_check(const Case& c, Report* report);
  void place(const Case& c, Call& call);
  // Makes the call, and waits for it.
  void make(const Case& c, const Call& call, tuttiRedOp_t op);
  void check(const Case& c, const Call& call);
  static void check_guards(const std::byte* buffer, size_t bytes);

  tuttiComm_t comm_;
  int rank_;
  int n_ranks_;
  std::string transport_;
  bench::Patterns patterns_;
  std::unique_ptr<std::byte[]> private_;  // not zeroed
  std::byte* shared_ = nullptr;
  std::unique_ptr<DeviceArena> on_device_;  // null: a host rank
};

}  // namespace tutti::conformance
