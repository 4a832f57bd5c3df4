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
  return {"host cores=8 numa=2", "host cores=2 memory=64G nics=1 nic=12.5 x3", "dgx-a100 x2",
          "dgx-h100 x2 fabric=flat", "dgx-1v"};
}

}  // namespace tutti::fuzz
