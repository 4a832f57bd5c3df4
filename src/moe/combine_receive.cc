// SPDX-License-Identifier: Apache-2.0
// Takes rows from all ranks of one token at a time.
#include "src/moe/combine_receive.h"

#include <algorithm>
#include <optional>

#include "src/moe/wire.h"

namespace tutti::moe {

CombineReceiver::CombineReceiver(Exchange& exchange, CombineSender& sender)
    : exchange_(exchange),
      sender_(sender),
      partial_bytes_(partial_bytes(exchange.facts.config)),
      from_(static_cast<size_t>(exchange.mesh.n_ranks())),
      terms_(from_.size()),
      hosts_(from_.size()),
      zeros_(std::make_unique<std::byte[]>(partial_bytes_)),
      own_(std::make_unique<std::byte[]>(partial_bytes_)) {
  const int hosts = *std::max_element(exchange.facts.host_of.begin(), exchange.facts.host_of.end());
  if (exchange.facts.config.reduction == Reduction::kHier)
    host_sums_ = std::make_unique<std::byte[]>(static_cast<size_t>(hosts + 1) * partial_bytes_);
}

void CombineReceiver::start(std::byte* output, uint32_t signature) {
  output_ = output;
  signature_ = signature;
  token_ = 0;
  waiting_for_ = -1;
  std::fill(from_.begin(), from_.end(), Incoming{});
}

// The next row from the rank; false when it is not there yet.
bool CombineReceiver::find(int rank, Status* failure) noexcept {
  Incoming& in = from_[static_cast<size_t>(rank)];
  if (in.data != nullptr) return true;
  Mesh::Incoming raw;
  if (!exchange_.mesh.peek(rank, signature_, &raw, failure)) return false;
  if (exchange_.mesh.is_inline(rank)) return take_reference(rank, raw.data, failure);
  if (raw.bytes == 0 || raw.bytes % partial_bytes_ != 0) {
    *failure = {StatusCode::kInternalError, exchange_.mesh.comm_rank(rank),
                "a message of a MoE combine is no number of whole rows"};
    return false;
  }
  in.data = raw.data;
  in.bytes = raw.bytes;
  in.used_bytes = 0;
  return true;
}

bool CombineReceiver::take_reference(int rank, const std::byte* message, Status* failure) noexcept {
  const auto referred = read_as<ReferredRows>(message);
  Incoming& in = from_[static_cast<size_t>(rank)];
  const std::byte* data = nullptr;
  if (referred.rows * partial_bytes_ != referred.reference.bytes) {
    *failure = {StatusCode::kInternalError, exchange_.mesh.comm_rank(rank),
                "a message of a MoE combine contradicts itself"};
    return false;
  }
  if (!exchange_.mesh.find(rank, referred.reference, &data, failure)) return false;
  in.data = data;
  in.bytes = referred.reference.bytes;
  in.used_bytes = 0;
  in.by_reference = true;
  return true;
}

const std::byte* CombineReceiver::next_row(const Incoming& in) const noexcept {
  const bool dropped = in.by_reference && in.used_bytes >= in.bytes;
  return dropped ? zeros_.get() : in.data + in.used_bytes;
}

// Around the sum of a token. False: a rank whose rows are read has given up.
bool CombineReceiver::set_reading(size_t token, bool begins) noexcept {
  bool whole = true;
  for (const Hop& hop : exchange_.routing.hops(token)) {
    if (!from_[static_cast<size_t>(hop.rank)].by_reference) continue;
    const bool there =
        begins ? exchange_.mesh.begin_reading(hop.rank) : exchange_.mesh.end_reading(hop.rank);
    if (there) continue;
    waiting_for_ = hop.rank;
    whole = false;
  }
  return whole;
}

bool CombineReceiver::find_all(size_t token, Status* failure) noexcept {
  for (const Hop& hop : exchange_.routing.hops(token)) {
    if (hop.rank == exchange_.mesh.self() || find(hop.rank, failure)) continue;
    waiting_for_ = hop.rank;
    return false;
  }
  return true;
}

// Replaces terms by their sums, host by host; returns how many there are.
size_t CombineReceiver::sum_hosts(size_t n) noexcept {
  const Config& config = exchange_.facts.config;
  const size_t most = terms_.size();
  size_t sums = 0;
  int last = -1;
  // Hosts ascending, and the ranks of each in their order: terms are ascending by rank.
  while (true) {
    int host = -1;
    for (size_t i = 0; i < n; ++i) {
      if (hosts_[i] > last && (host < 0 || hosts_[i] < host)) host = hosts_[i];
    }
    if (host < 0) break;
    host_terms_.clear();
    for (size_t i = 0; i < n; ++i) {
      if (hosts_[i] == host) host_terms_.push_back(terms_[i]);
    }
    std::byte* const out = host_sums_.get() + sums * partial_bytes_;
    kernels::sum_rows({host_terms_.data(), nullptr, host_terms_.size(), config.hidden}, out);
    ++sums;
    last = host;
  }
  for (size_t i = 0; i < sums && i < most; ++i) terms_[i] = host_sums_.get() + i * partial_bytes_;
  return sums;
}

void CombineReceiver::sum(size_t token) noexcept {
  const Facts& facts = exchange_.facts;
  const size_t hidden = facts.config.hidden;
  size_t n = 0;
  std::optional<size_t> own;  // which of the terms
  kernels::RowSum own_sum;
  for (const Hop& hop : exchange_.routing.hops(token)) {
    hosts_[n] = facts.host_of[static_cast<size_t>(hop.rank)];
    if (hop.rank == facts.rank) {
      own = n;
      own_sum = sender_.own_terms(hop.row);
      terms_[n++] = own_.get();
    } else {
      terms_[n++] = next_row(from_[static_cast<size_t>(hop.rank)]);
    }
  }
  add(exchange_.counters.combine_copy_bytes,
      (n - (own.has_value() ? 1 : 0)) * partial_bytes_ + facts.form.input_bytes());
  std::byte* const out = output_ + token * facts.form.input_bytes();
  switch (facts.config.reduction) {
    case Reduction::kOnce:
      if (own.has_value()) kernels::sum_rows_unrounded(own_sum, own_.get());
      return kernels::sum_float_rows({terms_.data(), nullptr, n, hidden}, out);
    case Reduction::kPerRank:
      if (own.has_value())
        return kernels::sum_rows_around({terms_.data(), nullptr, n, hidden}, own_sum, *own, out);
      return kernels::sum_rows({terms_.data(), nullptr, n, hidden}, out);
    case Reduction::kHier:
      if (own.has_value()) kernels::sum_rows(own_sum, own_.get());
      n = sum_hosts(n);
      return kernels::sum_rows({terms_.data(), nullptr, n, hidden}, out);
  }
}

void CombineReceiver::take(size_t token) noexcept {
  for (const Hop& hop : exchange_.routing.hops(token)) {
    Incoming& in = from_[static_cast<size_t>(hop.rank)];
    ++in.rows;
    if (hop.rank == exchange_.mesh.self()) continue;
    in.used_bytes += partial_bytes_;
    const bool last = in.rows == exchange_.routing.to(hop.rank).rows.size();
    if (in.by_reference ? !last : in.used_bytes < in.bytes) continue;
    exchange_.mesh.release(hop.rank, in.by_reference ? sizeof(ReferredRows) : in.bytes);
    in.data = nullptr;
  }
}

Status CombineReceiver::advance(size_t most_tokens, bool* moved) noexcept {
  Status failure;
  const size_t end = std::min(token_ + most_tokens, exchange_.routing.tokens());
  for (; token_ < end; ++token_) {
    if (!find_all(token_, &failure)) return failure;
    const Status gave_up{StatusCode::kRemoteError, -1,
                         "a peer has given up while its memory was being read"};
    const bool began = set_reading(token_, true);
    if (began) sum(token_);
    if (!set_reading(token_, false) || !began) return gave_up;
    take(token_);
    *moved = true;
  }
  return kOkStatus;
}

}  // namespace tutti::moe
