// SPDX-License-Identifier: Apache-2.0
// Counts, lays out, copies.
#include "src/moe/dispatch_receive.h"

#include <algorithm>

#include "src/moe/wire.h"

namespace tutti::moe {
namespace {

constexpr size_t kOwnTokens = 8;  // placed in one go, between looks at the connections
constexpr const char* kMalformed = "a message of a MoE dispatch contradicts itself";

}  // namespace

struct DispatchReceiver::Message {
  MessageHead head;
  const std::byte* rows = nullptr;
  const std::byte* meta = nullptr;
  const std::byte* counts = nullptr;
  size_t bytes = 0;
  size_t referred_bytes = 0;  // of the source's tokens, where `rows` are those
  // Where the i-th row of the message is, which is that token; null when there is none.
  const std::byte* row(const RowForm& form, uint32_t i, uint32_t token) const noexcept {
    if (head.by_reference == 0) return rows + i * form.row_bytes();
    const size_t at = token * form.row_bytes();
    return at + form.row_bytes() <= referred_bytes ? rows + at : nullptr;
  }
};

DispatchReceiver::DispatchReceiver(Exchange& exchange, DispatchSender& sender)
    : exchange_(exchange),
      sender_(sender),
      by_rank_(exchange.facts.config.layout == Layout::kRankMajor),
      from_(static_cast<size_t>(exchange.mesh.n_ranks())),
      sinks_(std::max<size_t>(1, exchange.facts.placement.most_slots())),
      copies_(sinks_.size()) {
  exchange_.received.resize(from_.size());
}

void DispatchReceiver::start(const std::byte* input, const Output& output, uint32_t signature) {
  const Facts& facts = exchange_.facts;
  input_ = input;
  output_ = output;
  signature_ = signature;
  laid_out_ = false;
  overflowed_rank_ = -1;
  uncounted_ = unfinished_ = 0;
  const auto n = static_cast<size_t>(exchange_.mesh.n_ranks());
  const size_t own_slots = facts.placement.slots_of(facts.rank);
  const size_t here = by_rank_ ? 0 : own_slots;
  const size_t everywhere = by_rank_ ? n : facts.placement.n_slots();
  table_.assign(n, facts.overflows ? everywhere : here);
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    from(rank) = {};
    ReceivedFrom& received = exchange_.received[static_cast<size_t>(rank)];
    received.rows.clear();
    received.places.clear();
    if (!exchange_.mesh.active(rank)) {
      from(rank).counted = from(rank).finished = true;
      continue;
    }
    ++uncounted_;
    ++unfinished_;
  }
  count_own();
}

void DispatchReceiver::count_own() noexcept {
  const Facts& facts = exchange_.facts;
  const Routing& routing = exchange_.routing;
  Incoming& own = from(facts.rank);
  own.counted = true;
  own.all_rows = static_cast<uint32_t>(routing.to(facts.rank).rows.size());
  --uncounted_;
  const std::span<uint32_t> counts = table_.of(facts.rank);
  const size_t first = facts.overflows ? 0 : facts.placement.first_slot(facts.rank);
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = by_rank_ ? static_cast<uint32_t>(routing.to(static_cast<int>(i)).rows.size())
                         : routing.counts()[first + i];
  }
}

int DispatchReceiver::waiting_for() const noexcept {
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    const Incoming& in = from(rank);
    if (rank != exchange_.facts.rank && (laid_out_ ? !in.finished : !in.counted)) return rank;
  }
  return -1;
}

// The message at the head from the rank, its parts found and their sizes checked. False: none yet.
bool DispatchReceiver::open(int rank, Message* message, Status* failure) noexcept {
  Mesh::Incoming raw;
  if (!exchange_.mesh.peek(rank, signature_, &raw, failure)) return false;
  if (raw.bytes >= sizeof(MessageHead)) message->head = read_as<MessageHead>(raw.data);
  const MessageHead& head = message->head;
  const bool refers = head.by_reference != 0;
  const uint64_t rows = refers ? sizeof(transport::DirectReference)
                               : uint64_t{head.rows} * exchange_.facts.form.row_bytes();
  const uint64_t bytes =
      sizeof head + rows + head.meta_bytes + uint64_t{head.counts} * sizeof(uint32_t);
  if (raw.bytes < sizeof head || bytes > raw.bytes ||
      uint64_t{from(rank).rows} + head.rows > head.all_rows) {
    *failure = {StatusCode::kInternalError, exchange_.mesh.comm_rank(rank), kMalformed};
    return false;
  }
  message->rows = raw.data + sizeof head;
  message->meta = message->rows + rows;
  message->referred_bytes = 0;
  if (refers) {
    const auto reference = read_as<transport::DirectReference>(message->rows);
    message->referred_bytes = reference.bytes;
    if (!exchange_.mesh.find(rank, reference, &message->rows, failure)) return false;
  }
  message->counts = message->meta + head.meta_bytes;
  message->bytes = bytes;
  return true;
}

