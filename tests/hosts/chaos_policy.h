// SPDX-License-Identifier: Apache-2.0
// What the chaos switch does to the frames of one direction of one port: decides for each when, and
// how often, it goes on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace chaos {

// Order of the stages: hole, loss, rate (a queue in front of a wire), delay and jitter, reordering,
// duplication.
struct Policy {
  int64_t delay_ns = 0;
  int64_t jitter_ns = 0;  // up to so much more or less than the delay; keeps the order
  double loss = 0;        // probabilities, per frame
  double duplicate = 0;
  double reorder = 0;                // a frame is held back ...
  int64_t reorder_ns = 1'000'000;    // ... by this, and those behind it overtake
  uint64_t rate_bits = 0;            // per second; 0: as fast as it comes
  uint64_t limit_bytes = 256 << 10;  // of the queue before the wire; what finds it full is dropped
  bool hole = false;                 // everything vanishes
};

// "delay=20ms", "rate=100mbit", "loss=2%", "hole=1": changes the policy; else says what is wrong.
// "" is well.
std::string apply_setting(Policy& policy, std::string_view setting);
std::string to_text(const Policy& policy);  // as settings

// SplitMix64: small, and the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  bool chance(double probability);
  // From -width to +width.
  int64_t around_zero(int64_t width);

 private:
  uint64_t state_;
};

class Direction {
 public:
  struct Fate {
    int copies = 0;  // 0: dropped
    std::array<int64_t, 2> at_ns{};
  };
  struct Counters {
    uint64_t frames = 0, bytes = 0, lost = 0, overflowed = 0, swallowed = 0, duplicated = 0,
             held_back = 0;
  };

  explicit Direction(uint64_t seed = 0) : random_(seed) {}
  Policy policy;
  void seed(uint64_t value) { random_ = Random(value); }
  // The same seed and the same frames have the same fates: time has no part in what is drawn.
  Fate decide(int64_t now_ns, size_t bytes);
  const Counters& counters() const { return counters_; }

 private:
  Random random_;
  Counters counters_;
  int64_t wire_free_ns_ = 0;  // when the last byte of the queue is through
  int64_t last_ns_ = 0;       // when the last frame that keeps its order goes on
};

}  // namespace chaos
