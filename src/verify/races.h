// SPDX-License-Identifier: Apache-2.0
// What must be ordered by happens-before: conflicting accesses, reads through references, and a
// barrier's two sides.
#pragma once

#include <vector>

#include "src/verify/happens_before.h"
#include "src/verify/layout.h"
#include "src/verify/network.h"

namespace tutti::verify {

// One use of a location by a step.
struct Access {
  NodeId node = 0;
  bool writes = false;
};
// By location, in execution order.
using Accesses = std::vector<std::vector<Access>>;
Accesses accesses_of(const Network& network, const std::vector<NodeId>& order,
                     const Layout& layout);

// Two accesses of one location, at least one of which writes, must be ordered.
Rejection check_races(const Network& network, const Accesses& accesses, const Layout& layout,
                      Mode mode, HappensBefore& order);

// May this connection's messages be references to the sender's input and output chunks? True when
// no such chunk changes between the step that sends it and the end of the step that consumes it.
bool is_reference_safe(const Network& network, const Connection& connection, const Layout& layout,
                       const Accesses& accesses, HappensBefore& order);

// No rank may end a Barrier before every rank has started it.
Rejection check_barrier(const Network& network, const std::vector<NodeId>& order);

}  // namespace tutti::verify
