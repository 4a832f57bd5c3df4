// SPDX-License-Identifier: Apache-2.0
// Topologies in the project's own JSON.
#include "tests/fuzz/fuzz.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"
#include "topology/merge.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  using namespace topology;
  const auto report = accepted([&] { return read_native_json(input, "file"); });
  if (!report) return;
  const Report again = read_native_json(write_native_json(*report), "again");
  require(again == *report, "a topology comes back");
  require(hash(again.graph) == hash(report->graph), "its hash comes back");
  require(!tree_text(*report).empty(), "a topology can be drawn");
  const std::vector<Report> twice = {*report, again};
  if (const auto merged = accepted([&] { return merge_hosts(twice); })) validate(merged->graph);
}

std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const char* line : {"host cores=3 numa=2 memory=64G nics=1", "dgx-1v", "dgx-a100 x2",
                           "host x2 nics=1 fabric=flat"}) {
    topology::Report report{topology::synthetic(line), {{"hwloc", "a note"}}};
    texts.push_back(topology::write_native_json(report));
  }
  return texts;
}

}  // namespace tutti::fuzz
