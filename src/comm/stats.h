// SPDX-License-Identifier: Apache-2.0
// How the last operation went, published after each for readers on any thread; what is counted by
// peer is in the flight recording.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <utility>

#include "src/base/traffic.h"
#include "src/exec/task.h"

namespace tutti::comm {

// One writer (the owner of the communicator's progress). All relaxed: each value is a statistic of
// its own.
class Stats {
 public:
  // An operation has completed, which `sent` says the messages of; clears it. `algorithm`: a
  // literal or table entry, null when no plan ran. Returns 0, or 1 + the most direct kind of
  // message that it sent.
  int publish(exec::SentKinds& sent, const char* algorithm) noexcept {
    const int protocol = std::bit_width(std::exchange(sent.mask, 0));
    publish(protocol, algorithm != nullptr ? algorithm : this->algorithm());
    return protocol;
  }
  // `protocol` is what the above returns. By the algorithm that is published already.
  void publish(int protocol) noexcept {
    add(operations_, 1);
    protocol_.store(protocol, std::memory_order_relaxed);
  }
  void publish(int protocol, const char* algorithm) noexcept {
    publish(protocol);
    algorithm_.store(algorithm, std::memory_order_relaxed);
  }

  uint64_t operations() const noexcept { return operations_.load(std::memory_order_relaxed); }
  const char* algorithm() const noexcept { return algorithm_.load(std::memory_order_relaxed); }
  // Of the last operation: the most direct kind of message that it sent.
  const char* protocol() const noexcept {
    static constexpr const char* kNames[] = {"none", "inline", "staged", "mapped", "pulled"};
    return kNames[protocol_.load(std::memory_order_relaxed)];
  }

 private:
  std::atomic<uint64_t> operations_{0};
  std::atomic<const char*> algorithm_{""};
  std::atomic<int> protocol_{0};
};

}  // namespace tutti::comm
