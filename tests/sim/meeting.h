// SPDX-License-Identifier: Apache-2.0
// Stands for the rendezvous: gathers every rank's bytes while communicators are made.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/sim/world.h"

namespace tutti::sim {

class Meeting {
 public:
  using Blobs = std::vector<std::vector<std::byte>>;
  // `members` are ranks of the world, by their seats.
  void begin(World& world, std::vector<int> members, int64_t timeout_ns);
  int n_ranks() const noexcept { return static_cast<int>(members_.size()); }
  // As comm::Exchange. Throws RemoteError when a rank has died or does not come in time.
  Blobs gather(int seat, std::span<const std::byte> mine);

 private:
  struct Round {
    Blobs blobs;
    uint32_t came = 0;  // mask of seats
  };
  static constexpr size_t kRounds = 2;

  World* world_ = nullptr;
  std::vector<int> members_;
  int64_t timeout_ns_ = 0;
  std::array<Round, kRounds> rounds_;
  std::array<size_t, kMaxRanks> round_of_{};
  std::atomic<uint32_t> arrivals_{0};  // what the ranks sleep on
};

}  // namespace tutti::sim
