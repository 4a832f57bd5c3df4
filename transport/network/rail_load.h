// SPDX-License-Identifier: Apache-2.0
// How fast one rail carries frames to a peer, and what waits on it: decides the rails' shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::transport::network {

// Observed at each decision and every kObserveNs while somebody waits. A speed is learnt while
// there is always something to carry; what is delivered at less than full load only says that the
// rail is at least that fast.
class RailLoad {
 public:
  static constexpr int64_t kObserveNs = 200'000;  // acknowledgements come in lumps
  // `handed_bytes`: given to the rail's paths so far; `backlog_bytes`: of those, not delivered yet.
  void observe(int64_t now, uint64_t handed_bytes, size_t backlog_bytes) noexcept;
  // The rail's paths have changed, so the sums above start anew; the speed stays.
  void restart() noexcept { seen_ns_ = counted_ns_ = busy_ns_ = 0, busy_bytes_ = 0; }
  // A rail without load for a while may have become faster.
  void trust(int64_t now, double fastest) noexcept;
  // ns until `bytes` more have been delivered. `fastest`: of all rails, for one that is not known.
  double finish_ns(size_t bytes, double fastest) const noexcept {
    return static_cast<double>(backlog_ + bytes) / (speed_ > 0 ? speed_ : fastest);
  }
  double bytes_per_ns() const noexcept { return speed_; }  // 0: not known

 private:
  void count(int64_t now, uint64_t bytes) noexcept;

  double speed_ = 0;
  size_t backlog_ = 0;
  int64_t seen_ns_ = 0;  // the last observation; 0: none
  uint64_t seen_delivered_ = 0;
  size_t seen_backlog_ = 0;
  int64_t counted_ns_ = 0;  // how far this time under load has been counted; 0: there was no load
  bool delivers_ = false;   // something has been delivered in it
  int64_t busy_ns_ = 0;     // counted since the last sample of the speed
  uint64_t busy_bytes_ = 0;
  int64_t learnt_ns_ = 0;  // when the speed was last learnt or trusted
};

}  // namespace tutti::transport::network
