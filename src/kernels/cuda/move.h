// SPDX-License-Identifier: Apache-2.0
// One sinks <- reduce(sources) as kernels are given it: plain data, shared by host and device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::gpu {

// Of one step, sources and sinks each.
inline constexpr uint32_t kMostOperands = 64;
// Of a block, in every kernel.
inline constexpr int kMostThreads = 512;

// What PreMulSum and Avg need, prepared by make_scaling() (scaling.h).
struct Scaling {
  uint64_t pre = 0;         // one element of the dtype in the lowest bytes
  uint64_t multiplier = 0;  // integers: see kernels::Divider
  uint32_t shift = 0;
  uint32_t divisor = 1;  // 1: no division
};

// The reduction of a call, the same for all its steps. `fold` is Sum, Prod, Min or Max; Avg and
// PreMulSum fold as Sum, and which sources and results are scaled is said where they are.
struct Reduction {
  Scaling scaling;
  Op fold = Op::kSum;
  bool pre = false;   // PreMulSum: sources that are marked are multiplied first
  bool post = false;  // Avg: results that are marked are divided, by a divisor above 1
};

// The numerics are those of kernels::reduce_copy, to the bit. Any alignment; a sink may be the same
// address as a source, no other overlap. Trivial, for shared memory.
struct Move {
  const std::byte* sources[kMostOperands];
  std::byte* sinks[kMostOperands];
  uint64_t pre_mask;  // bit i: source i is multiplied first
  uint64_t bytes;     // of every operand
  uint32_t n_sources;
  uint32_t n_sinks;
  bool post;
};
static_assert(std::is_trivial_v<Move>);
static_assert(kMostOperands <= 64, "Move::pre_mask has a bit for each source");

}  // namespace tutti::gpu
