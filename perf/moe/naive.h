// SPDX-License-Identifier: Apache-2.0
// The pipeline that frameworks run without a MoE library, done as well as that can be: exact
// counts, one row per token and expert, the library's own kernels and collectives.
//
// Dispatch: quantise; count; AllToAll of counts; permute rows by (rank, expert); AllToAllv of rows;
// AllToAllv of their scales and weights (unless lean: then they are part of the rows); sort by
// expert. Combine: unsort; AllToAllv back; weighted sum. Permuting back and summing are one pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "perf/moe/layer.h"

namespace tutti::moe_perf {

class Naive {
 public:
  Naive(const Options& options, const Seat& seat, size_t tokens, const Demand& demand);
  // `results`: rows of the experts, expert by expert.
  Times run(const Input& input, const std::byte* results);
  const std::byte* rows() const { return sorted_.data(); }
  const std::byte* scales() const { return sorted_scales_.data(); }
  const std::byte* output() const { return output_.data(); }

 private:
  size_t experts_of(int rank) const;
  size_t first_expert(int rank) const;
  int rank_of(int64_t expert) const;
  void count(const Input& input);
  void exchange_counts();
  void quantize_and_permute(const Input& input);
  void exchange_rows();
  void sort();
  void unsort(const std::byte* results);
  void exchange_back();
  void sum(const Input& input);
  size_t side_bytes() const { return row_.scales + sizeof(float); }

  const Options& options_;
  const Seat seat_;
  const RowBytes row_;
  // Sent rows, later those that come back; received rows, later those that go back.
  Buffer mine_, theirs_;
  Buffer my_sides_, their_sides_;  // scales and weights of both
  Buffer quantized_;               // a token's row
  Buffer sorted_, sorted_scales_, output_;
  std::vector<size_t> sends_, recvs_;             // rows by rank
  std::vector<size_t> send_bytes_, recv_bytes_;   // the same times what a row takes
  std::vector<uint32_t> expert_counts_;           // of this rank's rows, by expert
  std::vector<uint32_t> counts_out_, counts_in_;  // [ranks][most experts of a rank]
  std::vector<uint32_t> place_;                   // of each (token, k) in what is sent; -1: none
  std::vector<uint32_t> sorted_place_;            // of each received row
};

}  // namespace tutti::moe_perf
