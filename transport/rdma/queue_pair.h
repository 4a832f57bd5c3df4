// SPDX-License-Identifier: Apache-2.0
// One reliable queue pair with its memory: a ring that sends are copied into, and receive buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "src/base/config.h"
#include "src/base/memory_budget.h"
#include "transport/network/frame.h"
#include "transport/rdma/address.h"
#include "transport/rdma/device.h"

namespace tutti::transport::rdma {

// In front of every message; then the FrameHeader, then its payload or a part of it.
struct WirePrefix {
  uint32_t granted = 0;  // receives that the sender of this has posted so far, modulo 2^32
  uint32_t offset = 0;   // of these payload bytes within the frame's
  uint32_t bytes = 0;    // of payload in this message
  uint16_t kind = 0;     // WireKind
  uint16_t reserved = 0;
};
enum class WireKind : uint16_t {
  kCredit = 1,    // nothing but `granted`
  kWhole = 2,     // a frame; all of its payload is here, or has been placed
  kFragment = 3,  // a part of a frame's payload
};
struct WireMessage {
  WirePrefix prefix;
  network::FrameHeader header;
};
static_assert(sizeof(WireMessage) == 64);

inline constexpr size_t kReceiveBytes = 4096;
inline constexpr size_t kPieceBytes = kReceiveBytes - sizeof(WireMessage);  // payload per message
inline constexpr size_t kRingBytes = 256 << 10;
inline constexpr size_t kBounceBytes = 64 << 10;  // most of a payload that is copied for one write

// Memory of a ring given out in order and given back in order.
class SendRing {
 public:
  explicit SendRing(size_t bytes) : bytes_(bytes) {}
  // Offset of `bytes` (a multiple of 64) in one piece; false when there is no room. *taken counts
  // what has to be given back for them.
  bool take(size_t bytes, size_t* offset, uint32_t* taken) noexcept;
  void give_back(uint32_t taken) noexcept { used_ -= taken; }
  size_t used() const noexcept { return used_; }

 private:
  size_t bytes_;
  size_t next_ = 0;
  size_t used_ = 0;
};

struct PageDelete {
  void operator()(std::byte* p) const noexcept { ::operator delete[](p, std::align_val_t{4096}); }
};

// It is made on this process's own context of the device, also where rdma_cm connects it:
// librdmacm keeps contexts for as long as the process lives, and a forked child can't use those.
// Errors are thrown with the rail's name.
class QueuePair {
 public:
  QueuePair(Rail& rail, const RdmaConfig& config, MemoryBudget* budget);
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  // What the peer needs to know of this end.
  QueuePairFacts facts() const noexcept;
  void post_all_receives();
  // By hand: to "ready to receive" and "ready to send".
  void connect(const QueuePairFacts& peer);
  // False when it can't be moved.
  bool to_error() noexcept;

  ibv_qp* get() const noexcept { return qp_; }
  Rail& rail() const noexcept { return rail_; }
  uint32_t number() const noexcept { return qp_->qp_num; }
  uint32_t inline_bytes() const noexcept { return inline_bytes_; }
  uint32_t send_depth() const noexcept { return send_depth_; }
  uint32_t receive_depth() const noexcept { return receive_depth_; }
  std::byte* ring() const noexcept { return memory_.get(); }
  const std::byte* receive_slot(uint32_t slot) const noexcept {
    return memory_.get() + kRingBytes + size_t{slot} * kReceiveBytes;
  }
  uint32_t lkey() const noexcept { return mr_->lkey; }
  // Posts these slots again. 0 or an errno.
  int post_receives(const uint32_t* slots, size_t count) noexcept;
  void set_tag(uint32_t tag) noexcept { tag_ = tag; }
  uint32_t tag() const noexcept { return tag_; }

  static constexpr uint64_t kSendBit = uint64_t{1} << 31;

 private:
  void make();
  void to_init();
  void to_receive(const QueuePairFacts& peer);
  void to_send();
  void modify(ibv_qp_attr& attributes, int mask, const char* what);
  ibv_ah_attr way_to(const QueuePairFacts& peer) const noexcept;
  void destroy() noexcept;

  Rail& rail_;
  const RdmaConfig& config_;
  MemoryCharge charge_;
  uint32_t tag_ = 0;  // upper half of every work request's id
  uint32_t send_depth_ = 0, receive_depth_ = 0, inline_bytes_ = 0;
  uint32_t first_packet_ = 0;
  std::unique_ptr<std::byte[], PageDelete> memory_;
  CompletionQueue* queue_ = nullptr;
  ibv_mr* mr_ = nullptr;
  ibv_qp* qp_ = nullptr;
};

}  // namespace tutti::transport::rdma
