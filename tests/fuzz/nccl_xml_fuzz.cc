// SPDX-License-Identifier: Apache-2.0
// Topologies in NCCL's XML and RCCL's dialect of it.
#include "tests/fuzz/fuzz.h"
#include "topology/formats/native_json.h"
#include "topology/formats/nccl_xml.h"
#include "topology/formats/tree_text.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  using namespace topology;
  const auto report = accepted([&] { return read_nccl_xml(input, "file"); });
  if (!report) return;
  validate(report->graph);
  const std::string xml = write_nccl_xml(*report);
  const Report again = read_nccl_xml(xml, "again");
  require(again.graph == report->graph, "a topology comes back");
  require(write_nccl_xml(again) == xml, "it is written alike");
  require(read_native_json(write_native_json(*report), "json") == *report,
          "it can be kept as JSON");
  require(!tree_text(*report).empty(), "it can be drawn");
}

std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const char* line : {"host cores=2 numa=2 nics=2", "dgx-1v", "dgx-h100"})
    texts.push_back(topology::write_nccl_xml({topology::synthetic(line), {}}));
  return texts;
}

}  // namespace tutti::fuzz
