// SPDX-License-Identifier: Apache-2.0
// Messages of a dispatch.
//
// A message holds a MessageHead, `rows` rows of W bytes, a RowHead with its entries for each of
// them, and, where `counts` is not 0, that many counts of 4 bytes: in the first message of a
// source, rows by slot of the receiver, or, where some rank may receive too much, by slot of every
// rank (rank-major: rows by rank). A receiver can lay out all rows when it has the first message of
// each source. Where all rows are in the first message and nothing can be too much there are no
// counts: the receiver counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "src/moe/routing.h"
#include "transport/fifo.h"

namespace tutti::moe {

struct MessageHead {
  uint32_t rows = 0;
  uint32_t all_rows = 0;  // of the source, to this rank
  uint32_t counts = 0;
  uint32_t meta_bytes = 0;  // row heads and entries
  // 1: a DirectReference to the source's tokens is where the rows would be; token i is row i of it.
  uint32_t by_reference = 0;
  uint32_t unused = 0;
};
static_assert(sizeof(MessageHead) == 24 && std::is_trivially_copyable_v<MessageHead>);

struct RowHead {
  uint32_t token = 0;  // of the source
  uint32_t entries = 0;
};
static_assert(sizeof(RowHead) == 8 && std::is_trivially_copyable_v<RowHead>);

// Of a combine, in a line: instead of rows, where they lie with their rank. The rows of a source
// are next to each other there; those beyond `rows` were dropped, and are zeros.
struct ReferredRows {
  transport::DirectReference reference{};
  uint64_t rows = 0;
};
static_assert(sizeof(ReferredRows) == 32 && sizeof(ReferredRows) <= transport::kInlineBytes);

// Nothing in a message is aligned.
template <typename T>
T read_as(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
std::byte* write_as(std::byte* to, const T& value) noexcept {
  std::memcpy(to, &value, sizeof value);
  return to + sizeof value;
}

constexpr size_t meta_bytes(size_t entries) noexcept {
  return sizeof(RowHead) + entries * sizeof(Entry);
}
// A slot that holds any row with what comes with it.
constexpr size_t least_slot_bytes(size_t row_bytes, size_t entries, size_t counts) noexcept {
  return sizeof(MessageHead) + sizeof(transport::DirectReference) + row_bytes +
         meta_bytes(entries) + counts * sizeof(uint32_t);
}

}  // namespace tutti::moe