Status DispatchReceiver::count(int rank, const Message& message) noexcept {
  const Status malformed{StatusCode::kInternalError, exchange_.mesh.comm_rank(rank), kMalformed};
  const std::span<uint32_t> counts = table_.of(rank);
  if (message.head.counts != 0) {
    if (message.head.counts != counts.size()) return malformed;
    std::memcpy(counts.data(), message.counts, counts.size_bytes());
    return kOkStatus;
  }
  if (exchange_.facts.overflows || (!by_rank_ && message.head.rows != message.head.all_rows))
    return malformed;
  const std::byte* at = message.meta;
  for (uint32_t i = 0; i < message.head.rows && !by_rank_; ++i) {
    if (message.counts - at < static_cast<ptrdiff_t>(sizeof(RowHead))) return malformed;
    const auto row = read_as<RowHead>(at);
    at += sizeof row;
    if (static_cast<uint64_t>(message.counts - at) < row.entries * uint64_t{sizeof(Entry)})
      return malformed;
    for (uint32_t j = 0; j < row.entries; ++j, at += sizeof(Entry)) {
      const uint32_t slot = read_as<Entry>(at).local;
      if (slot >= counts.size()) return malformed;
      ++counts[slot];
    }
  }
  return kOkStatus;
}

Status DispatchReceiver::read_counts(bool* moved) noexcept {
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    Incoming& in = from(rank);
    Message message;
    Status failure;
    if (in.counted || !open(rank, &message, &failure)) {
      if (!failure.ok()) return failure;
      continue;
    }
    const Status status = count(rank, message);
    if (!status.ok()) return status;
    in.counted = true;
    in.all_rows = message.head.all_rows;
    --uncounted_;
    *moved = true;
  }
  return kOkStatus;
}

void DispatchReceiver::lay_out_all() noexcept {
  const Facts& facts = exchange_.facts;
  const int n = exchange_.mesh.n_ranks();
  const size_t slots = facts.placement.slots_of(facts.rank);
  const size_t first = facts.overflows && !by_rank_ ? facts.placement.first_slot(facts.rank) : 0;
  blocks_.assign(by_rank_ ? static_cast<size_t>(n) : slots, 0);
  for (int rank = 0; rank < n; ++rank) {
    if (by_rank_) {
      blocks_[static_cast<size_t>(rank)] = from(rank).all_rows;
      continue;
    }
    for (size_t slot = 0; slot < slots; ++slot) blocks_[slot] += table_.of(rank)[first + slot];
  }
  lay_out(blocks_, {by_rank_ ? size_t{1} : facts.config.alignment, facts.capacity},
          &exchange_.layout);
  exchange_.dropped_of_mine = exchange_.dropped_everywhere = 0;
  if (facts.overflows) find_overflows();
  start_positions();
  laid_out_ = true;
  if (skips_rows()) return;
  add(exchange_.counters.received_rows, exchange_.layout.received);
  add(exchange_.counters.dropped_rows, exchange_.layout.dropped);
}

// Which number in its block the first row of each source has.
void DispatchReceiver::start_positions() noexcept {
  const Facts& facts = exchange_.facts;
  const auto n = static_cast<size_t>(exchange_.mesh.n_ranks());
  const size_t first = facts.overflows && !by_rank_ ? facts.placement.first_slot(facts.rank) : 0;
  next_.assign(n, by_rank_ ? 1 : blocks_.size());
  if (by_rank_) return;
  for (int rank = 1; rank < exchange_.mesh.n_ranks(); ++rank) {
    for (size_t slot = 0; slot < blocks_.size(); ++slot)
      next_.of(rank)[slot] = next_.of(rank - 1)[slot] + table_.of(rank - 1)[first + slot];
  }
}

void DispatchReceiver::note_overflow(int rank, const ReceiveLayout& layout) noexcept {
  exchange_.dropped_everywhere += layout.dropped;
  if (layout.dropped == 0 || overflowed_rank_ >= 0) return;
  overflowed_rank_ = rank;
  overflowed_demand_ = layout.demand;
}

