// SPDX-License-Identifier: Apache-2.0
// The short way for single sends and receives: what a communicator has sent or received before, it
// does again without looking anything up.
#pragma once

#include "src/comm/calls.h"
#include "src/comm/communicator.h"

namespace tutti::comm {

// Sends or receives on the calling thread, to the end, if this communicator has done so before, it
// is its turn at once, and there is room for its first message. False when not, and nothing has
// been done. Throws Error when it fails. Not in a group, and without a stream; the
// communicator is open. The buffer has been checked against NULL.
bool run_repeated(Communicator& comm, const P2pCall& call);
// After a call that went the long way and ended well: the next one like it may go the short way.
void remember(Communicator& comm, const P2pCall& call) noexcept;

}  // namespace tutti::comm
