// SPDX-License-Identifier: Apache-2.0
// Learns a rail's speed.
#include "transport/network/rail_load.h"

#include <algorithm>

#include "src/base/clock.h"

namespace tutti::transport::network {
namespace {

constexpr int64_t kSampleNs = 25 * kNsPerMs;
constexpr size_t kLoadBytes = 16 << 10;  // a single small frame's acknowledgement may be delayed
constexpr int64_t kTrustNs = kNsPerSecond;
constexpr double kNewest = 0.25;      // weight of a sample
constexpr double kLeastSpeed = 1e-4;  // bytes per ns, of a rail that stands still
constexpr double kMoreTrust = 2;

}  // namespace

void RailLoad::observe(int64_t now, uint64_t handed_bytes, size_t backlog_bytes) noexcept {
  backlog_ = backlog_bytes;
  const uint64_t delivered = handed_bytes - std::min<uint64_t>(handed_bytes, backlog_bytes);
  const int64_t elapsed = now - seen_ns_;
  if (seen_ns_ != 0 && elapsed < kObserveNs) return;
  if (seen_ns_ != 0) {
    const uint64_t bytes = delivered - std::min(delivered, seen_delivered_);
    if (seen_backlog_ >= kLoadBytes && bytes < seen_backlog_) {  // it was never idle
      count(now, bytes);
    } else {
      counted_ns_ = 0;
      if (speed_ > 0 && elapsed >= kSampleNs)  // shorter, it may be a burst
        speed_ = std::max(speed_, static_cast<double>(bytes) / static_cast<double>(elapsed));
    }
  }
  if (busy_ns_ >= kSampleNs) {
    const double sample = static_cast<double>(busy_bytes_) / static_cast<double>(busy_ns_);
    speed_ = std::max(kLeastSpeed, speed_ > 0 ? (1 - kNewest) * speed_ + kNewest * sample : sample);
    busy_ns_ = 0;
    busy_bytes_ = 0;
    learnt_ns_ = now;
  }
  seen_ns_ = now;
  seen_delivered_ = delivered;
  seen_backlog_ = backlog_bytes;
}

// From one delivery to a later one. What comes before the first is the way there and back, which
// would make a rail that gets little look slow, and then get less.
void RailLoad::count(int64_t now, uint64_t bytes) noexcept {
  if (counted_ns_ == 0) {
    counted_ns_ = seen_ns_;
    delivers_ = false;
  }
  const bool stands_still = bytes == 0 && now - counted_ns_ >= kSampleNs;
  if (bytes == 0 && !stands_still) return;
  if (delivers_ || stands_still) {
    busy_bytes_ += bytes;
    busy_ns_ += now - counted_ns_;
  }
  delivers_ = delivers_ || bytes != 0;
  counted_ns_ = now;
}

void RailLoad::trust(int64_t now, double fastest) noexcept {
  if (speed_ == 0 || backlog_ != 0 || now - learnt_ns_ < kTrustNs) return;
  speed_ = std::max(speed_, std::min(speed_ * kMoreTrust, fastest));
  learnt_ns_ = now;
}

}  // namespace tutti::transport::network
