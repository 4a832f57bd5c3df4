// SPDX-License-Identifier: Apache-2.0
// What a MoE layer must yield on one rank, from the inputs of all, row by row in plain C++. Shares
// no code with the library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tests/moe/case.h"

namespace tutti::moe_test {

// A row of a receive buffer.
struct ExpectedRow {
  int source = 0;
  size_t token = 0;
  std::vector<uint8_t> data;  // as received
  std::vector<uint8_t> scales;
  std::vector<uint16_t> value;  // what it stands for, in bfloat16: what experts compute with
  // Expert-major: one; rank-major: those of the token on this rank, in the order of its top-k.
  std::vector<int> locals;
  std::vector<float> weights;
};

struct ExpectedReceive {
  std::map<size_t, ExpectedRow> rows;  // by place
  std::vector<uint32_t> counts, received, aligned, offsets;
  uint64_t taken = 0, demand = 0, dropped = 0;
};

class Layer {
 public:
  explicit Layer(const Case& c);
  // Rows that the rank would need for everything.
  uint64_t demand(int rank) const { return demands_[static_cast<size_t>(rank)]; }
  // What every rank has room for (config.maxReceiveRows; 0: for anything).
  size_t capacity() const { return capacity_; }
  bool overflows() const;
  uint64_t dropped_by_all() const;
  uint64_t dropped_of(int source) const;
  const ExpectedReceive& receive(int rank) const;
  std::vector<std::vector<uint16_t>> combined(int rank) const;
  // Rows that go from one rank to another.
  size_t rows(int source, int rank) const;
  const RankInput& input(int rank) const { return inputs_[static_cast<size_t>(rank)]; }
  const std::vector<std::vector<int>>& placement() const { return placement_; }

 private:
  struct Pair {
    int local = 0;
    float weight = 0;
  };
  // Of one token on one rank, in the order of its top-k.
  std::vector<Pair> pairs(int source, size_t token, int rank) const;
  int find_home(int source, int expert) const;
  int home(int source, int64_t expert) const {
    return homes_[static_cast<size_t>(source)][static_cast<size_t>(expert)];
  }
  ExpectedReceive lay_out(int rank, bool with_rows) const;
  uint64_t room(int rank) const;
  std::vector<uint16_t> computed(const ExpectedRow& row) const;
  ExpectedRow make_row(int source, size_t token) const;

  Case case_;
  std::vector<int> host_of_;
  std::vector<std::vector<int>> placement_;
  std::vector<RankInput> inputs_;
  std::vector<uint64_t> demands_;
  size_t capacity_ = 0;
  std::vector<std::vector<int>> homes_;                           // by source and expert
  mutable std::vector<std::optional<ExpectedReceive>> received_;  // by rank, once asked for
};

// What the expert at that place of a rank makes of an element: exact in bfloat16.
inline float expert_factor(int local) {
  return local % 3 == 0 ? 1.0F : local % 3 == 1 ? 2.0F : 0.5F;
}

}  // namespace tutti::moe_test
