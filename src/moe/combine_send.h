// SPDX-License-Identifier: Apache-2.0
// The sending half of a combine: for each received token the weighted sum over this rank's experts,
// straight into slots, in the order in which the tokens came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/moe/context.h"

namespace tutti::moe {

// Messages are rows of partial_bytes(), nothing else: both ends know which and how many. Where a
// sum is a row as it is (rank-major), and the source can map it, one message in a line says where
// all rows are.
class CombineSender {
 public:
  explicit CombineSender(Exchange& exchange);

  // `rows` [capacity][hidden] are laid out as the dispatch received them, and stay until done().
  void start(const std::byte* rows, uint32_t signature);
  // At most one message to each rank. Never waits.
  Status advance(bool* moved) noexcept;
  bool done() const noexcept { return unfinished_ == 0 && unread_ == 0; }
  int blocked_on() const noexcept { return done() ? -1 : blocked_on_; }
  bool owes(int rank) const noexcept {
    return next_[static_cast<size_t>(rank)] < received(rank).rows.size() ||
           referred_[static_cast<size_t>(rank)];
  }
  // The terms of the row-th token that this rank keeps for itself; valid until the next call.
  kernels::RowSum own_terms(size_t row) noexcept;

 private:
  const ReceivedFrom& received(int rank) const noexcept {
    return exchange_.received[static_cast<size_t>(rank)];
  }
  kernels::RowSum terms_of(const ReceivedFrom& from, const ReceivedRow& row) noexcept;
  bool refer(int rank, Status* failure) noexcept;
  Status send_rows(int rank, bool* moved) noexcept;
  Status await_readers(bool* moved) noexcept;
  void sum(const ReceivedFrom& from, const ReceivedRow& row, std::byte* out) noexcept;

  Exchange& exchange_;
  const size_t partial_bytes_;
  const std::byte* rows_ = nullptr;
  uint32_t signature_ = 0;
  int unfinished_ = 0;
  int blocked_on_ = -1;
  int unread_ = 0;              // ranks that may still read rows where they lie
  std::vector<size_t> next_;    // by rank: row that is summed next
  std::vector<bool> referred_;  // by rank: reads them
  // Of one row.
  std::vector<const std::byte*> terms_;
  std::vector<float> weights_;
};

}  // namespace tutti::moe
