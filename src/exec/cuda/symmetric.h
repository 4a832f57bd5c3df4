// SPDX-License-Identifier: Apache-2.0
// Collectives on symmetric memory: every rank has an area of GPU memory that the GPUs of all ranks
// reach, and one kernel per piece reads and writes the areas of all
// (src/kernels/cuda/symmetric_args.h).
//
// The bytes of a call pass through the areas: the user's input is copied to where peers read it,
// and what peers have written is copied to the user's output, both in the stream of the call. A
// kernel ends when all ranks have read and written everything, so the areas are used again by what
// comes next in the stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/device/cuda/abi.h"
#include "src/kernels/cuda/symmetric_args.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/kernels/reduce_copy.h"
#include "src/plan/collective.h"

namespace tutti::exec {

// Of one rank. The memory outlives the executor whose launches use it.
struct SymmetricRegion {
  uint32_t rank = 0;
  uint32_t n_ranks = 0;
  // Equal on all ranks.
  uint32_t blocks = 0;    // of a launch, at most
  size_t area_bytes = 0;  // a multiple of kAreaUnit
  // Mapped here, by rank.
  std::vector<std::byte*> areas;
  std::vector<uint64_t*> flags;    // symmetric_flags_bytes(blocks, n_ranks), zero at first
  uint32_t* epochs = nullptr;      // own, one per block, zero at first
  std::byte* multicast = nullptr;  // of all areas; null: the GPUs have no switch that multicasts
};
inline constexpr size_t kAreaUnit = 512;
inline constexpr size_t kLeastAreaBytes = gpu::kMostRanks * kAreaUnit;

// How the bytes go; n ranks.
enum class SymmetricWay : uint8_t {
  kNone,
  // Every rank reads what it needs from all areas: the folded inputs, or the blocks. One barrier
  // before and one behind.
  kOneShot,
  // AllReduce: rank r folds slice r of all areas and writes it to all. Broadcast: rank r reads
  // slice r of the root's area and writes it to the others'.
  kTwoShot,
  // The switch folds and copies, through multicast addresses.
  kNvls,
};
// Of even blocks. Types and operations matter for kNvls.
bool symmetric_carries(SymmetricWay way, plan::Collective collective, DType dtype, Op op) noexcept;

struct SymmetricCall {
  SymmetricWay way = SymmetricWay::kOneShot;
  plan::Collective collective = plan::Collective::kAllReduce;
  DType dtype = DType::kInt8;
  Op op = Op::kSum;
  kernels::Scaling scaling;
  uint32_t root = 0;
  size_t count = 0;  // elements of a block
  // Addresses that the GPU reaches; null where the rank has no such buffer.
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  uint32_t signature = 0;  // of the call, equal on all ranks
  uint64_t call = 0;       // its number, for who watches
  cuda::Stream stream = nullptr;
};

// Bytes that go from one rank to another in a call, for counters; through the switch too.
size_t symmetric_bytes(const SymmetricCall& call, uint32_t n_ranks, uint32_t from,
                       uint32_t to) noexcept;

}  // namespace tutti::exec
