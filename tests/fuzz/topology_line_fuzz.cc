// SPDX-License-Identifier: Apache-2.0
// Synthetic machines: one line of text makes a graph.
#include <cctype>

#include "tests/fuzz/fuzz.h"
#include "topology/formats/native_json.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  using namespace topology;
  const auto graph = accepted([&] { return synthetic(input); });
  if (!graph) return;
  validate(*graph);
  constexpr size_t kMostNodes = 2000;  // writing more takes long and shows nothing new
  if (graph->nodes.size() > kMostNodes) return;
  const Report report{*graph, {}};
  require(read_native_json(write_native_json(report), "again") == report, "a graph comes back");
  require(synthetic(input) == *graph, "a line means one graph");
}

std::vector<std::string> seeds() {
  return {"host cores=8 numa=2",
          "host cores=2 memory=64G nics=1 nic=12.5 x3",
          "dgx-a100 x2",
          "dgx-h100 x2 fabric=flat",
          "dgx-1v nics=4",
          "gb200-nvl72 x2 sharp=1",
          "hgx-b200 x2 fabric=fat-tree leaf=4 spines=2 oversubscription=1.25",
          "mi250 x3 fabric=rail-spine leaf=2",
          "pcie gpus=4 per-switch=2 gen=5 sockets=2 smp=20 nics=2"};
}

}  // namespace tutti::fuzz
