// SPDX-License-Identifier: Apache-2.0
// Exactly once: runs a plan on symbolic values that say whose data they hold and what was done to
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/verify/layout.h"
#include "src/verify/network.h"
#include "src/verify/verifier.h"

namespace tutti::verify {

// A set of ranks.
class RankSet {
 public:
  explicit RankSet(int32_t n_ranks = 0) : words_((n_ranks + 63) / 64, 0) {}
  void insert(int32_t rank) noexcept { words_[rank / 64] |= uint64_t{1} << (rank % 64); }
  bool contains(int32_t rank) const noexcept { return (words_[rank / 64] >> (rank % 64) & 1) != 0; }
  bool empty() const noexcept;
  int32_t size() const noexcept;
  int32_t first() const noexcept;  // -1 when empty
  int32_t last() const noexcept;   // -1 when empty
  RankSet& operator|=(const RankSet& other) noexcept;
  RankSet operator&(const RankSet& other) const;
  bool operator==(const RankSet&) const = default;
  std::string to_string() const;  // "{0-3, 7}"

 private:
  std::vector<uint64_t> words_;
};

// The inputs of the ranks in `unscaled` and `scaled` (disjoint) at `extent`, summed. A rank can be
// in it only once: the reduction that would count it twice is refused.
struct Value {
  int32_t extent = plan::kNoExtent;
  RankSet unscaled;   // as the user gave them
  RankSet scaled;     // after `pre`
  bool post = false;  // the final scaling was applied
  // How the sum came about; a lone contribution is a sum of one. No part of what the value is.
  FoldOrder order = FoldOrder::kInOrderOnce;
  bool operator==(const Value& other) const {
    return extent == other.extent && unscaled == other.unscaled && scaled == other.scaled &&
           post == other.post;
  }
  std::string to_string() const;
};

// Runs the first tile in `order`, which must be an order that the plan allows. When the plan has no
// race every other order gives the same values, and every tile does the same. `results` (one per
// node, out of place) is filled out of place and compared with in place: a rank's steps must
// compute the same whatever the others chose. Lowers *fold_order to what holds for every output.
Rejection check_values(const Network& network, const std::vector<NodeId>& order, Mode mode,
                       std::vector<Value>* results, FoldOrder* fold_order);

}  // namespace tutti::verify
