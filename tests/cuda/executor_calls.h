// SPDX-License-Identifier: Apache-2.0
// What the tests of DeviceExecutor share: calls of collectives, their buffers, and ranks on
// simulated devices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "src/kernels/cuda/images.h"
#include "src/planner/planner.h"
#include "tests/cuda/executor_run.h"

namespace tutti::test {

using exec::DeviceProtocol;
using plan::Buffer;
using plan::Collective;
using Bytes = std::vector<std::byte>;
using Plan = std::shared_ptr<const planner::VerifiedPlan>;

inline constexpr uint32_t kSignature = 0x1230;

inline Plan plan_of(const char* algorithm, Collective collective, int n_ranks) {
  const planner::AlgorithmRow* row = planner::find_algorithm(collective, algorithm);
  WANT(row != nullptr);
  return planner::verified_plan(*row, {collective, n_ranks, 0, 1});
}

struct Call {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  size_t block_count = 0;
  size_t most_chunk_bytes = 1024;
};

inline HostCall host_call(const plan::Plan& plan, const Call& call) {
  exec::Binding binding;
  binding.dtype = call.dtype;
  binding.block_count = call.block_count;
  HostCall out{call.dtype,
               call.op,
               call.block_count,
               exec::make_tiling(plan.shape, binding, call.most_chunk_bytes / 64 * 64, true),
               {}};
  out.scaling.post_divisor = plan.shape.n_ranks;
  return out;
}

inline exec::DeviceLaunch device_launch(const HostCall& call, std::byte* input, std::byte* output) {
  exec::DeviceLaunch launch;
  launch.binding.input = input;
  launch.binding.output = output;
  launch.binding.dtype = call.dtype;
  launch.binding.op = call.op;
  launch.binding.scaling = call.scaling;
  launch.binding.block_count = call.block_count;
  launch.tiling = call.tiling;
  launch.signature = kSignature;
  return launch;
}

// One collective's buffers on every rank of a plan, ranks below `gpus.count()` on devices.
struct Buffers {
  std::vector<Bytes> inputs;
  std::vector<Bytes> wanted;
  std::vector<std::byte*> from;  // null: a host rank
  std::vector<std::byte*> to;

  Buffers(const Gpus& gpus, const plan::Plan& plan, const HostCall& call, std::mt19937_64& random) {
    for (int r = 0; r < plan.shape.n_ranks; ++r) {
      inputs.push_back(any_bytes(random, buffer_bytes(plan, r, Buffer::kInput, call)));
      const bool on_device = r < gpus.count();
      from.push_back(on_device ? gpus.upload(r, inputs.back()) : nullptr);
      const size_t bytes = buffer_bytes(plan, r, Buffer::kOutput, call);
      to.push_back(on_device ? gpus.alloc(r, bytes) : nullptr);
    }
    wanted = host_run(plan, call, inputs);
  }
  void check(int rank) const { WANT(Gpus::read(to[rank], wanted[rank].size()) == wanted[rank]); }
};

// Device ranks of one plan.
struct Ranks {
  TestFifos fifos;
  std::vector<std::unique_ptr<DeviceRank>> ranks;

  Ranks(const Gpus& gpus, const FifoSetting& setting, const Plan& plan) : fifos(gpus, setting) {
    for (int r = 0; r < gpus.count(); ++r) {
      ranks.push_back(std::make_unique<DeviceRank>(fifos, r, plan->plan.shape.n_ranks));
      ranks.back()->prepare(plan);
    }
  }
  DeviceRank& operator[](int r) { return *ranks[static_cast<size_t>(r)]; }
};

inline void expect_well(const cudasim::test::Env& env, const std::function<void()>& body) {
  const auto outcome = cudasim::test::run(env, body);
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

template <class Condition>
void await(const Condition& condition) {
  const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
  while (!condition()) {
    WANT(!deadline.expired());
    sleep_ns(kNsPerMs / 10);
  }
}

class DeviceExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu::images().empty()) GTEST_SKIP() << "device code: " << gpu::images_text();
  }
};

}  // namespace tutti::test
