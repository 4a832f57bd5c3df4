// SPDX-License-Identifier: Apache-2.0
// The net elements of an NCCL XML file: one port of a NIC each. Only the reader uses it.
#pragma once

#include <vector>

#include <pugixml.hpp>

#include "topology/formats/nccl_document.h"

namespace tutti::topology::nccl {

// Those in a nic element that stand for a port of their own; the others are noted.
std::vector<pugi::xml_node> kept_nets(Document& document, pugi::xml_node nic);

// Adds what the element says of its port.
void read_net(Document& document, pugi::xml_node net, Attributes& attributes);

}  // namespace tutti::topology::nccl
