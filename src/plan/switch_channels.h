// SPDX-License-Identifier: Apache-2.0
// Switch channels of a plan: what they are called, and the rules that their steps keep.
#pragma once

#include "src/plan/plan.h"

namespace tutti::plan {

// "multicast from rank 2, channel 3", "reduction into rank 2, channel 3".
std::string to_text(const SwitchChannel& entry);

// Throws InvalidArgument naming the entry, or rank, lane and step, when an entry is out of range,
// twice or in the wrong place, when no connection is of it, when a connection is of two, or when a
// step breaks the rules of SwitchChannel. The steps by themselves are well formed.
void check_switch_channels(const Plan& plan);

}  // namespace tutti::plan
