// SPDX-License-Identifier: Apache-2.0
// A graph's links as elements of NCCL XML. Only the writer uses it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <pugixml.hpp>

#include "topology/graph.h"

namespace tutti::topology::nccl {

class GpuLinks {
 public:
  explicit GpuLinks(const Graph& graph);

  bool is_rccl() const { return rccl_; }  // only its dialect can say it
  bool uses(int32_t nvswitch) const;      // a GPU has a link to it
  std::vector<int32_t> pcie_neighbours(int32_t node) const;

  // The gpu element in `pci`, where more is known than that it is one. `addresses` are the PCI
  // addresses of all nodes.
  void write_gpu(int32_t gpu, const std::vector<std::string>& addresses, pugi::xml_node pci);
  void write_pci_links(int32_t pci_switch, const std::vector<std::string>& addresses,
                       pugi::xml_node pci);
  // Adds links that have no element, or only one that says another bandwidth, by what they are.
  void count_left_out(std::map<std::string, int>* left_out) const;

 private:
  struct Bundle {  // parallel links, as from one end
    int64_t links = 0;
    int64_t mbit_s = 0;  // of all whose bandwidth is known
    bool exact = true;   // each carries what the format takes one to carry
  };

  struct Target {  // of a link element
    std::string address;
    std::string pci_class;
  };

  const Node& node(int32_t index) const { return graph_.nodes[static_cast<size_t>(index)]; }
  int32_t above(int32_t index, NodeKind kind) const;
  bool is_target(int32_t gpu, int32_t other) const;
  bool is_own_numa(int32_t gpu, int32_t other) const;
  bool is_beside(int32_t a, int32_t b) const;
  bool is_left_out(const Link& link) const;
  int64_t count(LinkType type, int32_t gpu, int32_t other, const Bundle& bundle) const;
  Target target_of(int32_t other, const std::vector<std::string>& addresses) const;
  void write_bundles(int32_t gpu, const std::vector<std::string>& addresses, pugi::xml_node at);
  void write_c2c(int32_t gpu, pugi::xml_node at) const;

  const Graph& graph_;
  bool rccl_ = false;
  std::vector<std::vector<size_t>> links_of_;  // by node
  std::vector<int32_t> rank_of_;               // by node; -1: no GPU
  std::map<LinkType, int64_t> slowest_;        // of GPU links whose bandwidth is known
  int inexact_ = 0;  // ends of bundles whose bandwidth comes out different
};

}  // namespace tutti::topology::nccl
