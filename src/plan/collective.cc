// SPDX-License-Identifier: Apache-2.0
// The block semantics of each collective, as one table of "who holds what" and a little arithmetic
// on it.
#include "src/plan/collective.h"

#include <array>
#include <string>

#include "src/base/error.h"

namespace tutti::plan {
namespace {

// Which blocks a buffer holds.
enum class Holding : uint8_t {
  kNothing,
  kTheBlock,  // block 0, the only one
  kOwn,       // block `rank`
  kEvery,     // blocks 0 .. n-1
  kFromRank,  // AllToAll: blocks rank*n .. rank*n + n-1
  kToRank,    // AllToAll: blocks rank, n + rank, 2n + rank, ...
};

struct CollectiveRow {
  const char* name;
  bool has_root;
  bool reduces;
  Holding input;       // of a rank that is not the root
  Holding input_root;  // of the root; the same where there is none
  Holding output;
  Holding output_root;
};

using enum Holding;
constexpr std::array<CollectiveRow, kCollectiveCount> kRows{{
    {"all_reduce", false, true, kTheBlock, kTheBlock, kTheBlock, kTheBlock},
    {"reduce", true, true, kTheBlock, kTheBlock, kNothing, kTheBlock},
    {"broadcast", true, false, kNothing, kTheBlock, kTheBlock, kTheBlock},
    {"all_gather", false, false, kOwn, kOwn, kEvery, kEvery},
    {"reduce_scatter", false, true, kEvery, kEvery, kOwn, kOwn},
    {"all_to_all", false, false, kFromRank, kFromRank, kToRank, kToRank},
    {"gather", true, false, kOwn, kOwn, kNothing, kEvery},
    {"scatter", true, false, kNothing, kEvery, kOwn, kOwn},
    {"barrier", false, false, kNothing, kNothing, kNothing, kNothing},
}};

const CollectiveRow& row(Collective collective) noexcept {
  return kRows[static_cast<size_t>(collective)];
}

Holding holding(const Shape& shape, int32_t rank, Buffer buffer) noexcept {
  if (buffer == Buffer::kScratch || rank < 0 || rank >= shape.n_ranks) return kNothing;
  const CollectiveRow& r = row(shape.collective);
  const bool root = r.has_root && rank == shape.root;
  if (buffer == Buffer::kInput) return root ? r.input_root : r.input;
  return root ? r.output_root : r.output;
}

// "AllReduce", "all-reduce" and "allreduce" are all_reduce to us.
std::string letters_of(std::string_view name) {
  std::string letters;
  for (const char c : name) {
    if (c == '_' || c == '-') continue;
    letters += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return letters;
}

}  // namespace

const char* name(Collective collective) noexcept { return row(collective).name; }
bool has_root(Collective collective) noexcept { return row(collective).has_root; }
bool reduces(Collective collective) noexcept { return row(collective).reduces; }

Collective collective_from_name(std::string_view name) {
  std::string known;
  const std::string wanted = letters_of(name);
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (wanted == letters_of(kRows[i].name)) return static_cast<Collective>(i);
    known += (i == 0 ? "" : ", ") + std::string(kRows[i].name);
  }
  throw Error(StatusCode::kInvalidArgument,
              "no collective is called \"" + std::string(name) + "\"; expected one of " + known);
}

const char* name(Buffer buffer) noexcept {
  constexpr const char* kNames[] = {"input", "output", "scratch"};
  return kNames[static_cast<size_t>(buffer)];
}

int32_t block_count(const Shape& shape) noexcept {
  switch (shape.collective) {
    case Collective::kAllReduce:
    case Collective::kReduce:
    case Collective::kBroadcast:
      return 1;
    case Collective::kAllGather:
    case Collective::kReduceScatter:
    case Collective::kGather:
    case Collective::kScatter:
      return shape.n_ranks;
    case Collective::kAllToAll:
      return shape.n_ranks * shape.n_ranks;
    case Collective::kBarrier:
      break;
  }
  return 0;
}

int32_t blocks_in(const Shape& shape, int32_t rank, Buffer buffer) noexcept {
  switch (holding(shape, rank, buffer)) {
    case kNothing:
      return 0;
    case kTheBlock:
    case kOwn:
      return 1;
    case kEvery:
    case kFromRank:
    case kToRank:
      break;
  }
  return shape.n_ranks;
}

int32_t block_at(const Shape& shape, int32_t rank, Buffer buffer, int32_t position) noexcept {
  switch (holding(shape, rank, buffer)) {
    case kOwn:
      return rank;
    case kEvery:
      return position;
    case kFromRank:
      return rank * shape.n_ranks + position;
    case kToRank:
      return position * shape.n_ranks + rank;
    case kNothing:
    case kTheBlock:
      break;
  }
  return 0;
}

int32_t position_of(const Shape& shape, int32_t rank, Buffer buffer, int32_t block) noexcept {
  const int32_t n = shape.n_ranks;
  if (block < 0 || block >= block_count(shape)) return -1;
  switch (holding(shape, rank, buffer)) {
    case kNothing:
      break;
    case kTheBlock:
      return 0;
    case kOwn:
      return block == rank ? 0 : -1;
    case kEvery:
      return block;
    case kFromRank:
      return block / n == rank ? block % n : -1;
    case kToRank:
      return block % n == rank ? block / n : -1;
  }
  return -1;
}

int32_t extent_of(const Shape& shape, int32_t rank, Buffer buffer, int32_t index) noexcept {
  const int32_t chunks = shape.chunks_per_block;
  if (index < 0 || chunks <= 0 || index / chunks >= blocks_in(shape, rank, buffer))
    return kNoExtent;
  return block_at(shape, rank, buffer, index / chunks) * chunks + index % chunks;
}

}  // namespace tutti::plan
