// SPDX-License-Identifier: Apache-2.0
// Sums rows of experts.
#include "src/moe/combine_send.h"

#include <algorithm>

#include "src/moe/wire.h"

namespace tutti::moe {

CombineSender::CombineSender(Exchange& exchange)
    : exchange_(exchange),
      partial_bytes_(partial_bytes(exchange.facts.config)),
      next_(static_cast<size_t>(exchange.mesh.n_ranks())),
      referred_(next_.size()),
      terms_(std::max<size_t>(1, exchange.facts.placement.most_slots())),
      weights_(terms_.size()) {}

void CombineSender::start(const std::byte* rows, uint32_t signature) {
  rows_ = rows;
  signature_ = signature;
  unfinished_ = unread_ = 0;
  blocked_on_ = -1;
  std::fill(referred_.begin(), referred_.end(), false);
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    const bool nothing = rank == exchange_.mesh.self() || received(rank).rows.empty();
    next_[static_cast<size_t>(rank)] = nothing ? received(rank).rows.size() : 0;
    if (!nothing) ++unfinished_;
  }
}

kernels::RowSum CombineSender::terms_of(const ReceivedFrom& from, const ReceivedRow& row) noexcept {
  const Config& config = exchange_.facts.config;
  for (uint32_t i = 0; i < row.count; ++i) {
    const Placed& place = from.places[row.first + i];
    terms_[i] = rows_ + size_t{place.position} * exchange_.facts.form.input_bytes();
    weights_[i] = place.weight;
  }
  add(exchange_.counters.combine_copy_bytes, row.count * exchange_.facts.form.input_bytes());
  const bool weighted = config.layout == Layout::kExpertMajor;
  return {terms_.data(), weighted ? weights_.data() : nullptr, row.count, config.hidden};
}

void CombineSender::sum(const ReceivedFrom& from, const ReceivedRow& row, std::byte* out) noexcept {
  const kernels::RowSum sum = terms_of(from, row);
  if (exchange_.facts.config.reduction == Reduction::kOnce) {
    kernels::sum_rows_unrounded(sum, out);
  } else {
    kernels::sum_rows(sum, out);
  }
  add(exchange_.counters.combine_copy_bytes, partial_bytes_);
}

kernels::RowSum CombineSender::own_terms(size_t row) noexcept {
  const ReceivedFrom& own = received(exchange_.mesh.self());
  return terms_of(own, own.rows[row]);
}

// All rows to the rank at once; false when they can't go so, or there is no room now.
bool CombineSender::refer(int rank, Status* failure) noexcept {
  const Facts& facts = exchange_.facts;
  const bool as_it_is =
      facts.config.layout == Layout::kRankMajor && facts.config.reduction != Reduction::kOnce;
  const uint64_t kept = as_it_is ? exchange_.layout.kept[static_cast<size_t>(rank)] : 0;
  if (kept == 0) return false;
  ReferredRows message{.rows = kept};
  const size_t row = facts.form.input_bytes();
  const std::byte* const first =
      rows_ + size_t{exchange_.layout.offsets[static_cast<size_t>(rank)]} * row;
  if (!exchange_.mesh.refer(rank, first, kept * row, row, &message.reference)) return false;
  if (!exchange_.mesh.send_inline(rank, signature_, &message, sizeof message, failure))
    return false;
  exchange_.mesh.count_referred(rank, received(rank).rows.size() * partial_bytes_);
  Counters::Sent& sent = exchange_.counters.combined[static_cast<size_t>(facts.reach(rank))];
  add(sent.rows, received(rank).rows.size());
  add(sent.payload_bytes, received(rank).rows.size() * partial_bytes_);
  add(sent.metadata_bytes, sizeof message);
  return true;
}

Status CombineSender::await_readers(bool* moved) noexcept {
  Status failure;
  for (int rank = 0; rank < exchange_.mesh.n_ranks() && unread_ != 0; ++rank) {
    const auto at = static_cast<size_t>(rank);
    if (!referred_[at]) continue;
    if (!exchange_.mesh.drained(rank, &failure)) {
      if (!failure.ok()) return failure;
      blocked_on_ = rank;
      continue;
    }
    referred_[at] = false;
    --unread_;
    *moved = true;
  }
  return kOkStatus;
}

Status CombineSender::send_rows(int rank, bool* moved) noexcept {
  Status failure;
  const ReceivedFrom& from = received(rank);
  size_t& next = next_[static_cast<size_t>(rank)];
  const size_t rows =
      std::min(from.rows.size() - next, exchange_.mesh.slot_bytes() / partial_bytes_);
  std::byte* const slot = exchange_.mesh.acquire(rank, rows * partial_bytes_, &failure);
  if (slot == nullptr) {
    blocked_on_ = rank;
    return failure;
  }
  *moved = true;
  if (next == 0 && refer(rank, &failure)) {
    next = from.rows.size();
    referred_[static_cast<size_t>(rank)] = true;
    ++unread_;
    --unfinished_;
    return kOkStatus;
  }
  if (!failure.ok()) return failure;
  for (size_t i = 0; i < rows; ++i) sum(from, from.rows[next + i], slot + i * partial_bytes_);
  next += rows;
  if (next == from.rows.size()) --unfinished_;
  exchange_.mesh.commit(rank, signature_, rows * partial_bytes_);
  Counters::Sent& sent =
      exchange_.counters.combined[static_cast<size_t>(exchange_.facts.reach(rank))];
  add(sent.rows, rows);
  add(sent.payload_bytes, rows * partial_bytes_);
  return kOkStatus;
}

Status CombineSender::advance(bool* moved) noexcept {
  for (int rank = 0; rank < exchange_.mesh.n_ranks() && unfinished_ != 0; ++rank) {
    if (next_[static_cast<size_t>(rank)] == received(rank).rows.size()) continue;
    const Status status = send_rows(rank, moved);
    if (!status.ok()) return status;
  }
  return unfinished_ == 0 ? await_readers(moved) : kOkStatus;
}

}  // namespace tutti::moe
