// SPDX-License-Identifier: Apache-2.0
// What ibnetdiscover printed, from the text to the graph and to a host's place in it.
#include "tests/fuzz/fuzz.h"
#include "topology/fabric.h"
#include "topology/formats/ibnetdiscover.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"
#include "topology/synthetic.h"

namespace tutti::fuzz {
namespace {

// Two hosts on two switches.
constexpr const char* kText = R"(# Topology file
switchguid=0xa0(a0)
Switch	4 "S-00000000000000a0"		# "leaf0" base port 0 lid 2 lmc 0
[1]	"H-0000000000000010"[1](11) 		# "node0 mlx5_0" lid 3 4xHDR
[4]	"S-00000000000000b0"[1]		# "leaf1" lid 4 4xNDR s=4 w=2 v=4
Switch	4 "S-00000000000000b0"		# "leaf1" base port 0 lid 4 lmc 0
[1][ext 1]	"S-00000000000000a0"[4]		# "leaf0" lid 2 4xNDR
[2]	"H-0000000000000020"[2](22) 		# "node1 HCA-1" lid 5 1xFDR10
[3]	"H-0000000000000030"[1](31) 		# "Mellanox Technologies Aggregation Node" lid 6 4xHDR
caguid=0x10
Ca	1 "H-0000000000000010"		# "node0 mlx5_0"
[1](11) 	"S-00000000000000a0"[1]		# lid 3 lmc 0 "leaf0" lid 2 4xHDR
Ca	2 "H-0000000000000020"		# "node1 HCA-1"
[2](22) 	"S-00000000000000b0"[2]		# lid 5 lmc 0 "leaf1" lid 4 1xFDR10
Ca	1 "H-0000000000000030"		# "Mellanox Technologies Aggregation Node"
[1](31) 	"S-00000000000000b0"[3]		# lid 6 lmc 0 "leaf1" lid 4 4xHDR
)";

}  // namespace

void run(std::string_view input) {
  using namespace topology;
  const auto report = accepted([&] { return read_ibnetdiscover(input, "file"); });
  if (!report) return;
  require(looks_like_ibnetdiscover(input), "what is read is taken for what it is");
  require(read_native_json(write_native_json(*report), "again") == *report, "a fabric comes back");
  require(!tree_text(*report).empty(), "a fabric can be drawn");
  const Report host{synthetic("host nics=1"), {}};
  validate(join_fabric(host, *report).graph);
}

std::vector<std::string> seeds() { return {kText}; }

}  // namespace tutti::fuzz
