// SPDX-License-Identifier: Apache-2.0
// Where chunks lie: each chunk of each rank has a location, and in place two chunks may share one.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::verify {

enum class Mode : uint8_t { kOutOfPlace, kInPlace };
const char* name(Mode mode) noexcept;  // "out of place", "in place"

// Memory of one tile. Tiles have user memory of their own, and scratch of their own while both are
// in flight.
class Layout {
 public:
  Layout(const plan::Plan& plan, Mode mode);

  // `chunk` must be a chunk operand in range.
  uint32_t location(int32_t rank, const plan::Operand& chunk) const noexcept;
  uint32_t count() const noexcept { return count_; }

  // Does the step change the memory behind `sink`, one of its sinks? Not when the sink is a peer,
  // and not when the step copies a chunk onto itself (what an in-place copy of one's own block
  // amounts to): that must not touch memory.
  bool changes(int32_t rank, const plan::Step& step, const plan::Operand& sink) const noexcept;

 private:
  struct RankBase {
    uint32_t input = 0;
    uint32_t scratch = 0;
    std::vector<uint32_t> output;  // location of each output chunk
  };
  void place(const plan::Plan& plan, Mode mode, int32_t rank);

  std::vector<RankBase> ranks_;
  uint32_t count_ = 0;
};

}  // namespace tutti::verify
