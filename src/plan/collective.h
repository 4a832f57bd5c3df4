// SPDX-License-Identifier: Apache-2.0
// What each collective means: its blocks, which buffer of which rank holds them, and how chunks are
// named.
//
// The data of a collective is a set of blocks. Each block is split into `chunks_per_block` chunks;
// a chunk's global name is its extent = block * chunks_per_block + chunk. Blocks (n ranks):
//   AllReduce, Reduce, Broadcast              1 block
//   AllGather, ReduceScatter, Gather, Scatter n blocks, block b belongs to rank b
//   AllToAll                                  n*n blocks, block s*n+d goes from rank s to rank d
//   Barrier                                   none
// A buffer holds whole blocks in ascending order; chunk index within a buffer = position of its
// block * chunks_per_block + chunk. In place means: the input chunk and the output chunk of one
// rank that have the same extent are the same memory.
#pragma once

#include <cstdint>
#include <string_view>

namespace tutti::plan {

enum class Collective : uint8_t {
  kAllReduce,
  kReduce,
  kBroadcast,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kGather,
  kScatter,
  kBarrier,
};
inline constexpr int kCollectiveCount = 9;

// "all_reduce", "reduce", "broadcast", "all_gather", "reduce_scatter", "all_to_all", "gather",
// "scatter", "barrier".
const char* name(Collective collective) noexcept;
// The same in capitals or without underscores too: "AllReduce", "allreduce". Throws InvalidArgument
// with the list of names.
Collective collective_from_name(std::string_view name);
bool has_root(Collective collective) noexcept;  // Reduce, Broadcast, Gather, Scatter
bool reduces(Collective collective) noexcept;   // AllReduce, Reduce, ReduceScatter

enum class Buffer : uint8_t { kInput, kOutput, kScratch };
const char* name(Buffer buffer) noexcept;  // "input", "output", "scratch"

inline constexpr int32_t kNoExtent = -1;

struct Shape {
  Collective collective = Collective::kAllReduce;
  int32_t n_ranks = 1;
  int32_t root = 0;              // 0 where the collective has none
  int32_t chunks_per_block = 1;  // 0 only for Barrier
  bool operator==(const Shape&) const = default;
};

int32_t block_count(const Shape& shape) noexcept;
inline int32_t extent_count(const Shape& shape) noexcept {
  return block_count(shape) * shape.chunks_per_block;
}

// Number of blocks that the input or output buffer of `rank` holds; 0 where the buffer is not
// significant (e.g. the output of Reduce away from the root). Scratch holds none.
int32_t blocks_in(const Shape& shape, int32_t rank, Buffer buffer) noexcept;
// The block at `position` of that buffer; position < blocks_in().
int32_t block_at(const Shape& shape, int32_t rank, Buffer buffer, int32_t position) noexcept;
// The position of `block` in that buffer, -1 when it is not there.
int32_t position_of(const Shape& shape, int32_t rank, Buffer buffer, int32_t block) noexcept;
// Extent of chunk `index` of that buffer; kNoExtent when out of range or for scratch.
int32_t extent_of(const Shape& shape, int32_t rank, Buffer buffer, int32_t index) noexcept;

}  // namespace tutti::plan
