// SPDX-License-Identifier: Apache-2.0
// The connections of one rank, made when a program first needs them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/comm/notice.h"
#include "src/comm/transports.h"
#include "src/exec/task.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

// Point-to-point calls use channels of their own, so that they never mix with a collective's
// messages.
inline constexpr int kP2pChannel = 1 << 15;

// Owned by the communicator's progress. Where kernels move the messages, the thread that watches
// them takes part, also while the owner makes connections: only the owner changes the maps, and
// what it has handed over is all that others use, under the lock.
class Links {
 public:
  // Messages are counted in the recording. `devices`: by rank, whether it is one of a GPU.
  Links(const Transports& transports, uint64_t comm_id, trace::Recorder& recorder, int rank,
        const transport::FifoLayout& layout, std::vector<bool> devices)
      : transports_(transports),
        recorder_(recorder),
        comm_id_(comm_id),
        rank_(rank),
        layout_(layout),
        devices_(std::move(devices)) {}

  // The sending end to a peer; started on first use, ready() tells when it may carry messages.
  // Throws Error.
  transport::SendConnection& send_to(int peer, int channel) {
    return send_to(peer, channel, layout_);
  }
  // The same with slots of its own.
  transport::SendConnection& send_to(int peer, int channel, const transport::FifoLayout& layout);
  // The receiving end from a peer; null while the peer has not started it. Throws Error.
  transport::RecvConnection* try_recv_from(int peer, int channel);

  // Frees all connections of a channel, at this end. The peers send nothing on it any more, and it
  // is not used again.
  void close(int channel) noexcept;

  // Numbers the next `n` sends to the peer, or receives from it, outside of collectives; returns
  // the first number.
  uint32_t count_p2p(int peer, bool is_send, uint32_t n) {
    uint32_t& next = p2p_counts_[key(peer, is_send ? 1 : 0)];
    return std::exchange(next, next + n);
  }

  // Null when there has been none.
  uint32_t* p2p_count(int peer, bool is_send) noexcept {
    const auto at = p2p_counts_.find(key(peer, is_send ? 1 : 0));
    return at == p2p_counts_.end() ? nullptr : &at->second;
  }
  // Made before and ready to be used; else null.
  transport::SendConnection* find_send(int peer, int channel) noexcept {
    const auto at = sends_.find(key(peer, channel));
    bool ready = false;
    const bool usable = at != sends_.end() && at->second->ready(&ready).ok() && ready;
    return usable ? at->second.get() : nullptr;
  }
  transport::RecvConnection* find_recv(int peer, int channel) noexcept {
    const auto at = recvs_.find(key(peer, channel));
    return at == recvs_.end() ? nullptr : at->second.get();
  }

  // Tells the other end of every connection, once, that this rank has given up: of those handed
  // over, where some have been. Afterwards no thread of this process reads memory that this rank
  // has sent by reference. Any thread, where kernels move the messages.
  void announce(const Notice& notice) noexcept;
  // What the other end of a connection has announced, if it concerns a rank at this
  // position.
  std::optional<Notice> notice(uint16_t position) const noexcept;
  // By the owner: kernels use the connections that are ready by now. Cheap when none is new.
  void hand_over();
  // These two by the thread that watches kernels. Every millisecond while they run: does what they
  // can't, carries their messages over networks and wakes host ranks that sleep until one comes or
  // is consumed.
  void serve_peers() noexcept;
  // As notice(), of the connections that were handed over.
  std::optional<Notice> notice_to_kernels(uint16_t position) const noexcept;
  // Complete when the peers have consumed all messages of this rank.
  exec::Task& settling() noexcept { return settling_; }
  // The peer reads announcements: it has attached to a connection that carries them, as those
  // between GPUs do not. As announce().
  bool reaches(int peer) const noexcept;

  // Gives the memory of the staging slots back wherever the peer has consumed everything; returns
  // its bytes. resume() takes it again, which is needed before anything is sent; throws SystemError
  // above the memory cap.
  size_t rest() noexcept;
  bool resting() const noexcept { return resting_; }
  void resume();

  // Made so far. Any thread.
  struct Count {
    uint64_t send = 0, recv = 0;
  };
  Count count() const noexcept {
    return {n_sends_.load(std::memory_order_relaxed), n_recvs_.load(std::memory_order_relaxed)};
  }

  // The peer exchanges bytes with this rank by what its transport leads to, without a connection.
  void note_direct_use(int peer);

  const transport::FifoLayout& layout() const noexcept { return layout_; }
  // Names of the transports in use, comma-separated. Any thread.
  std::string transports_in_use() const;

 private:
  struct Settling final : exec::Task {
    explicit Settling(Links& owner) : links(owner) {}
    Status progress(bool* advanced) noexcept override;
    int waiting_for() const noexcept override;
    bool needs(int rank) const noexcept override;
    Links& links;
  };
  static uint64_t key(int peer, int channel) noexcept {
    return static_cast<uint64_t>(static_cast<uint32_t>(peer)) << 32 |
           static_cast<uint32_t>(channel);
  }
  static int peer_of(uint64_t key) noexcept { return static_cast<int>(key >> 32); }
  static int channel_of(uint64_t key) noexcept {
    return static_cast<int>(static_cast<uint32_t>(key));
  }
  // Calls do_it(peer, view) for every connection, or under the lock for those handed over.
  template <typename Do>
  void each_view(const Do& do_it) const noexcept;
  template <typename Do>
  void each_served_view(const Do& do_it) const noexcept;
  void note_use(int peer, transport::Counted& connection, const char* direction, int channel);

  const Transports& transports_;
  trace::Recorder& recorder_;
  uint64_t comm_id_;
  int rank_;
  transport::FifoLayout layout_;
  std::vector<bool> devices_;  // by rank: has a GPU
  // Never null; by key().
  std::unordered_map<uint64_t, std::unique_ptr<transport::SendConnection>> sends_;
  std::unordered_map<uint64_t, std::unique_ptr<transport::RecvConnection>> recvs_;
  mutable std::mutex mutex_;  // guards what follows up to the blank line
  bool announced_ = false;
  bool serves_ = false;  // connections have been handed over
  std::vector<transport::SendConnection*> served_sends_;
  std::vector<transport::RecvConnection*> served_recvs_;

  std::unordered_map<uint64_t, uint32_t> p2p_counts_;  // by key(peer, is_send)
  Settling settling_{*this};
  bool resting_ = false;
  std::atomic<uint64_t> n_sends_{0};  // relaxed: statistics
  std::atomic<uint64_t> n_recvs_{0};
  std::atomic<uint64_t> used_{0};  // bit i: transport i; relaxed: a statistic
};

}  // namespace tutti::comm
