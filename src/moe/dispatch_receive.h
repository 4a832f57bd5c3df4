// SPDX-License-Identifier: Apache-2.0
// The receiving half of a dispatch: lays rows out when it has the counts of all sources, then
// copies each from its slot to its places, in whatever order messages come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/moe/context.h"
#include "src/moe/dispatch_send.h"

namespace tutti::moe {

class DispatchReceiver {
 public:
  // `sender` may have quantised rows of this rank already.
  DispatchReceiver(Exchange& exchange, DispatchSender& sender);

  // `input` is this rank's own, for the tokens that stay here.
  void start(const std::byte* input, const Output& output, uint32_t signature);
  Status advance(bool* moved) noexcept;
  bool done() const noexcept { return unfinished_ == 0; }
  // Rank of the group whose messages are missing; -1: none.
  int waiting_for() const noexcept;
  bool needs(int rank) const noexcept { return !from(rank).finished; }
  // Some rank would have received more than it has room for; nothing was written here.
  bool overflowed() const noexcept { return laid_out_ && overflowed_rank_ >= 0; }
  int overflowed_rank() const noexcept { return overflowed_rank_; }
  uint64_t overflowed_demand() const noexcept { return overflowed_demand_; }

 private:
  struct Incoming {
    bool counted = false;
    bool finished = false;
    uint32_t all_rows = 0;
    uint32_t rows = 0;  // placed so far
  };
  struct Message;
  Incoming& from(int rank) noexcept { return from_[static_cast<size_t>(rank)]; }
  const Incoming& from(int rank) const noexcept { return from_[static_cast<size_t>(rank)]; }
  bool skips_rows() const noexcept {
    return overflowed_rank_ >= 0 && exchange_.facts.config.overflow == Overflow::kError;
  }
  bool open(int rank, Message* message, Status* failure) noexcept;
  Status read_counts(bool* moved) noexcept;
  Status count(int rank, const Message& message) noexcept;
  void count_own() noexcept;
  void lay_out_all() noexcept;
  void note_overflow(int rank, const ReceiveLayout& layout) noexcept;
  void find_overflows() noexcept;
  void start_positions() noexcept;
  bool place_rows(int rank, const Message& message) noexcept;
  Status read_rows(int rank, bool* moved) noexcept;
  void place_own(bool* moved) noexcept;
  void copy_own(size_t token) noexcept;
  bool place(int rank, uint32_t token, const std::byte* entries, uint32_t n) noexcept;
  void describe(uint32_t position, int rank, uint32_t token) noexcept;
  void describe_experts(uint32_t position, const std::byte* entries, uint32_t n) noexcept;
  void copy(const std::byte* row) noexcept;
  void finish(int rank) noexcept;

  Exchange& exchange_;
  DispatchSender& sender_;
  const bool by_rank_;
  const std::byte* input_ = nullptr;
  Output output_;
  uint32_t signature_ = 0;
  int uncounted_ = 0;   // sources whose counts are missing
  int unfinished_ = 0;  // sources, this rank included
  bool laid_out_ = false;
  int overflowed_rank_ = -1;
  uint64_t overflowed_demand_ = 0;
  std::vector<Incoming> from_;  // by rank
  CountTable table_;            // of this rank's slots, or of all slots (all ranks)
  CountTable next_;             // by source and block: the next row's number in its block
  std::vector<uint32_t> blocks_;
  // Of another rank, while overflows are looked for.
  ReceiveLayout other_;
  std::vector<uint32_t> sums_;
  // Of the row being placed.
  std::vector<kernels::RowSink> sinks_;
  std::vector<std::byte*> copies_;
  size_t n_sinks_ = 0;
};

}  // namespace tutti::moe