// Every rank has all counts, so all come to the same.
void DispatchReceiver::find_overflows() noexcept {
  const Facts& facts = exchange_.facts;
  const int n = exchange_.mesh.n_ranks();
  for (int rank = 0; rank < n; ++rank) {
    const size_t first = by_rank_ ? static_cast<size_t>(rank) : facts.placement.first_slot(rank);
    const size_t blocks = by_rank_ ? static_cast<size_t>(n) : facts.placement.slots_of(rank);
    const auto sent = [&](int source, size_t block) -> uint32_t {
      if (!by_rank_) return table_.of(source)[first + block];
      return static_cast<size_t>(source) == block ? table_.of(source)[first] : 0;
    };
    sums_.assign(blocks, 0);
    for (int source = 0; source < n; ++source) {
      for (size_t block = 0; block < blocks; ++block) sums_[block] += sent(source, block);
    }
    lay_out(sums_,
            {by_rank_ ? size_t{1} : facts.config.alignment,
             receive_capacity(facts.config, facts.placement, rank)},
            &other_);
    note_overflow(rank, other_);
    for (size_t block = 0; block < blocks; ++block) {
      uint64_t before = 0;
      for (int source = 0; source < facts.rank; ++source) before += sent(source, block);
      const uint64_t end = before + sent(facts.rank, block);
      exchange_.dropped_of_mine +=
          end - std::min<uint64_t>(end, std::max<uint64_t>(before, other_.kept[block]));
    }
  }
}

void DispatchReceiver::describe(uint32_t position, int rank, uint32_t token) noexcept {
  if (output_.source_ranks != nullptr) output_.source_ranks[position] = rank;
  if (output_.source_tokens != nullptr)
    output_.source_tokens[position] = static_cast<int32_t>(token);
}

void DispatchReceiver::describe_experts(uint32_t position, const std::byte* entries,
                                        uint32_t n) noexcept {
  const auto k = static_cast<size_t>(exchange_.facts.config.max_top_k);
  for (size_t i = 0; i < k; ++i) {
    const Entry entry = i < n ? read_as<Entry>(entries + i * sizeof(Entry)) : Entry{};
    if (output_.experts != nullptr)
      output_.experts[position * k + i] = i < n ? static_cast<int64_t>(entry.local) : -1;
    if (output_.weights != nullptr) output_.weights[position * k + i] = entry.weight;
  }
}

// Finds the places of the next row of the rank, as sinks; false when its entries are none.
bool DispatchReceiver::place(int rank, uint32_t token, const std::byte* entries,
                             uint32_t n) noexcept {
  const RowForm& form = exchange_.facts.form;
  const ReceiveLayout& layout = exchange_.layout;
  ReceivedFrom& received = exchange_.received[static_cast<size_t>(rank)];
  const auto first = static_cast<uint32_t>(received.places.size());
  n_sinks_ = 0;
  for (uint32_t i = 0; i < (by_rank_ ? 1 : n); ++i) {
    const Entry entry = by_rank_ ? Entry{static_cast<uint32_t>(rank), 1.0F}
                                 : read_as<Entry>(entries + i * sizeof(Entry));
    if (entry.local >= blocks_.size() || n_sinks_ == sinks_.size()) return false;
    const uint32_t number = next_.of(rank)[by_rank_ ? 0 : entry.local]++;
    if (number >= layout.kept[entry.local]) continue;
    const uint32_t position = layout.offsets[entry.local] + number;
    received.places.push_back({position, entry.weight});
    sinks_[n_sinks_++] = {output_.rows + size_t{position} * form.data_bytes,
                          output_.scales + size_t{position} * form.scale_bytes};
    describe(position, rank, token);
    if (by_rank_ && (output_.experts != nullptr || output_.weights != nullptr))
      describe_experts(position, entries, n);
  }
  received.rows.push_back({first, static_cast<uint32_t>(received.places.size()) - first});
  return true;
}

// A row as it travels, to the sinks.
void DispatchReceiver::copy(const std::byte* row) noexcept {
  const RowForm& form = exchange_.facts.form;
  if (n_sinks_ == 0) return;
  for (size_t i = 0; i < n_sinks_; ++i) copies_[i] = sinks_[i].data;
  kernels::copy_row(row, form.data_bytes, copies_.data(), n_sinks_);
  if (form.scale_bytes != 0) {
    for (size_t i = 0; i < n_sinks_; ++i) copies_[i] = sinks_[i].scales;
    kernels::copy_row(row + form.data_bytes, form.scale_bytes, copies_.data(), n_sinks_);
  }
  add(exchange_.counters.dispatch_copy_bytes,
      (kernels::row_reads(n_sinks_) + n_sinks_) * form.row_bytes());
}

