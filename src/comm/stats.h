// SPDX-License-Identifier: Apache-2.0
// What a communicator has done so far, published after each operation for readers on any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/exec/task.h"

namespace tutti::comm {

// One writer (the owner of the communicator's progress). All relaxed: each value is a statistic of
// its own.
class Stats {
 public:
  // An operation has completed. `algorithm`: a literal or table entry, null when no plan ran.
  // Returns 0, or 1 + the most direct kind of message that it sent.
  int publish(const exec::TrafficCounters& counters, const char* algorithm) noexcept {
    int protocol = 0;
    for (size_t kind = 0; kind < transport::kMessageKinds; ++kind) {
      if (counters.messages[kind] != messages_[kind].load(std::memory_order_relaxed)) {
        protocol = static_cast<int>(kind) + 1;
        messages_[kind].store(counters.messages[kind], std::memory_order_relaxed);
        bytes_[kind].store(counters.bytes[kind], std::memory_order_relaxed);
      }
    }
    operations_.store(operations_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    protocol_.store(protocol, std::memory_order_relaxed);
    if (algorithm != nullptr) algorithm_.store(algorithm, std::memory_order_relaxed);
    return protocol;
  }

  uint64_t operations() const noexcept { return operations_.load(std::memory_order_relaxed); }
  uint64_t messages(size_t kind) const noexcept {
    return messages_[kind].load(std::memory_order_relaxed);
  }
  uint64_t bytes(size_t kind) const noexcept {
    return bytes_[kind].load(std::memory_order_relaxed);
  }
  const char* algorithm() const noexcept { return algorithm_.load(std::memory_order_relaxed); }
  // Of the last operation: the most direct kind of message that it sent.
  const char* protocol() const noexcept {
    static constexpr const char* kNames[] = {"none", "inline", "staged", "mapped", "pulled"};
    return kNames[protocol_.load(std::memory_order_relaxed)];
  }

 private:
  std::atomic<uint64_t> operations_{0};
  std::array<std::atomic<uint64_t>, transport::kMessageKinds> messages_{};
  std::array<std::atomic<uint64_t>, transport::kMessageKinds> bytes_{};
  std::atomic<const char*> algorithm_{""};
  std::atomic<int> protocol_{0};
};

}  // namespace tutti::comm
