// SPDX-License-Identifier: Apache-2.0
// New communicators from one that may be broken: fewer ranks, or more. Its boards carry the
// invitation, a rendezvous of its own does the rest, so nothing of the old data path is needed.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "src/bootstrap/bootstrap.h"
#include "src/comm/communicator.h"

namespace tutti::comm {

// What a rank contributes to a reshape.
struct Reshape {
  const Options& options;
  const std::atomic<bool>* cancelled = nullptr;  // may be null
  uint64_t owner = 0;                            // see Team
};

// Called by every rank that is not excluded, with the same list; the new ranks are those left, in
// order. Works on a broken communicator. Throws RemoteError naming the rank when one of those left
// has died, or does not come by the deadline.
std::shared_ptr<Communicator> shrink(Communicator& parent, const std::vector<int>& excluded,
                                     const Reshape& reshape);

// Called by every rank of `parent`, which keeps its number; the ranks from parent.n_ranks() to
// n_ranks - 1 join with the id by themselves. `id`: on one rank of the parent, which hands it to
// the others; null on those.
std::shared_ptr<Communicator> grow(Communicator& parent, int n_ranks, const bootstrap::UniqueId* id,
                                   const Reshape& reshape);

}  // namespace tutti::comm
