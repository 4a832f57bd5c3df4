// SPDX-License-Identifier: Apache-2.0
// Hops in certificates: "+3" crosses link 3 of the topology as it is written there, "-3" the other
// way.
#pragma once

#include <string>

#include "src/plan/json_node.h"
#include "src/verify/placement.h"

namespace tutti::verify {

std::string hop_text(const Hop& hop);
Hop read_hop(const plan::JsonNode& item);  // throws InvalidArgument

}  // namespace tutti::verify
