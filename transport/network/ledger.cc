// SPDX-License-Identifier: Apache-2.0
// Rings of sequence numbers.
#include "transport/network/ledger.h"

#include <algorithm>
#include <utility>

namespace tutti::transport::network {

Sent& Outbox::push(Sent sent) {
  if (next_ - first_ == ring_.size()) {
    std::vector<Sent> larger(ring_.size() * 2);
    for (uint64_t s = first_; s != next_; ++s) larger[s & (larger.size() - 1)] = std::move(at(s));
    ring_ = std::move(larger);
  }
  sent.frame.header.sequence = next_;
  Sent& kept = at(next_++);
  kept = std::move(sent);
  return kept;
}

Sent* Outbox::find(uint64_t sequence) noexcept {
  return sequence - first_ < next_ - first_ ? &at(sequence) : nullptr;
}

void Outbox::acknowledge(uint64_t cumulative, uint64_t bits) noexcept {
  if (cumulative >= next_) return;  // not of ours
  for (uint64_t s = first_; s <= cumulative; ++s) at(s).acknowledged = true;
  for (uint64_t s = std::max(cumulative + 2, first_); bits != 0 && s < next_; ++s) {
    const uint64_t bit = s - cumulative - 2;
    if (bit >= 64) break;
    if ((bits >> bit & 1) != 0) at(s).acknowledged = true;
  }
  retire();
}

void Outbox::acknowledge(const Arrivals& arrivals) noexcept {
  if (arrivals.cumulative >= next_) return;  // not of ours
  for (uint64_t s = first_; s != next_; ++s) at(s).acknowledged |= arrivals.has(s);
  retire();
}

void Outbox::read(uint64_t sequence) noexcept {
  if (Sent* sent = find(sequence); sent != nullptr) sent->reader = nullptr;
  retire();
}

void Outbox::retire() noexcept {
  while (first_ != next_ && at(first_).acknowledged && at(first_).reader == nullptr) {
    at(first_).owned.reset();
    ++first_;
  }
}

bool Inbox::is_new(uint64_t sequence) const noexcept {
  return sequence > cumulative() && sequence - cumulative() <= kWindow && !arrivals_.has(sequence);
}

void Inbox::mark(uint64_t sequence) noexcept {
  auto& [cumulative, seen] = arrivals_;
  seen[(sequence % kWindow) / 64] |= uint64_t{1} << (sequence % 64);
  while (arrivals_.has(cumulative + 1)) {
    ++cumulative;
    seen[(cumulative % kWindow) / 64] &= ~(uint64_t{1} << (cumulative % 64));
  }
}

uint64_t Inbox::bits() const noexcept {
  uint64_t bits = 0;
  for (uint64_t i = 0; i < 64; ++i) {
    if (arrivals_.has(cumulative() + 2 + i)) bits |= uint64_t{1} << i;
  }
  return bits;
}

}  // namespace tutti::transport::network
