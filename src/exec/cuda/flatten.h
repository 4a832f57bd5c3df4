// SPDX-License-Identifier: Apache-2.0
// A compiled program as the records that thread blocks read (device_program.h): no addresses yet,
// so it is the same for every call and every place the records are copied to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/exec/cuda/device_program.h"
#include "src/exec/program.h"

namespace tutti::exec {

// One end of a connection that a lane uses.
struct FlatEndpoint {
  bool sends = false;
  uint16_t index = 0;  // into Program::send_peers or recv_peers
};

struct FlatLane {
  std::vector<std::byte> code;  // DeviceLane::code; a multiple of 16 bytes
  uint32_t n_steps = 0;
  uint32_t operands_offset = 0;
  uint32_t waits_offset = 0;
  std::vector<FlatEndpoint> endpoints;  // in the order of DeviceLane::endpoints
};

struct FlatProgram {
  std::vector<FlatLane> lanes;
};

// throws InvalidUsage, naming the step, when one has more operands than gpu::kMostOperands.
FlatProgram flatten(const Program& program);

}  // namespace tutti::exec
