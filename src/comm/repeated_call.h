// SPDX-License-Identifier: Apache-2.0
// The short way for small calls: what a communicator has done before it does again without looking
// anything up.
#pragma once

#include <cstddef>

#include "src/comm/calls.h"
#include "src/comm/communicator.h"

namespace tutti::comm {

// Runs a collective with even blocks on the calling thread, to its end, if this communicator has
// made one like it before (then its arguments are right, but for the buffers, which are checked), it
// is its turn at once, and it is short enough for a straight line. Returns false when it is not, and
// nothing has been done. Throws Error when it fails. Not in a group, and without a stream; the
// communicator is open. `name`: a literal, as the user has called it.
bool run_repeated(Communicator& comm, const char* name, CallKey key, const void* input,
                  void* output);

}  // namespace tutti::comm
