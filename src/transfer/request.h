// SPDX-License-Identifier: Apache-2.0
// One call of putv or getv.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/transfer/mover.h"

namespace tutti::transfer {

enum class Kind : uint8_t { kPut, kGet };
enum class Route : uint8_t {
  kNetwork,  // frames
  kCopy,     // this process moves the bytes itself
  kPull,     // the other process reads them out of this one
};

struct Descriptor {
  std::byte* local = nullptr;
  uint32_t region = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// What a put adds to one of the target's counters; value 0: nothing.
struct Signal {
  uint64_t value = 0;
  uint32_t counter = 0;
};

class RemoteAgent;

// Under the agent's lock, except where said.
struct Request {
  Request(std::shared_ptr<RemoteAgent> remote, Kind kind, std::vector<Descriptor> ranges,
          Signal signal)
      : remote(std::move(remote)), kind(kind), ranges(std::move(ranges)), signal(signal) {
    for (const Descriptor& range : this->ranges) total_bytes += range.bytes;
  }
  const std::shared_ptr<RemoteAgent> remote;  // shared: the user may let go of the peer first
  const Kind kind;
  const std::vector<Descriptor> ranges;
  const Signal signal;
  uint64_t total_bytes = 0;
  uint64_t number = 0;  // of the operation, from 1
  // Changes once, from kPull to kNetwork, under the lock; waiters look whether it is kCopy without.
  std::atomic<Route> route{Route::kNetwork};

  // kNetwork: the next byte to hand to a path.
  size_t range = 0;
  uint64_t offset = 0;
  uint64_t arrived_bytes = 0;  // of a get
  bool offered = false;        // kPull: the other process may be reading, it has not answered
  // It is to end with this, once nothing touches its memory any more.
  bool closing = false;
  StatusCode closing_code = StatusCode::kOk;
  std::string closing_why;

  std::weak_ptr<LocalWork> work;  // kCopy: while the mover has it

  // What the other process looks at while it reads: a number that nobody else has, 0 once the
  // memory is the user's again. seq_cst: the user's next writes come after it.
  std::atomic<uint64_t> pull_word{0};

  // Written before `ended`, whose release pairs with the acquire in has_ended().
  StatusCode code = StatusCode::kOk;
  std::string why;
  std::atomic<bool> ended{false};
  bool has_ended() const noexcept { return ended.load(std::memory_order_acquire); }
  // The first end counts.
  void end(StatusCode end_code, std::string end_why) noexcept {
    if (ended.load(std::memory_order_relaxed)) return;
    code = end_code;
    why = std::move(end_why);
    ended.store(true, std::memory_order_release);
  }
  void close_with(StatusCode with_code, std::string with_why) noexcept {
    if (std::exchange(closing, true)) return;
    closing_code = with_code;
    closing_why = std::move(with_why);
  }
};

}  // namespace tutti::transfer
