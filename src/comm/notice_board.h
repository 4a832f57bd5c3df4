// SPDX-License-Identifier: Apache-2.0
// Memory of one rank that its peers read and write: signal counters, notices of failures with their
// texts, and the rank's journal.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "src/base/clock.h"
#include "src/base/memory_budget.h"
#include "src/bootstrap/bootstrap.h"
#include "src/comm/journal.h"
#include "src/comm/notice.h"
#include "src/comm/peers.h"
#include "src/comm/transports.h"

namespace tutti::comm {

inline constexpr int kSignalsPerPeer = 8;

// Bids a rank to a rendezvous with other ranks of its communicator (shrink, grow).
struct Invitation {
  uint64_t sequence = 0;  // of the reshapes of the communicator, from 1
  uint64_t n_ranks = 0;
  bootstrap::UniqueId id;
};
static_assert(sizeof(Invitation) == 144 && std::is_trivially_copyable_v<Invitation>);

// Layout, 8-byte words (n ranks), in shared memory of the library:
//   [0]                       number of notices
//   [8 .. 8+n)                notice of rank r, 0: none
//   [8+n .. 8+n+n*8)          signal counters, r * kSignalsPerPeer + s
//   [J .. J+Journal::kWords)  this rank's journal; J is the end of the counters, rounded up to 8
//   [T .. T+32*min(n,64))     what rank r says of its notice, in place r % 64: NUL-terminated; T
//   follows the journal
//   [I .. I+19)               invitations that came; the last one. I follows the texts
// Peers change notices and counters with RemoteRegion::add_signal only (release); this rank reads
// them with acquire. A text is put before its notice is signalled.
class NoticeBoard {
 public:
  NoticeBoard(int n_ranks, MemoryBudget& budget);  // throws SystemError
  ~NoticeBoard();
  NoticeBoard(const NoticeBoard&) = delete;
  NoticeBoard& operator=(const NoticeBoard&) = delete;

  const void* data() const noexcept { return words_; }
  size_t bytes() const noexcept { return word_count(n_ranks_) * sizeof(uint64_t); }

  // A notice that concerns a rank at this position; nullopt when there is none.
  // One load when none has come at all.
  std::optional<Notice> notice(uint16_t position) const noexcept;
  // Signals that came so far.
  uint64_t signals(int peer, int signal) const noexcept;
  // A notice that came with a text.
  struct Told {
    int from = -1;
    std::string text;
  };
  std::optional<Told> told() const;
  // The last invitation that came; nullopt when none has.
  std::optional<Invitation> invitation() const noexcept;
  Journal& journal() noexcept { return journal_; }
  void copy_journal(JournalCopy* copy) const noexcept;
  // Peers have posted notices. One load.
  bool any_notice() const noexcept { return load(count_offset()) != 0; }
  uint64_t& notice_count() noexcept { return words_[count_offset() / sizeof(uint64_t)]; }
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
  static size_t journal_offset(int n_ranks) noexcept {
    return (kFirstNotice + static_cast<size_t>(n_ranks) * (1 + kSignalsPerPeer) + 7) / 8 * 8 *
           sizeof(uint64_t);
  }
  static size_t text_offset(int n_ranks, int rank) noexcept {
    return journal_offset(n_ranks) + Journal::kWords * sizeof(uint64_t) +
           static_cast<size_t>(rank % kTexts) * kTextBytes;
  }
  static size_t invitation_offset(int n_ranks) noexcept {
    return text_offset(n_ranks, std::min(n_ranks, kTexts) - 1) + kTextBytes;
  }
  static constexpr size_t kTextBytes = 256;
  // What a board takes.
  static size_t memory_bytes(int n_ranks) noexcept {
    return whole_pages(word_count(n_ranks) * sizeof(uint64_t));
  }
  // A notice as a word, never 0: {about + 1 : 32 | pack() : 32}.
  static uint64_t encode(const Notice& notice) noexcept;

 private:
  static constexpr size_t kFirstNotice = 8;
  static constexpr int kTexts = 64;
  static size_t word_count(int n_ranks) noexcept {
    return invitation_offset(n_ranks) / sizeof(uint64_t) + 1 +
           sizeof(Invitation) / sizeof(uint64_t);
  }
  uint64_t load(size_t offset) const noexcept {
    // acquire: pairs with the release of RemoteRegion::add_signal and of signal_self()
    return std::atomic_ref(words_[offset / sizeof(uint64_t)]).load(std::memory_order_acquire);
  }

  int n_ranks_;
  MemoryCharge charge_;
  uint64_t* words_;
  Journal journal_;
};

// The boards of the peers, mapped on first use. Any thread.
class PeerBoards {
 public:
  PeerBoards(const Transports& transports, std::span<const PeerRecord> records,
             MemoryBudget& budget);
  // Throws RemoteError when the peer can't be asked for its memory before the deadline.
  transport::RemoteRegion& at(int peer, Deadline deadline);
  // Tells one peer; false when it can't be reached before the deadline.
  bool post(int peer, const Notice& notice, std::string_view text, Deadline deadline) noexcept;
  // Throws RemoteError when the peer can't be reached before the deadline.
  void invite(int peer, const Invitation& invitation, Deadline deadline);
  // Copies the peer's journal.
  enum class Answer : uint8_t {
    kNone,
    kCopied,
    kLeft
  };  // kLeft: it has destroyed the communicator
  Answer read(int peer, Deadline deadline, JournalCopy* journal) noexcept;

 private:
  int n_ranks() const noexcept { return static_cast<int>(tokens_.size()); }

  struct Board {
    std::unique_ptr<transport::RemoteRegion> region;  // null until used, then kept
    MemoryCharge charge;
  };

  const Transports& transports_;
  MemoryBudget& budget_;
  std::vector<std::vector<std::byte>> tokens_;  // by rank; empty for this rank
  std::mutex mutex_;                            // guards the boards, not held while mapping
  std::vector<Board> boards_;                   // by rank
};

}  // namespace tutti::comm
