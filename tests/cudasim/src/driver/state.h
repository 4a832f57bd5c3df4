// SPDX-License-Identifier: Apache-2.0
// What the driver knows in this process.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <sys/types.h>

#include "tests/cudasim/src/machine.h"
#include "tests/cudasim/src/objects.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {

// Memory by cuMemCreate, of this or another process, or a multicast object.
struct AllocationRecord {
  std::shared_ptr<Backing> backing;
  abi::AllocationProperties properties{};
  int references = 1;
  int mappings = 0;
};

// Guarded by the engine's mutex, but for pid.
struct State {
  std::atomic<pid_t> pid{0};                                 // of the process that called cuInit
  std::vector<std::unique_ptr<abi::ContextObject>> primary;  // by device
  std::vector<std::unique_ptr<abi::ContextObject>> others;
  std::set<const abi::ContextObject*> contexts;
  std::set<const abi::EventObject*> events;
  std::map<abi::AllocationHandle, AllocationRecord> allocations;
  abi::AllocationHandle next_allocation = 0x5a0000001;
  uint64_t ids = 0;
};
State& state();

AllocationRecord& allocation_of(abi::AllocationHandle handle);  // throws Failure
abi::AllocationHandle add_allocation(std::shared_ptr<Backing> backing,
                                     const abi::AllocationProperties& properties);
// Forgets what neither handles nor mappings need any more.
void release_allocation(abi::AllocationHandle handle);

}  // namespace cudasim
