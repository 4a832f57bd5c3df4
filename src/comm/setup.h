// SPDX-License-Identifier: Apache-2.0
// Collective set-up: joining a communicator by its id, splitting one, and exchanging bytes over an
// existing one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "src/bootstrap/bootstrap.h"
#include "src/comm/communicator.h"

namespace tutti::comm {

// Joins as `rank` of `n_ranks`; blocks until all have. Throws Error; early when *aborted becomes
// true (may be null).
std::shared_ptr<Communicator> join(const bootstrap::UniqueId& id, const Seat& seat,
                                   const Options& options, const std::atomic<bool>* aborted,
                                   uint64_t owner);

inline constexpr int kNoColor = -1;
// Collective over `parent`. Null for kNoColor. Throws Error.
std::shared_ptr<Communicator> split(Communicator& parent, int color, int key,
                                    const Options& options, uint64_t owner);

// Everybody's bytes over the data path of a communicator, in its issue order.
Exchange exchange_over(Communicator& comm, const char* purpose);

}  // namespace tutti::comm
