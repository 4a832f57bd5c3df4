// SPDX-License-Identifier: Apache-2.0
// Where the tokens of one rank go: what follows from its top-k table alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/moe/placement.h"

namespace tutti::moe {

// One expert of one token on the rank that has it.
struct Entry {
  uint32_t local = 0;  // slot on that rank
  float weight = 0;
};
static_assert(sizeof(Entry) == 8);

// A token on its way to one rank.
struct RoutedRow {
  uint32_t token = 0;
  uint32_t first = 0;  // of its entries
  uint32_t count = 0;
};
struct Destination {
  std::vector<RoutedRow> rows;  // ascending by token
  std::vector<Entry> entries;   // of the rows, one after the other; ascending by slot of the top-k
};
// A rank that a token goes to, and which of the rows it is there.
struct Hop {
  int rank = 0;
  uint32_t row = 0;
};

struct TopK {
  const int64_t* experts = nullptr;  // [tokens][k], -1: none
  const float* weights = nullptr;    // the same shape; null: all 1
  size_t tokens = 0;
  int k = 0;
};

class Routing {
 public:
  // Memory is kept from one call to the next. Throws InvalidArgument naming the token, its expert
  // and what is allowed; then the routing is empty.
  void assign(const TopK& top_k, const std::vector<Placement::Home>& homes,
              const Placement& placement);

  size_t tokens() const noexcept { return tokens_; }
  const Destination& to(int rank) const noexcept { return to_[static_cast<size_t>(rank)]; }
  // Ascending by rank.
  std::span<const Hop> hops(size_t token) const noexcept {
    return {hops_.data() + first_hop_[token], hops_.data() + first_hop_[token + 1]};
  }
  // By slot of the placement, how many rows this rank sends there.
  const std::vector<uint32_t>& counts() const noexcept { return counts_; }
  // Pairs of a token and an expert that nobody computes, since all who have it are masked.
  uint64_t masked() const noexcept { return masked_; }

 private:
  void clear(const Placement& placement);
  void add(uint32_t token, const Placement::Home& home, float weight);
  void close(size_t token);

  size_t tokens_ = 0;
  std::vector<Destination> to_;    // by rank
  std::vector<size_t> first_hop_;  // by token, and one more
  std::vector<Hop> hops_;
  std::vector<uint32_t> counts_;
  std::vector<int> touched_;  // ranks of the token being added
  uint64_t masked_ = 0;
};

}  // namespace tutti::moe
