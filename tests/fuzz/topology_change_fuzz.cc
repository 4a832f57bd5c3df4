// SPDX-License-Identifier: Apache-2.0
// What-if changes: a line with a synthetic machine, a line with positions of GPUs (each a
// character), and the changes.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "topology/change.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {
namespace {

using topology::Graph;
using topology::Link;

std::string_view take_line(std::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

bool slower_or_equal(int64_t after, int64_t before) {
  return after == before || before == topology::kUnknown || (after >= 0 && after < before);
}

void check_changed(const Graph& graph, std::string_view changes) {
  const auto after = accepted([&] { return changed(graph, changes); });
  if (!after) return;
  validate(*after);
  require(after->nodes == graph.nodes, "nodes stay as they are");
  require(after->links.size() == graph.links.size(), "links stay");
  for (size_t i = 0; i < graph.links.size(); ++i) {
    const Link& now = after->links[i];
    Link link = graph.links[i];
    require(slower_or_equal(now.forward_mbit_s, link.forward_mbit_s), "no link is sped up");
    require(slower_or_equal(now.reverse_mbit_s, link.reverse_mbit_s), "no link is sped up");
    link.forward_mbit_s = now.forward_mbit_s;
    link.reverse_mbit_s = now.reverse_mbit_s;
    require(now == link, "nothing else changes");
  }
}

Graph check_only_gpus(const Graph& graph, std::string_view characters) {
  std::vector<int32_t> positions;
  for (const char c : characters) positions.push_back(c - '0');
  auto some = accepted([&] { return only_gpus(graph, positions); });
  if (!some) return graph;
  validate(*some);
  const std::vector<int32_t> all = nodes_of_kind(graph, topology::NodeKind::kGpu);
  const std::vector<int32_t> left = nodes_of_kind(*some, topology::NodeKind::kGpu);
  require(left.size() == positions.size(), "each position is a GPU");
  std::sort(positions.begin(), positions.end());
  for (size_t i = 0; i < left.size(); ++i)
    require(some->nodes[left[i]].id == graph.nodes[all[positions[i]]].id,
            "the GPUs that are named");
  std::vector<int32_t> every(left.size());
  for (size_t i = 0; i < every.size(); ++i) every[i] = static_cast<int32_t>(i);
  require(only_gpus(*some, every) == *some, "what is left is all needed");
  return std::move(*some);
}

}  // namespace

void run(std::string_view input) {
  const std::string_view line = take_line(input);
  const std::string_view positions = take_line(input);
  const auto graph = accepted([&] { return topology::synthetic(line); });
  constexpr size_t kMostNodes = 1000;
  if (!graph || graph->nodes.size() > kMostNodes) return;
  check_changed(check_only_gpus(*graph, positions), input);
}

std::vector<std::string> seeds() {
  return {"dgx-a100 x2\n\ndown box0/nic3, slow box1/nic0=12.5; lanes box0/gpu1=8/16",
          "dgx-1v\n013\none-way gpu0 gpu3=10,down gpu1", "gb200-nvl72\n0567\nslow tray1 nvswitch=1",
          "pcie nics=2 x2\n08\ndown box1; lanes box0/pciswitch0=1/2",
          "host numa=2 cores=2\n\nslow numa0 numa1=0.5"};
}

}  // namespace tutti::fuzz