void DispatchReceiver::finish(int rank) noexcept {
  from(rank).finished = true;
  --unfinished_;
}

// False: the message contradicts itself.
bool DispatchReceiver::place_rows(int rank, const Message& message) noexcept {
  const std::byte* meta = message.meta;
  for (uint32_t i = 0; i < message.head.rows; ++i) {
    if (message.counts - meta < static_cast<ptrdiff_t>(sizeof(RowHead))) return false;
    const auto row = read_as<RowHead>(meta);
    meta += sizeof row;
    if (static_cast<uint64_t>(message.counts - meta) < row.entries * uint64_t{sizeof(Entry)})
      return false;
    const std::byte* const data = message.row(exchange_.facts.form, i, row.token);
    if (data == nullptr || !place(rank, row.token, meta, row.entries)) return false;
    copy(data);
    meta += row.entries * sizeof(Entry);
  }
  return true;
}

Status DispatchReceiver::read_rows(int rank, bool* moved) noexcept {
  Incoming& in = from(rank);
  Message message;
  Status failure;
  if (!open(rank, &message, &failure)) return failure;
  const Status gave_up{StatusCode::kRemoteError, exchange_.mesh.comm_rank(rank),
                       "a peer has given up while its memory was being read"};
  const bool refers = message.head.by_reference != 0 && !skips_rows();
  if (refers && !exchange_.mesh.begin_reading(rank)) return gave_up;
  const bool right = skips_rows() || place_rows(rank, message);
  if (refers && !exchange_.mesh.end_reading(rank)) return gave_up;
  if (!right) return {StatusCode::kInternalError, exchange_.mesh.comm_rank(rank), kMalformed};
  in.rows += message.head.rows;
  exchange_.mesh.release(rank, message.bytes);
  *moved = true;
  if (in.rows == in.all_rows) finish(rank);
  return kOkStatus;
}

void DispatchReceiver::place_own(bool* moved) noexcept {
  const Facts& facts = exchange_.facts;
  Incoming& in = from(facts.rank);
  const Destination& own = exchange_.routing.to(facts.rank);
  const uint32_t end =
      skips_rows() ? in.all_rows : std::min<uint32_t>(in.all_rows, in.rows + uint32_t{kOwnTokens});
  for (; in.rows < end; ++in.rows) {
    const RoutedRow& row = own.rows[in.rows];
    // Behind the sender, which may quantise it for others too.
    if (!sender_.done() && row.token >= sender_.next_token()) break;
    *moved = true;
    if (skips_rows()) continue;
    const auto* const entries = reinterpret_cast<const std::byte*>(&own.entries[row.first]);
    (void)place(facts.rank, row.token, entries, row.count);  // made by this rank itself
    if (n_sinks_ != 0) copy_own(row.token);
  }
  sender_.placed(in.rows);
  if (in.rows == in.all_rows) finish(facts.rank);
}

// The token that place() has found sinks for, which is the next of this rank.
void DispatchReceiver::copy_own(size_t token) noexcept {
  const RowForm& form = exchange_.facts.form;
  const std::byte* const input = input_ + token * form.input_bytes();
  const std::byte* const kept = sender_.kept(from(exchange_.facts.rank).rows);
  if (kept != nullptr) return copy(kept);
  if (form.quantization == Quantization::kNone) return copy(input);
  kernels::quantize_row(input, form.quantized, sinks_.data(), n_sinks_);
  add(exchange_.counters.dispatch_copy_bytes,
      form.input_bytes() + (kernels::row_reads(n_sinks_) - 1 + n_sinks_) * form.row_bytes());
}

Status DispatchReceiver::advance(bool* moved) noexcept {
  if (!laid_out_) {
    const Status status = read_counts(moved);
    if (!status.ok()) return status;
    if (uncounted_ != 0) return kOkStatus;
    lay_out_all();
    *moved = true;
  }
  for (int rank = 0; rank < exchange_.mesh.n_ranks(); ++rank) {
    if (from(rank).finished) continue;
    if (rank == exchange_.facts.rank) {
      place_own(moved);
      continue;
    }
    const Status status = read_rows(rank, moved);
    if (!status.ok()) return status;
  }
  return kOkStatus;
}

}  // namespace tutti::moe
