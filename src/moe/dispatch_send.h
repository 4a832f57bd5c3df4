// SPDX-License-Identifier: Apache-2.0
// The sending half of a dispatch: each token is read once, and written into the slots of all ranks
// that it goes to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/moe/context.h"

namespace tutti::moe {

class DispatchSender {
 public:
  explicit DispatchSender(Exchange& exchange);

  // `input` [tokens][hidden] stays until done().
  void start(const std::byte* input, uint32_t signature);
  // Sends at most so many tokens; *moved when anything went. Never waits.
  Status advance(size_t most_tokens, bool* moved) noexcept;
  bool done() const noexcept { return unsent_ == 0 && unread_ == 0; }
  // Sends what has been written. Between two calls nothing may lie in a slot that was not sent: an
  // idle communicator gives their memory back.
  void pause() noexcept;
  // Rank of the group that has no room; -1: none.
  int blocked_on() const noexcept { return done() ? -1 : blocked_on_; }
  bool owes(int rank) const noexcept {
    return !done() && (!to(rank).finished || to(rank).by_reference);
  }
  // Tokens before it have been sent.
  size_t next_token() const noexcept { return token_; }
  // The row-th token that stays on this rank as it would have travelled, when that was made for
  // another rank anyway and is still there; else null.
  const std::byte* kept(uint32_t row) const noexcept {
    return kept_row_[row % kKept] == row ? kept_.get() + row % kKept * row_bytes_ : nullptr;
  }
  // Rows up to this one need not be kept any longer.
  void placed(uint32_t rows) noexcept { placed_ = rows; }

 private:
  // The message to one rank that is being filled.
  struct Outgoing {
    std::byte* slot = nullptr;  // null: none is open
    size_t row_end = 0;         // offset behind the last row
    size_t meta_bytes = 0;      // of the rows in it
    uint32_t first = 0;         // row of it
    uint32_t rows = 0;          // in it
    bool first_sent = false;
    bool finished = false;
    bool by_reference = false;  // rows are read where they lie
    transport::DirectReference reference{};
  };
  Outgoing& to(int rank) noexcept { return to_[static_cast<size_t>(rank)]; }
  const Outgoing& to(int rank) const noexcept { return to_[static_cast<size_t>(rank)]; }
  const Destination& rows_to(int rank) const noexcept { return exchange_.routing.to(rank); }
  bool send_empty(int rank, Status* failure) noexcept;
  bool make_room(int rank, size_t entries, Status* failure) noexcept;
  bool make_room(size_t token, Status* failure) noexcept;
  void put(size_t token) noexcept;
  void put_in_all(size_t token, size_t n) noexcept;
  bool keeps(uint32_t row) const noexcept {
    return exchange_.facts.form.quantization != Quantization::kNone && row < placed_ + kKept;
  }
  void close(int rank) noexcept;
  void close_first_messages() noexcept;
  size_t counts_with(int rank, bool whole) const noexcept;
  std::byte* write_counts(int rank, size_t n, std::byte* at) const noexcept;
  std::byte* write_meta(int rank, std::byte* at) const noexcept;
  size_t needed(int rank, size_t entries) const noexcept;
  size_t most_bytes(int rank) const noexcept;
  void begin_message(int rank) noexcept;
  size_t bytes_in_message(int rank) const noexcept;
  Status await_readers(bool* moved) noexcept;

  static constexpr uint32_t kKept = 32;  // rows of this rank

  Exchange& exchange_;
  const size_t row_bytes_;
  std::unique_ptr<std::byte[]> kept_;       // [kKept], row i in place i % kKept
  std::array<uint32_t, kKept> kept_row_{};  // which row each is
  uint32_t placed_ = 0;
  const std::byte* input_ = nullptr;
  uint32_t signature_ = 0;
  size_t token_ = 0;  // next
  int unsent_ = 0;    // ranks that have not got everything
  int unread_ = 0;    // ranks that may still read rows where they lie
  int blocked_on_ = -1;
  std::vector<Outgoing> to_;  // by rank
  // Of one token, as many as ranks.
  std::vector<kernels::RowSink> sinks_;
  std::vector<std::byte*> copies_;
};

}  // namespace tutti::moe
