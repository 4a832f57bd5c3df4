// SPDX-License-Identifier: Apache-2.0
// Fills messages token by token.
#include "src/moe/dispatch_send.h"

#include <algorithm>

#include "src/moe/wire.h"

namespace tutti::moe {

DispatchSender::DispatchSender(Exchange& exchange)
    : exchange_(exchange),
      row_bytes_(exchange.facts.form.row_bytes()),
      kept_(exchange.facts.form.quantization == Quantization::kNone
                ? nullptr
                : std::make_unique<std::byte[]>(kKept * row_bytes_)),
      to_(static_cast<size_t>(exchange.mesh.n_ranks())),
      sinks_(to_.size()),
      copies_(to_.size()) {}

void DispatchSender::start(const std::byte* input, uint32_t signature) {
  input_ = input;
  signature_ = signature;
  token_ = 0;
  placed_ = 0;
  kept_row_.fill(UINT32_MAX);
  unsent_ = unread_ = 0;
  blocked_on_ = -1;
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    to(rank) = {};
    to(rank).finished = rank == exchange_.mesh.self() || !exchange_.mesh.active(rank);
    if (!to(rank).finished) ++unsent_;
  }
}

// Counts that go with the first message to the rank, when it holds all rows or not.
size_t DispatchSender::counts_with(int rank, bool whole) const noexcept {
  const Facts& facts = exchange_.facts;
  const bool by_rank = facts.config.layout == Layout::kRankMajor;
  if (facts.overflows)
    return by_rank ? static_cast<size_t>(facts.config.n_ranks) : facts.placement.n_slots();
  return by_rank || whole ? 0 : facts.placement.slots_of(rank);
}

std::byte* DispatchSender::write_counts(int rank, size_t n, std::byte* at) const noexcept {
  const Facts& facts = exchange_.facts;
  const bool rows_by_rank = facts.overflows && facts.config.layout == Layout::kRankMajor;
  const uint32_t* const by_slot = exchange_.routing.counts().data();
  const size_t first = facts.overflows ? 0 : facts.placement.first_slot(rank);
  for (size_t i = 0; i < n; ++i) {
    at = write_as(at, rows_by_rank ? static_cast<uint32_t>(rows_to(static_cast<int>(i)).rows.size())
                                   : by_slot[first + i]);
  }
  return at;
}

std::byte* DispatchSender::write_meta(int rank, std::byte* at) const noexcept {
  const Outgoing& open = to(rank);
  const Destination& all = rows_to(rank);
  for (uint32_t i = open.first; i < open.first + open.rows; ++i) {
    const RoutedRow& row = all.rows[i];
    at = write_as(at, RowHead{row.token, row.count});
    for (uint32_t j = 0; j < row.count; ++j) at = write_as(at, all.entries[row.first + j]);
  }
  return at;
}

// Of a row.
size_t DispatchSender::bytes_in_message(int rank) const noexcept {
  return to(rank).by_reference ? 0 : row_bytes_;
}

// Bytes of the open message with one more row of so many entries.
size_t DispatchSender::needed(int rank, size_t entries) const noexcept {
  const Outgoing& open = to(rank);
  const size_t counts = open.first_sent ? 0 : counts_with(rank, false) * sizeof(uint32_t);
  return open.row_end + bytes_in_message(rank) + open.meta_bytes + meta_bytes(entries) + counts;
}

