// SPDX-License-Identifier: Apache-2.0
// A verified plan on simulated devices, one per rank, in one process: what src/exec/cuda's host
// side does, at its plainest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "src/exec/cuda/flatten.h"
#include "tests/cuda/gpu_memory.h"
#include "tests/cuda/host_run.h"

namespace tutti::test {

struct PlanSetting {
  exec::DeviceProtocol protocol = exec::DeviceProtocol::kSimple;
  uint32_t slot_bytes = 1024;
  uint32_t threads = 64;
  uint32_t shared_bytes = 8192;  // of dynamic shared memory; little: code is read from memory
  bool mixed = false;            // odd channels and descending ranks have kSimple connections
  uint64_t first_message = 0;    // messages that every connection has had already
};

class PlanRun {
 public:
  PlanRun(const Gpus& gpus, std::shared_ptr<const planner::VerifiedPlan> plan,
          const PlanSetting& setting);
  // Largest chunk that every connection carries.
  size_t capacity() const;
  // Starts the call on every device's stream. Buffers are device memory.
  void launch(const HostCall& call, const std::vector<std::byte*>& inputs,
              const std::vector<std::byte*>& outputs, uint32_t signature);
  // On one device only.
  void launch_on(int rank, const HostCall& call, std::byte* input, std::byte* output,
                 uint32_t signature);
  uint64_t failure(int rank) const;
  std::vector<uint64_t> reports(int rank) const;
  void abort(int rank) const;
  // In every slot, beyond the 64 bytes of data that short messages fill: flags of the `count`
  // messages after `first`.
  void leave_flags(uint64_t first, uint32_t count, uint32_t signature);
  const planner::VerifiedPlan& plan() const { return *plan_; }

 private:
  struct Rank {
    exec::Program program;
    exec::DeviceLane* lanes = nullptr;
    uint32_t n_lanes = 0;
    exec::DeviceLaneState* states = nullptr;
    exec::DeviceProgramState* state = nullptr;
    std::byte* scratch = nullptr;
    gpu::Watch watch;
  };
  struct Fifo {
    std::byte* slots;
    std::byte* lines;
    uint64_t* released;
    exec::DeviceProtocol protocol;
  };
  const Fifo& fifo(int from, int to, int channel);
  exec::DeviceProtocol protocol_of(int from, int to, int channel) const;
  void set_up(int rank);
  exec::DeviceEndpoint endpoint(int rank, const exec::FlatEndpoint& flat);

  const Gpus& gpus_;
  const std::shared_ptr<const planner::VerifiedPlan> plan_;
  const PlanSetting setting_;
  std::map<std::pair<std::pair<int, int>, int>, Fifo> fifos_;
  std::vector<Rank> ranks_;
};

}  // namespace tutti::test
