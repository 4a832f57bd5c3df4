// SPDX-License-Identifier: Apache-2.0
// Multicast objects: which memory of which device stands behind each byte.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tests/cudasim/src/backing.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {

// Throw Failure.
std::shared_ptr<Backing> create_multicast(uint32_t devices, uint64_t bytes, uint32_t handle_types);
void add_device(Backing& multicast, int device);
bool is_complete(const Backing& multicast);
// Until it is, as the driver does; kTimeout after CUDASIM_HANG_MS.
void wait_for_team(const Backing& multicast);
// `memory` is kept open by this process until it is unbound.
void bind_memory(Backing& multicast, uint64_t offset, const std::shared_ptr<Backing>& memory,
                 uint64_t memory_offset, uint64_t bytes);
void unbind_memory(Backing& multicast, int device, uint64_t offset, uint64_t bytes);

// For the engine's thread: where `bytes` at `offset` of the object are on each device, in the order
// in which devices were added. Count 0 and *why when a device has bound nothing there.
Replicas replicas_of(const Region& region, uint64_t offset, uint32_t bytes, std::string* why);

}  // namespace cudasim
