// SPDX-License-Identifier: Apache-2.0
// Where received rows lie: a pure function of how many rows each rank sends to each slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/moe/placement.h"

namespace tutti::moe {

// How many rows every source rank sends: to each of this rank's slots, or of any rank's.
class CountTable {
 public:
  void assign(size_t n_sources, size_t n_columns) {
    columns_ = n_columns;
    counts_.assign(n_sources * n_columns, 0);
  }
  size_t columns() const noexcept { return columns_; }
  std::span<uint32_t> of(int source) noexcept {
    return {counts_.data() + static_cast<size_t>(source) * columns_, columns_};
  }
  std::span<const uint32_t> of(int source) const noexcept {
    return {counts_.data() + static_cast<size_t>(source) * columns_, columns_};
  }

 private:
  size_t columns_ = 0;
  std::vector<uint32_t> counts_;
};

// Rows of one rank's receive buffer. Expert-major: of each slot in turn, from a multiple of the
// alignment on, by source rank and then by token. Rank-major: by source rank and then by token.
// What does not fit is dropped: the last rows of a slot (of the whole), and all of later slots that
// begin beyond the end.
struct ReceiveLayout {
  // By slot, or rank-major by source rank.
  std::vector<uint32_t> counts;  // before any drop
  std::vector<uint32_t> kept;
  std::vector<uint32_t> aligned;  // rows that the block takes, its gap included
  std::vector<uint32_t> offsets;  // of the block
  uint64_t demand = 0;            // rows that everything would take
  uint64_t rows = 0;              // that are taken
  uint64_t received = 0;          // without gaps
  uint64_t dropped = 0;
};
struct LayoutRule {
  size_t alignment = 1;
  size_t capacity = 0;  // rows
};
// `counts`: of each block.
void lay_out(std::span<const uint32_t> counts, const LayoutRule& rule, ReceiveLayout* layout);

}  // namespace tutti::moe
