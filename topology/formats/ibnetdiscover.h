// SPDX-License-Identifier: Apache-2.0
// Reads what the tool ibnetdiscover prints about an InfiniBand subnet.
#pragma once

#include <string>
#include <string_view>

#include "topology/report.h"

namespace tutti::topology {

// The graph is that of fabric_report() (topology/fabric.h). Each adapter, switch or router is a
// block:
//
//   Switch  40 "S-0c42a10300000001"  # "leaf1" enhanced port 0 lid 6 lmc 0
//   [1]     "H-0c42a103000000a0"[1](c42a103000000a0)  # "node7 mlx5_0" lid 19 4xHDR
//
// Grouped output (-g) is read too. Throws InvalidArgument "NAME: line N: REASON" for anything else,
// and when the blocks contradict each other.
Report read_ibnetdiscover(std::string_view text, const std::string& name);

// Whether a text that is neither XML nor JSON can be meant for read_ibnetdiscover().
bool looks_like_ibnetdiscover(std::string_view text);

}  // namespace tutti::topology
