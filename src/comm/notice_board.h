// SPDX-License-Identifier: Apache-2.0
// Memory of one rank that its peers write to: signal counters, and notices from peers that have no
// connection to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "src/base/clock.h"
#include "src/base/memory_budget.h"
#include "src/comm/notice.h"
#include "src/comm/peers.h"
#include "src/comm/transports.h"

namespace tutti::comm {

inline constexpr int kSignalsPerPeer = 8;

// Layout, 8-byte words (n ranks), in shared memory of the library:
//   [0]                       number of notices
//   [8 .. 8+n)                notice of rank r, 0: none
//   [8+n .. 8+n+n*8)          signal counters, r * kSignalsPerPeer + s
// Peers change words with RemoteRegion::add_signal only (release); this rank reads them with
// acquire.
class NoticeBoard {
 public:
  NoticeBoard(int n_ranks, MemoryBudget& budget);  // throws SystemError
  ~NoticeBoard();
  NoticeBoard(const NoticeBoard&) = delete;
  NoticeBoard& operator=(const NoticeBoard&) = delete;

  const void* data() const noexcept { return words_; }
  size_t bytes() const noexcept { return word_count(n_ranks_) * sizeof(uint64_t); }

  // A notice that concerns a rank that has begun so many collectives; nullopt when there is none.
  // One load when none has come at all.
  std::optional<Notice> notice(uint16_t begun) const noexcept;
  // Signals that came so far.
  uint64_t signals(int peer, int signal) const noexcept;
  // A signal of this rank to itself.
  void signal_self(int rank, int signal) noexcept;

  static size_t count_offset() noexcept { return 0; }
  static size_t notice_offset(int rank) noexcept {
    return (kFirstNotice + static_cast<size_t>(rank)) * sizeof(uint64_t);
  }
  static size_t signal_offset(int n_ranks, int peer, int signal) noexcept {
    return (kFirstNotice + static_cast<size_t>(n_ranks) +
            static_cast<size_t>(peer) * kSignalsPerPeer + static_cast<size_t>(signal)) *
           sizeof(uint64_t);
  }
  // A notice as a word, never 0: {about + 1 : 32 | pack() : 32}.
  static uint64_t encode(const Notice& notice) noexcept;

 private:
  static constexpr size_t kFirstNotice = 8;
  static size_t word_count(int n_ranks) noexcept {
    return kFirstNotice + static_cast<size_t>(n_ranks) * (1 + kSignalsPerPeer);
  }
  uint64_t load(size_t offset) const noexcept;

  int n_ranks_;
  MemoryCharge charge_;
  uint64_t* words_;
};

// The boards of the peers, mapped on first use. Owned by the communicator's progress.
class PeerBoards {
 public:
  PeerBoards(const Transports& transports, std::span<const PeerRecord> records);
  // Throws RemoteError when the peer can't be asked for its memory before the deadline.
  transport::RemoteRegion& at(int peer, Deadline deadline);
  // Tells one peer, if it can be reached before the deadline.
  void post(int peer, const Notice& notice, Deadline deadline) noexcept;

 private:
  const Transports& transports_;
  std::vector<std::vector<std::byte>> tokens_;                     // by rank; empty for this rank
  std::vector<std::unique_ptr<transport::RemoteRegion>> regions_;  // by rank; null until used
};

}  // namespace tutti::comm