void DispatchSender::close(int rank) noexcept {
  Outgoing& open = to(rank);
  const auto all = static_cast<uint32_t>(rows_to(rank).rows.size());
  const bool whole = open.first + open.rows == all;
  const size_t counts = open.first_sent ? 0 : counts_with(rank, open.first == 0 && whole);
  write_as(open.slot, MessageHead{.rows = open.rows,
                                  .all_rows = all,
                                  .counts = static_cast<uint32_t>(counts),
                                  .meta_bytes = static_cast<uint32_t>(open.meta_bytes),
                                  .by_reference = open.by_reference ? 1U : 0U});
  std::byte* const end = write_counts(rank, counts, write_meta(rank, open.slot + open.row_end));
  const auto bytes = static_cast<size_t>(end - open.slot);
  exchange_.mesh.commit(rank, signature_, bytes);
  Counters::Sent& sent =
      exchange_.counters.dispatched[static_cast<size_t>(exchange_.facts.reach(rank))];
  const size_t payload = open.rows * exchange_.facts.form.row_bytes();
  add(sent.rows, open.rows);
  add(sent.payload_bytes, payload);
  add(sent.metadata_bytes, open.by_reference ? bytes : bytes - payload);
  if (open.by_reference) exchange_.mesh.count_referred(rank, payload);
  open.first += open.rows;
  open.rows = 0;
  open.slot = nullptr;
  open.first_sent = true;
  if (!whole) return;
  open.finished = true;
  --unsent_;
  if (open.by_reference) ++unread_;
}

// To a rank that no token goes to. True when it went.
bool DispatchSender::send_empty(int rank, Status* failure) noexcept {
  Outgoing& open = to(rank);
  if (counts_with(rank, true) == 0) {
    const MessageHead nothing;
    if (!exchange_.mesh.send_inline(rank, signature_, &nothing, sizeof nothing, failure))
      return false;
    add(exchange_.counters.dispatched[static_cast<size_t>(exchange_.facts.reach(rank))]
            .metadata_bytes,
        sizeof nothing);
    open.first_sent = open.finished = true;
    --unsent_;
    return true;
  }
  open.slot = exchange_.mesh.acquire(
      rank, sizeof(MessageHead) + counts_with(rank, true) * sizeof(uint32_t), failure);
  if (open.slot == nullptr) return false;
  open.row_end = sizeof(MessageHead);
  close(rank);
  return true;
}

// Of the message that begins with the next row.
size_t DispatchSender::most_bytes(int rank) const noexcept {
  const Outgoing& open = to(rank);
  const Destination& all = rows_to(rank);
  const size_t rows = all.rows.size() - open.first;
  const size_t entries = all.entries.size() - all.rows[open.first].first;
  const size_t counts = open.first_sent ? 0 : counts_with(rank, false) * sizeof(uint32_t);
  return std::min(exchange_.mesh.slot_bytes(), sizeof(MessageHead) +
                                                   sizeof(transport::DirectReference) +
                                                   rows * (bytes_in_message(rank) + meta_bytes(0)) +
                                                   entries * sizeof(Entry) + counts);
}

// A place for one more row to the rank; false when there is none now.
bool DispatchSender::make_room(int rank, size_t entries, Status* failure) noexcept {
  Outgoing& open = to(rank);
  if (open.slot != nullptr && needed(rank, entries) > exchange_.mesh.slot_bytes()) close(rank);
  if (open.slot != nullptr) return true;
  open.slot = exchange_.mesh.acquire(rank, most_bytes(rank), failure);
  if (open.slot != nullptr) begin_message(rank);
  return open.slot != nullptr;
}

// In a slot that was just found. Whether rows go by reference is decided with the first.
void DispatchSender::begin_message(int rank) noexcept {
  Outgoing& open = to(rank);
  const RowForm& form = exchange_.facts.form;
  if (!open.first_sent && form.quantization == Quantization::kNone) {
    open.by_reference =
        exchange_.mesh.refer(rank, input_, exchange_.routing.tokens() * form.input_bytes(),
                             form.input_bytes(), &open.reference);
  }
  open.meta_bytes = 0;
  open.row_end = sizeof(MessageHead);
  if (!open.by_reference) return;
  write_as(open.slot + open.row_end, open.reference);
  open.row_end += sizeof open.reference;
}

bool DispatchSender::make_room(size_t token, Status* failure) noexcept {
  for (const Hop& hop : exchange_.routing.hops(token)) {
    if (hop.rank == exchange_.mesh.self()) continue;
    if (make_room(hop.rank, rows_to(hop.rank).rows[hop.row].count, failure)) continue;
    blocked_on_ = hop.rank;
    return false;
  }
  return true;
}

