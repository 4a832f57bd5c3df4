// SPDX-License-Identifier: Apache-2.0
// What messages of a placed plan go by: the links that each crosses, and how long the way is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/verify/placement.h"
#include "src/verify/simulator.h"
#include "src/verify/switch_tree.h"

namespace tutti::verify {

// Each link is two ways, numbered by way_of(). A carrier is what messages go by: a connection has
// its own, of its number; those of a switch channel share one, which comes after them.
struct Ways {
  std::vector<double> bytes_per_ns;   // by way; meaningless where no route goes
  std::vector<uint32_t> carriers;     // by connection
  std::vector<uint32_t> hops;         // carrier by carrier
  std::vector<uint32_t> first_hop;    // by carrier, and one past the last
  std::vector<double> latency_ns;     // by carrier: of its longest way
  std::vector<double> bytes_carried;  // by carrier
  std::vector<SwitchTree> trees;      // of the carriers after the connections'

  std::span<const uint32_t> hops_of(uint32_t carrier) const {
    return std::span(hops).subspan(first_hop[carrier], first_hop[carrier + 1] - first_hop[carrier]);
  }
  // Null for a connection's own.
  const SwitchTree* tree_of(uint32_t carrier) const {
    return carrier < carriers.size() ? nullptr : &trees[carrier - carriers.size()];
  }
};

// The placement has been checked. Throws InvalidArgument naming a link that is crossed and whose
// capacity that way is unknown or 0.
Ways ways_of(const plan::Plan& plan, const Placement& placement, const topology::Graph& graph,
             const SimulationParameters& parameters);

}  // namespace tutti::verify
