// SPDX-License-Identifier: Apache-2.0
// Sums rows of experts.
#include "src/moe/combine_send.h"

#include <algorithm>

namespace tutti::moe {

CombineSender::CombineSender(Exchange& exchange)
    : exchange_(exchange),
      partial_bytes_(partial_bytes(exchange.facts.config)),
      next_(static_cast<size_t>(exchange.mesh.n_ranks())),
      terms_(std::max<size_t>(1, exchange.facts.placement.most_slots())),
      weights_(terms_.size()) {}

void CombineSender::start(const std::byte* rows, uint32_t signature) {
  rows_ = rows;
  signature_ = signature;
  unfinished_ = 0;
  blocked_on_ = -1;
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

Status CombineSender::advance(bool* moved) noexcept {
  Status failure;
  for (int rank = 0; rank < exchange_.mesh.n_ranks() && !done(); ++rank) {
    const ReceivedFrom& from = received(rank);
    size_t& next = next_[static_cast<size_t>(rank)];
    if (next == from.rows.size()) continue;
    const size_t rows =
        std::min(from.rows.size() - next, exchange_.mesh.slot_bytes() / partial_bytes_);
    std::byte* const slot = exchange_.mesh.acquire(rank, rows * partial_bytes_, &failure);
    if (!failure.ok()) return failure;
    if (slot == nullptr) {
      blocked_on_ = rank;
      continue;
    }
    for (size_t i = 0; i < rows; ++i) sum(from, from.rows[next + i], slot + i * partial_bytes_);
    next += rows;
    if (next == from.rows.size()) --unfinished_;
    exchange_.mesh.commit(rank, signature_, rows * partial_bytes_);
    Counters::Sent& sent =
        exchange_.counters.combined[static_cast<size_t>(exchange_.facts.reach(rank))];
    add(sent.rows, rows);
    add(sent.payload_bytes, rows * partial_bytes_);
    *moved = true;
  }
  return kOkStatus;
}

}  // namespace tutti::moe