void DispatchSender::put_in_all(size_t token, size_t n) noexcept {
  const RowForm& form = exchange_.facts.form;
  const std::byte* const row = input_ + token * form.input_bytes();
  if (form.quantization == Quantization::kNone) {
    for (size_t i = 0; i < n; ++i) copies_[i] = sinks_[i].data;
    kernels::copy_row(row, form.data_bytes, copies_.data(), n);
  } else {
    kernels::quantize_row(row, form.quantized, sinks_.data(), n);
  }
  // Beyond a few sinks rows are copied from the first: see quantize_row().
  add(exchange_.counters.dispatch_copy_bytes,
      form.input_bytes() + (kernels::row_reads(n) - 1 + n) * form.row_bytes());
}

void DispatchSender::put(size_t token) noexcept {
  const RowForm& form = exchange_.facts.form;
  size_t n = 0;
  const auto hops = exchange_.routing.hops(token);
  for (const Hop& hop : hops) {
    if (hop.rank == exchange_.mesh.self()) continue;
    Outgoing& open = to(hop.rank);
    std::byte* const at = open.slot + open.row_end;
    if (!open.by_reference) sinks_[n++] = {at, at + form.data_bytes};
    open.row_end += bytes_in_message(hop.rank);
    open.meta_bytes += meta_bytes(rows_to(hop.rank).rows[hop.row].count);
    ++open.rows;
  }
  for (const Hop& hop : hops) {
    if (n == 0 || hop.rank != exchange_.mesh.self() || !keeps(hop.row)) continue;
    std::byte* const at = kept_.get() + hop.row % kKept * row_bytes_;
    kept_row_[hop.row % kKept] = hop.row;
    sinks_[n++] = {at, at + form.data_bytes};
  }
  if (n != 0) put_in_all(token, n);
  for (const Hop& hop : hops) {
    const bool last = hop.row + 1 == rows_to(hop.rank).rows.size();
    if (last && hop.rank != exchange_.mesh.self()) close(hop.rank);
  }
}

// Others may wait for the counts in them before they read anything, and so may those that we wait
// for.
void DispatchSender::close_first_messages() noexcept {
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    const Outgoing& open = to(rank);
    if (!open.first_sent && open.slot != nullptr && open.rows != 0) close(rank);
  }
}

void DispatchSender::pause() noexcept {
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    Outgoing& open = to(rank);
    if (open.slot != nullptr && open.rows != 0) close(rank);
    open.slot = nullptr;
  }
}

// Whoever was sent references has read all rows when it has consumed all messages.
Status DispatchSender::await_readers(bool* moved) noexcept {
  Status failure;
  for (int rank = 0; rank < exchange_.mesh.n_ranks() && unread_ != 0; ++rank) {
    Outgoing& open = to(rank);
    if (!open.finished || !open.by_reference) continue;
    if (!exchange_.mesh.drained(rank, &failure)) {
      if (!failure.ok()) return failure;
      blocked_on_ = rank;
      continue;
    }
    open.by_reference = false;
    --unread_;
    *moved = true;
  }
  return kOkStatus;
}

Status DispatchSender::advance(size_t most_tokens, bool* moved) noexcept {
  Status failure;
  if (done()) return kOkStatus;
  if (unsent_ == 0) return await_readers(moved);
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    const Outgoing& open = to(rank);
    if (open.first_sent || open.finished || !rows_to(rank).rows.empty()) continue;
    if (send_empty(rank, &failure)) *moved = true;
    if (!failure.ok()) return failure;
    if (!open.finished) blocked_on_ = rank;
  }
  const size_t end = std::min(token_ + most_tokens, exchange_.routing.tokens());
  for (; token_ < end; ++token_) {
    if (!make_room(token_, &failure)) {
      if (failure.ok()) close_first_messages();
      return failure;
    }
    put(token_);
    *moved = true;
  }
  return kOkStatus;
}

}  // namespace tutti::moe
