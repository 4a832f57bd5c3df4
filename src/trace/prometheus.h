// SPDX-License-Identifier: Apache-2.0
// Counters in the text format that Prometheus scrapes.
#pragma once

#include <span>
#include <string>

#include "src/trace/counters.h"

namespace tutti::trace {

// Version 0.0.4 of the exposition format. Labels: comm (the communicator's number), rank, and where
// they apply peer, protocol, direction and collective.
std::string prometheus_text(std::span<const Counters> all);

}  // namespace tutti::trace
