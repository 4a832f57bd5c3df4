// SPDX-License-Identifier: Apache-2.0
// Calls as the flight recorder writes them.
#pragma once

#include <span>

#include "src/comm/calls.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

trace::Call recorded_call(const CollectiveCall& call) noexcept;
trace::Call recorded_call(const OrderedCall& call) noexcept;
// One record for all calls of a group.
trace::Call recorded_call(std::span<const P2pCall> calls) noexcept;

}  // namespace tutti::comm
