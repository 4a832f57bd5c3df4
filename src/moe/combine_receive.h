// SPDX-License-Identifier: Apache-2.0
// The receiving half of a combine: sums what the ranks of each token send, in the order of ranks,
// straight from slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/moe/combine_send.h"
#include "src/moe/context.h"

namespace tutti::moe {

class CombineReceiver {
 public:
  // `sender` makes this rank's own sums.
  CombineReceiver(Exchange& exchange, CombineSender& sender);

  // `output` [tokens][hidden].
  void start(std::byte* output, uint32_t signature);
  Status advance(size_t most_tokens, bool* moved) noexcept;
  bool done() const noexcept { return token_ == exchange_.routing.tokens(); }
  int waiting_for() const noexcept { return done() ? -1 : waiting_for_; }
  bool needs(int rank) const noexcept {
    const Incoming& in = from_[static_cast<size_t>(rank)];
    return in.rows < exchange_.routing.to(rank).rows.size();
  }

 private:
  // The message at the head from one rank.
  struct Incoming {
    const std::byte* data = nullptr;  // null: none has been looked at
    size_t bytes = 0;
    size_t used_bytes = 0;      // of it
    size_t rows = 0;            // taken, of all messages
    bool by_reference = false;  // `data` is all rows, where they lie
  };
  const std::byte* next_row(const Incoming& in) const noexcept;
  bool take_reference(int rank, const std::byte* message, Status* failure) noexcept;
  bool set_reading(size_t token, bool begins) noexcept;
  bool find(int rank, Status* failure) noexcept;
  bool find_all(size_t token, Status* failure) noexcept;
  void sum(size_t token) noexcept;
  void take(size_t token) noexcept;
  size_t sum_hosts(size_t n) noexcept;

  Exchange& exchange_;
  CombineSender& sender_;
  const size_t partial_bytes_;
  std::byte* output_ = nullptr;
  uint32_t signature_ = 0;
  size_t token_ = 0;  // next
  int waiting_for_ = -1;
  std::vector<Incoming> from_;  // by rank
  // Of one token: what its ranks have sent, and which host each is on.
  std::vector<const std::byte*> terms_;
  std::vector<int> hosts_;
  std::vector<const std::byte*> host_terms_;
  std::unique_ptr<std::byte[]> zeros_;      // a row that was dropped
  std::unique_ptr<std::byte[]> own_;        // this rank's sum
  std::unique_ptr<std::byte[]> host_sums_;  // with HIER: one for each host
};

}  // namespace tutti::moe
