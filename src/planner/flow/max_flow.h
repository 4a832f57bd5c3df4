// SPDX-License-Identifier: Apache-2.0
// Maximum flows and minimum cuts on small and large graphs, by LEMON's push-relabel algorithm.
//
// LEMON 1.3.1 needs C++17, so max_flow.cc is compiled as such and this header must be too.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tutti::planner {

// Capacities are integers; the sum of those that enter a sink must fit into an int64.
class MaxFlow {
 public:
  explicit MaxFlow(int32_t n_nodes);
  ~MaxFlow();
  MaxFlow(MaxFlow&&) noexcept;
  MaxFlow& operator=(MaxFlow&&) noexcept;
  MaxFlow(const MaxFlow&) = delete;
  MaxFlow& operator=(const MaxFlow&) = delete;

  // Returns the arc's index, counted from 0.
  int32_t add_arc(int32_t from, int32_t to, int64_t capacity);
  void set_capacity(int32_t arc, int64_t capacity);

  // The value of a maximum flow. source and sink are different nodes.
  int64_t run(int32_t source, int32_t sink);
  // A minimum cut of the last run: by node, whether it is on the source's side.
  std::vector<bool> source_side() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tutti::planner
