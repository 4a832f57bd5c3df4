// SPDX-License-Identifier: Apache-2.0
// Draws a topology as text for people.
#pragma once

#include <string>

#include "topology/report.h"

namespace tutti::topology {

// The containment tree with sizes and the bandwidth towards the parent, then the other links by
// kind and bandwidth, then the notes. Runs of siblings that look the same are drawn once. UTF-8.
std::string tree_text(const Report& report);

}  // namespace tutti::topology
