// SPDX-License-Identifier: Apache-2.0
// How a call is carried: algorithm, channels, protocol and slot sizes, as pure functions of agreed
// values (docs/adr/0006).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/comm/advice.h"
#include "src/comm/device_plans.h"
#include "src/comm/peers.h"
#include "src/exec/cuda/device_program.h"
#include "src/exec/task.h"
#include "src/kernels/dtypes.h"
#include "src/planner/planner.h"
#include "transport/fifo.h"

namespace tutti::comm {

// How GPUs send small messages to each other; equal on all ranks.
struct DeviceProtocols {
  // The best that every pair of ranks can have; kSimple: none, or not wanted.
  exec::DeviceProtocol small = exec::DeviceProtocol::kSimple;
  uint64_t most_bytes = 0;  // of a call that uses it
};

// Rank 0's configuration with every default filled in.
struct Tuning {
  std::string algorithm;  // empty: the cheapest
  // What the algorithm "nvls" asks for: calls that the switch can carry (exec::SymmetricWay) go by
  // it, the others by the cheapest row.
  bool nvls = false;
  size_t symmetric_bytes = 0;  // of symmetric memory, on each rank; 0: not wanted
  bool deterministic = false;
  // What the user gives for calls that it fits; null: nothing. Shared by the process's ranks.
  std::shared_ptr<const planner::VerifiedPlan> plan;
  // What was measured on rank 0's machine; null: nothing. Shared by the process's ranks.
  std::shared_ptr<const planner::Profile> profile;
  // What rank 0's tuner plugin wants; null: there is none. Each rank has a copy; shared
  // with the calls.
  std::shared_ptr<const Advice> advice;
  int channels = 1;
  planner::NetworkParameters network = planner::kTcpNetwork;  // between hosts
  transport::FifoLayout layout;
  exec::MessagePolicy policy;
  DeviceProtocols device;
  // For GPUs of one host; null: none. Shared with the communicator.
  std::shared_ptr<DevicePlans> machine;
};
// What was measured, and where the communicator runs; equal on all ranks.
struct Measured {
  std::string text;  // of a profile; empty: nothing
  int n_ranks = 1;
  int cores = 1;
  int ranks_per_host = 1;    // on rank 0's
  bool rdma = false;         // what hosts talk by; else TCP
  CacheSizes caches;         // of rank 0's machine; zeros: not known
  bool all_devices = false;  // see HostFacts
  bool whole_lines = false;
};
// Throws InvalidArgument naming the setting, its value and what is allowed, or what is wrong with
// the plan.
Tuning resolve(const AgreedConfig& agreed, const GivenPlan& plan = {},
               const Measured& measured = {});

// What a choice may depend on; equal on all ranks of one call.
struct Selection {
  plan::Collective collective = plan::Collective::kAllReduce;
  int n_ranks = 1;
  int root = 0;
  int cores = 1;
  planner::Hosts hosts;    // of the ranks
  size_t block_bytes = 0;  // of one block; a constant where ranks know different counts
  bool uneven = false;     // a rank knows only the sizes of its own blocks
  DType dtype = DType::kInt8;
};
struct Choice {
  std::shared_ptr<const planner::VerifiedPlan> plan;  // given; null: row makes it
  const planner::AlgorithmRow* row = nullptr;
  planner::PlanRequest request;
};
// The given plan where it fits: same collective, ranks and root, and blocks whose sizes all know.
// Else, for large calls on the GPUs of one host, one for the links between them. Else a row: the
// forced one, else what the tuner advises if the call can have it, else the cheapest. Throws
// InvalidArgument when the forced algorithm can't do it, or when deterministic mode forbids the
// plan or the algorithm.
Choice select(const Selection& selection, const Tuning& tuning);
// What may stand in for select()'s choice where memory is short, the cheapest first; empty when the
// user has chosen.
std::vector<Choice> substitutes(const Selection& selection, const Tuning& tuning);

// What a message of a collective carries so that ranks notice that they have called different
// things, now or in an earlier call that moved no bytes: a digest of all calls of the communicator
// so far, in order.
//
// It is a signature itself (transport::to_signature), and so is `call`, so that nothing has to be
// made of it per call (docs/design/mismatch-cost.md). The multiplier is odd, so that a difference
// stays for ever, and the order of two calls shows.
constexpr uint32_t extended(uint32_t history, uint32_t call) noexcept {
  return history * 0x2c1b3c6bu + call;
}

}  // namespace tutti::comm
