// SPDX-License-Identifier: Apache-2.0
// Reads this rank's board and writes to the boards of its peers.
#include "src/comm/notice_board.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "src/base/log.h"
#include "src/comm/health.h"
#include "src/device/device.h"

namespace tutti::comm {

NoticeBoard::NoticeBoard(int n_ranks, MemoryBudget& budget)
    : n_ranks_(n_ranks),
      charge_(budget, MemoryUse::kBoards, memory_bytes(n_ranks),
              "signals, notices and the journal"),
      words_(
          static_cast<uint64_t*>(device::allocate_shared(word_count(n_ranks) * sizeof(uint64_t)))),
      journal_(words_ + journal_offset(n_ranks) / sizeof(uint64_t)) {}

NoticeBoard::~NoticeBoard() { device::free_shared(words_); }

uint64_t NoticeBoard::encode(const Notice& notice) noexcept {
  return pack(notice) | static_cast<uint64_t>(notice.about + 1) << 32;
}

std::optional<Notice> NoticeBoard::notice(uint16_t position) const noexcept {
  if (load(count_offset()) == 0) [[likely]]
    return std::nullopt;
  for (int rank = 0; rank < n_ranks_; ++rank) {
    const uint64_t word = load(notice_offset(rank));
    if (word == 0) continue;
    const Notice notice =
        unpack(static_cast<uint32_t>(word), rank, static_cast<int>(word >> 32) - 1);
    if (concerns(notice, position)) return notice;
  }
  return std::nullopt;
}

std::optional<NoticeBoard::Told> NoticeBoard::told() const {
  for (int rank = 0; rank < n_ranks_ && any_notice(); ++rank) {
    if (load(notice_offset(rank)) == 0) continue;
    const char* text = reinterpret_cast<const char*>(words_) + text_offset(n_ranks_, rank);
    if (*text != '\0') return Told{rank, std::string(text, ::strnlen(text, kTextBytes))};
  }
  return std::nullopt;
}

std::optional<Invitation> NoticeBoard::invitation() const noexcept {
  const size_t count = invitation_offset(n_ranks_);
  if (load(count) == 0) return std::nullopt;
  Invitation invitation;
  std::memcpy(static_cast<void*>(&invitation), words_ + count / sizeof(uint64_t) + 1,
              sizeof invitation);
  return invitation;
}

void NoticeBoard::copy_journal(JournalCopy* copy) const noexcept {
  const size_t first = journal_offset(n_ranks_);
  for (size_t i = 0; i < Journal::kWords; ++i)
    copy->words()[i] = load(first + i * sizeof(uint64_t));
}

uint64_t NoticeBoard::signals(int peer, int signal) const noexcept {
  return load(signal_offset(n_ranks_, peer, signal));
}

void NoticeBoard::signal_self(int rank, int signal) noexcept {
  const size_t word = signal_offset(n_ranks_, rank, signal) / sizeof(uint64_t);
  std::atomic_ref(words_[word]).fetch_add(1, std::memory_order_release);  // pairs with load()
}

PeerBoards::PeerBoards(const Transports& transports, std::span<const PeerRecord> records,
                       MemoryBudget& budget)
    : transports_(transports), budget_(budget), tokens_(records.size()), boards_(records.size()) {
  for (size_t i = 0; i < records.size(); ++i) {
    const int index = transports.index_of(static_cast<int>(i));
    if (index < 0) continue;
    tokens_[i] = records[i].find(transports.name(index))->board;
  }
}

transport::RemoteRegion& PeerBoards::at(int peer, Deadline deadline) {
  Board& board = boards_[static_cast<size_t>(peer)];
  {
    const std::lock_guard lock(mutex_);
    if (board.region != nullptr) return *board.region;
  }
  auto made = transports_.to(peer).import_region(transports_.peer(peer),
                                                 tokens_[static_cast<size_t>(peer)], deadline);
  const std::lock_guard lock(mutex_);
  if (board.region == nullptr) {
    board.charge = MemoryCharge(budget_, MemoryUse::kPeerBoards, whole_pages(made->bytes()), "");
    board.region = std::move(made);
  }
  return *board.region;
}

namespace {

void check(const Status& status) {
  if (!status.ok())
    throw Error(status.code, status.reason != nullptr ? status.reason : "the peer is gone");
}

}  // namespace

void PeerBoards::invite(int peer, const Invitation& invitation, Deadline deadline) {
  transport::RemoteRegion& board = at(peer, deadline);
  const size_t count = NoticeBoard::invitation_offset(n_ranks());
  check(board.put(count + sizeof(uint64_t), &invitation, sizeof invitation));
  check(board.add_signal(count, 1));
}

bool PeerBoards::post(int peer, const Notice& notice, std::string_view text,
                      Deadline deadline) noexcept {
  Error error = error_of([&] {
    transport::RemoteRegion& board = at(peer, deadline);
    std::array<char, NoticeBoard::kTextBytes> padded{};
    std::copy_n(text.data(), std::min(text.size(), padded.size() - 1), padded.data());
    check(
        board.put(NoticeBoard::text_offset(n_ranks(), notice.from), padded.data(), padded.size()));
    check(board.add_signal(NoticeBoard::notice_offset(notice.from), NoticeBoard::encode(notice)));
    check(board.add_signal(NoticeBoard::count_offset(), 1));
  });
  if (error.code() == StatusCode::kOk) return true;
  log(LogLevel::kInfo, "comm", notice.from, "rank {} could not be told of the failure: {}", peer,
      error.what());
  return false;
}

PeerBoards::Answer PeerBoards::read(int peer, Deadline deadline, JournalCopy* journal) noexcept {
  const Error error = error_of([&] {
    const Status status =
        at(peer, deadline).read(NoticeBoard::journal_offset(n_ranks()), journal->words(), deadline);
    if (!status.ok()) throw Error(status.code, "the peer has freed its journal");
  });
  // Transports say InvalidUsage when the memory has been freed, RemoteError when they could not
  // ask.
  if (error.code() == StatusCode::kOk) return Answer::kCopied;
  return error.code() == StatusCode::kInvalidUsage ? Answer::kLeft : Answer::kNone;
}

}  // namespace tutti::comm
