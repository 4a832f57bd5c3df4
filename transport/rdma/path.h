// SPDX-License-Identifier: Apache-2.0
// One path: a queue pair to a peer, with the side channel that tells when the peer has gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/network/carrier.h"
#include "transport/rdma/core.h"
#include "transport/rdma/handshake.h"
#include "transport/rdma/manager.h"
#include "transport/rdma/queue_pair.h"
#include "transport/rdma/receiver.h"
#include "transport/rdma/sender.h"

namespace tutti::transport::rdma {

class RdmaPath final : public network::Path {
 public:
  // Who dials: begins to visit the peer. Throws Error.
  RdmaPath(Core& core, Rail& rail, uint8_t peer_rail, const CarrierAddress& peer, int peer_rank,
           network::FrameSink& sink);
  // Who was dialled, connected by hand: the queue pair is there when it returns. Throws Error.
  RdmaPath(Core& core, Rail& rail, const QueuePairFacts& peer, network::FrameSink& sink);
  // Who was dialled by rdma_cm. Throws Error.
  RdmaPath(Core& core, Rail& rail, const QueuePairFacts& peer, std::unique_ptr<ManagerId> id,
           network::FrameSink& sink);
  ~RdmaPath() override;

  bool send(const network::OutgoingFrame& frame) noexcept override;
  size_t backlog_bytes() const noexcept override { return sender_ ? sender_->backlog_bytes() : 0; }
  uint64_t delivered_bytes() const noexcept override {
    return sender_ ? sender_->delivered_bytes() : 0;
  }
  bool refused() const noexcept override { return refused_; }
  size_t max_payload_bytes() const noexcept override { return kMaxPayloadBytes; }
  int rail() const noexcept override { return rail_index_; }
  std::string describe() const override;
  std::string rail_name() const override { return rail_.name(); }
  bool sabotage() noexcept override;

  uint32_t id() const noexcept { return id_; }
  Rail& port() const noexcept { return rail_; }
  bool uses(const ibv_qp* pair) const noexcept { return pair_ && pair_->get() == pair; }
  QueuePairFacts own_facts() const noexcept;
  void keep(WatchedSocket side_channel) noexcept;

  // All of these may call the sink. `why` of what breaks the path.
  void on_completion(const ibv_wc& completion) noexcept;
  void on_descriptor() noexcept;  // of the side channel
  void on_manager(const rdma_cm_event& event) noexcept;
  // At the end of a progress(): posts receives, sends what waits, tells who waits.
  void settle() noexcept;
  void fail(const std::string& why) noexcept;
  // Now and then: asks whether the peer's device is there.
  void probe() noexcept;
  // Before it is open: moves on the handshake.
  void step() noexcept;
  bool connecting() const noexcept {
    return state_ == State::kVisiting || state_ == State::kJoining;
  }
  bool open() const noexcept { return state_ == State::kOpen; }

  static constexpr size_t kMaxPayloadBytes = size_t{16} << 20;

 private:
  enum class State : uint8_t {
    kVisiting,  // the side channel is being opened
    kJoining,   // rdma_cm connects
    kOpen,
    kBroken,
  };
  RdmaPath(Core& core, Rail& rail, int peer_rank, network::FrameSink& sink);
  void make_pair();
  void visited();
  void opened(bool by_hand);
  void failed_completion(const ibv_wc& completion) noexcept;
  void linger() noexcept;

  Core& core_;
  Rail& rail_;
  const int rail_index_;
  const uint32_t id_;
  int peer_rank_;
  State state_ = State::kVisiting;
  uint32_t number_ = 0;  // of the queue pair, also when that is gone
  QueuePairFacts peer_{};
  RailAddress peer_rail_address_{};  // of who dials
  Token token_{};
  std::unique_ptr<Visitor> visitor_;
  std::unique_ptr<ManagerId> manager_id_;  // where rdma_cm connects
  std::unique_ptr<QueuePair> pair_;
  std::unique_ptr<Sender> sender_;  // refers to the queue pair
  std::optional<Receiver> receiver_;
  WatchedSocket side_;
  std::vector<uint64_t> finished_;
  bool touched_ = false;
  bool refused_ = false;
};

// A queue pair whose path has been closed while its last messages are on their way.
struct Lingering {
  std::unique_ptr<ManagerId> manager_id;
  std::unique_ptr<QueuePair> pair;
  std::unique_ptr<Sender> sender;  // refers to the queue pair
  WatchedSocket side;
  Deadline until = Deadline::never();
};

}  // namespace tutti::transport::rdma
