// SPDX-License-Identifier: Apache-2.0
// The plan interpreter on simulated devices: plans of the table, every protocol, in strict and in
// weak mode, against the host's kernels bit for bit.
#include <chrono>
#include <string>
#include <thread>
#include <tuple>

#include <gtest/gtest.h>

#include "src/planner/planner.h"
#include "tests/cuda/plan_run.h"

namespace tutti::test {
namespace {

using exec::DeviceProtocol;
using plan::Buffer;
using plan::Collective;

constexpr const char* kProtocols[] = {"simple", "LL", "LL128"};

struct PlanCase {
  const char* algorithm;
  Collective collective;
  int n_ranks;
  DType dtype;
  Op op;
  size_t block_count;
  int32_t divisor = 1;
  int32_t channels = 1;
};

std::string text(const PlanCase& c, const PlanSetting& s) {
  return std::string(c.algorithm) + " " + plan::name(c.collective) + ", " +
         std::to_string(c.n_ranks) + " ranks, " + name(c.dtype) + " " + name(c.op) + ", " +
         std::to_string(c.block_count) + " elements per block, " +
         kProtocols[static_cast<int>(s.protocol)] + (s.mixed ? ", mixed" : "");
}

exec::Tiling tiling_of(const PlanRun& run, const PlanCase& c) {
  exec::Binding binding;
  binding.dtype = c.dtype;
  binding.block_count = c.block_count;
  return exec::make_tiling(run.plan().plan.shape, binding, run.capacity() / 64 * 64, true);
}

// `launches` calls one after the other, without waiting between them.
void run_calls(const Gpus& gpus, PlanRun& run, const PlanCase& c, const PlanSetting& setting,
               int launches, uint64_t seed) {
  std::mt19937_64 random(seed);
  const plan::Plan& plan = run.plan().plan;
  const HostCall call{c.dtype, c.op, c.block_count, tiling_of(run, c),
                      any_scaling(random, c.dtype, c.divisor)};
  std::vector<std::vector<std::vector<std::byte>>> wanted;
  std::vector<std::vector<std::byte*>> outputs;
  for (int i = 0; i < launches; ++i) {
    std::vector<std::vector<std::byte>> inputs;
    std::vector<std::byte*> from;
    std::vector<std::byte*> to;
    for (int r = 0; r < c.n_ranks; ++r) {
      inputs.push_back(any_bytes(random, buffer_bytes(plan, r, Buffer::kInput, call)));
      from.push_back(gpus.upload(r, inputs.back()));
      to.push_back(gpus.alloc(r, buffer_bytes(plan, r, Buffer::kOutput, call)));
    }
    run.launch(call, from, to, 0x1230U + static_cast<uint32_t>(i) * 4);
    wanted.push_back(host_run(plan, call, inputs));
    outputs.push_back(to);
  }
  gpus.synchronize();
  for (int i = 0; i < launches; ++i) {
    for (int r = 0; r < c.n_ranks; ++r) {
      WANT(run.failure(r) == 0);
      if (Gpus::read(outputs[i][r], wanted[i][r].size()) == wanted[i][r]) continue;
      std::fprintf(stderr, "%s: launch %d, rank %d\n", text(c, setting).c_str(), i, r);
      WANT(!"the bits of the host's kernels");
    }
  }
}

void run_case(const Gpus& gpus, const PlanCase& c, const PlanSetting& setting, int launches,
              uint64_t seed) {
  const planner::AlgorithmRow* row = planner::find_algorithm(c.collective, c.algorithm);
  WANT(row != nullptr);
  PlanRun run(gpus, planner::verified_plan(*row, {c.collective, c.n_ranks, 0, c.channels}),
              setting);
  run_calls(gpus, run, c, setting, launches, seed);
}

// A broadcast to one other rank, where one lane receives into scratch and another, which waits for
// it, fills the output.
std::shared_ptr<const planner::VerifiedPlan> two_lane_plan() {
  using plan::Operand;
  plan::Plan made;
  made.algorithm = "two_lanes";
  made.shape = {Collective::kBroadcast, 2, 0, 1};
  made.ranks.resize(2);
  made.ranks[0].lanes.resize(1);
  made.ranks[0].lanes[0].steps = {
      {{Operand::chunk(Buffer::kInput, 0)}, {Operand::peer(1)}, 0, false, {}},
      {{Operand::chunk(Buffer::kInput, 0)}, {Operand::chunk(Buffer::kOutput, 0)}, 0, false, {}}};
  made.ranks[1].scratch_chunks = 1;
  made.ranks[1].lanes.resize(2);
  made.ranks[1].lanes[0].steps = {
      {{Operand::peer(0)}, {Operand::chunk(Buffer::kScratch, 0)}, 0, false, {}}};
  // Several times, so that the first lane would be ahead by more than its scratch memory.
  const plan::Step fill{{Operand::chunk(Buffer::kScratch, 0)},
                        {Operand::chunk(Buffer::kOutput, 0)},
                        0,
                        false,
                        {{0, 0}}};
  made.ranks[1].lanes[1].steps.assign(6, fill);
  auto verified = std::make_shared<planner::VerifiedPlan>();
  verified->verdict = verify::verify(made);
  WANT(verified->verdict.accepted);
  verified->plan = made;
  return verified;
}

void expect_well(const cudasim::test::Env& env, const std::function<void()>& body) {
  const auto outcome = cudasim::test::run(env, body);
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

class EachProtocol : public ::testing::TestWithParam<std::tuple<int, bool>> {
 protected:
  static PlanSetting setting(uint32_t slot_bytes = 1024) {
    return {.protocol = static_cast<DeviceProtocol>(std::get<0>(GetParam())),
            .slot_bytes = slot_bytes};
  }
  static cudasim::test::Env env(uint64_t seed) {
    return {{"CUDASIM_WEAK", std::get<1>(GetParam()) ? "1" : "0"},
            {"CUDASIM_SEED", std::to_string(seed)}};
  }
};

TEST_P(EachProtocol, RingAllReduce_TwoToFourDevices_HasTheHostsBits) {
  for (int n = 2; n <= 4; ++n) {
    expect_well(env(n), [n] {
      const Gpus gpus(n);
      for (const size_t count : {0, 1, 37, 1000})
        run_case(gpus, {"ring", Collective::kAllReduce, n, DType::kFloat32, Op::kSum, count},
                 setting(), 2, count + n);
    });
  }
}

// Several tiles in flight, more messages than slots, code that does not fit into shared memory.
TEST_P(EachProtocol, ManyTiles_LittleSharedMemory_HaveTheHostsBits) {
  expect_well(env(5), [] {
    const Gpus gpus(3);
    PlanSetting s = setting(512);
    s.shared_bytes = 640;
    run_case(gpus, {"ring", Collective::kAllReduce, 3, DType::kFloat16, Op::kAvg, 5001, 3, 2}, s, 2,
             7);
  });
}

// The root runs ahead of the others as far as slots allow: it has started before them.
TEST_P(EachProtocol, FastSender_IsHeldBackBySlots) {
  expect_well(env(4), [] {
    const Gpus gpus(3);
    run_case(gpus, {"chain", Collective::kBroadcast, 3, DType::kUint8, Op::kSum, 20'000},
             setting(512), 2, 4);
  });
}

// A lane waits for another's step, and the other for it before it uses the scratch memory again.
TEST_P(EachProtocol, LanesThatWaitForEachOther_HaveTheHostsBits) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    expect_well(env(seed), [seed] {
      const Gpus gpus(2);
      PlanRun run(gpus, two_lane_plan(), setting(512));
      run_calls(gpus, run,
                {"two_lanes", Collective::kBroadcast, 2, DType::kUint8, Op::kSum, 20'000},
                setting(512), 2, seed);
    });
  }
}

// Lines that no message has reached for 2^32 messages have flags of then. Short messages pass the
// point where slots are written in full; then long ones come whose flags those are.
TEST_P(EachProtocol, FlagsOfLongAgo_AreNotTaken) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    expect_well(env(seed), [seed] {
      const Gpus gpus(2);
      PlanSetting s = setting();
      s.first_message = (uint64_t{1} << 32) - 12;
      PlanRun run(gpus,
                  planner::verified_plan(*planner::find_algorithm(Collective::kAllReduce, "ring"),
                                         {Collective::kAllReduce, 2, 0, 1}),
                  s);
      PlanCase c{"ring", Collective::kAllReduce, 2, DType::kFloat32, Op::kSum, 20};
      const size_t chunk_bytes = 64 * sizeof(float);
      run.leave_flags(8, 2, exec::device_signature(0x1230, chunk_bytes));
      // Two messages per call: 20 of at most 64 bytes, so that those of 256 are number 8 and 9.
      run_calls(gpus, run, c, s, 10, seed);
      c.block_count = 128;
      run_calls(gpus, run, c, s, 1, seed);
    });
  }
}

TEST_P(EachProtocol, MixedConnections_HaveTheHostsBits) {
  expect_well(env(6), [] {
    const Gpus gpus(3);
    PlanSetting s = setting();
    s.mixed = true;
    run_case(gpus, {"ring", Collective::kAllReduce, 3, DType::kInt64, Op::kMin, 333}, s, 2, 8);
    run_case(gpus, {"one_shot", Collective::kAllReduce, 3, DType::kBfloat16, Op::kSum, 333}, s, 2,
             9);
  });
}

// Sequence numbers pass 2^32, and slots are written in full on the way.
TEST_P(EachProtocol, SequenceNumbersWrap_HaveTheHostsBits) {
  expect_well(env(10), [] {
    const Gpus gpus(2);
    PlanSetting s = setting(512);
    s.first_message = (uint64_t{1} << 32) - 20;
    run_case(gpus, {"ring", Collective::kAllReduce, 2, DType::kFloat32, Op::kSum, 3000}, s, 2, 11);
  });
}

TEST_P(EachProtocol, EachTypeAndOperation_HasTheHostsBits) {
  for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
    expect_well(env(dtype), [dtype] {
      const Gpus gpus(2);
      for (int op = 0; op < kOpCount; ++op)
        run_case(gpus,
                 {"ring", Collective::kAllReduce, 2, static_cast<DType>(dtype), static_cast<Op>(op),
                  301, 2 + op % 2},
                 setting(), 1, dtype * 10 + op);
    });
  }
}

// Every algorithm that makes a plan for three or four ranks.
TEST_P(EachProtocol, EachAlgorithm_HasTheHostsBits) {
  for (int n = 3; n <= 4; ++n) {
    expect_well(env(n), [n] {
      const Gpus gpus(n);
      for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
        if (row.layered || !row.supports({row.collective, n, 0, 2})) continue;
        run_case(gpus, {row.name, row.collective, n, DType::kFloat32, Op::kSum, 203, 1, 2},
                 setting(), 1, n);
      }
    });
  }
}

// Fifty orders of events and of stores that arrive late.
TEST_P(EachProtocol, FiftySeeds_HaveTheHostsBits) {
  if (!std::get<1>(GetParam())) GTEST_SKIP() << "strict mode has one order of stores";
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    expect_well(env(seed), [seed] {
      const Gpus gpus(2);
      run_case(gpus, {"ring", Collective::kAllReduce, 2, DType::kFloat32, Op::kSum, 500, 1, 2},
               setting(512), 1, seed);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(CudaPlan, EachProtocol,
                         ::testing::Combine(::testing::Range(0, 3), ::testing::Bool()),
                         [](const auto& p) {
                           return std::string(kProtocols[std::get<0>(p.param)]) +
                                  (std::get<1>(p.param) ? "_Weak" : "_Strict");
                         });

// One device of a ring of two has another call in mind, or never starts.
struct Lopsided {
  Gpus gpus{2};
  PlanRun run;
  HostCall call;
  std::vector<std::byte*> buffers;

  explicit Lopsided(DeviceProtocol protocol)
      : run(gpus,
            planner::verified_plan(*planner::find_algorithm(Collective::kAllReduce, "ring"),
                                   {Collective::kAllReduce, 2, 0, 1}),
            {.protocol = protocol}),
        call{DType::kFloat32, Op::kSum, 100, {}, {}} {
    call.tiling = tiling_of(run, {"ring", Collective::kAllReduce, 2, call.dtype, call.op, 100});
    for (int r = 0; r < 2; ++r) buffers.push_back(gpus.alloc(r, 800));
  }
  void launch(int rank, uint32_t signature) {
    run.launch_on(rank, call, buffers[rank], buffers[rank] + 400, signature);
  }
};

class Protocol : public ::testing::TestWithParam<int> {};

TEST_P(Protocol, OtherSignature_EndsWithAMismatch) {
  expect_well({}, [] {
    Lopsided two(static_cast<DeviceProtocol>(GetParam()));
    two.launch(0, 0x100);
    two.launch(1, 0x200);
    // Who finds it first may leave the other waiting.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    two.run.abort(0);
    two.run.abort(1);
    two.gpus.synchronize();
    const auto what = [&](int r) { return static_cast<gpu::Failure>(two.run.failure(r) >> 56); };
    WANT(what(0) == gpu::Failure::kMismatch || what(1) == gpu::Failure::kMismatch);
    const int found = what(0) == gpu::Failure::kMismatch ? 0 : 1;
    WANT((two.run.failure(found) >> 32 & 0xffffffU) == static_cast<uint64_t>(1 - found));
  });
}

TEST_P(Protocol, MissingPeer_IsReportedAndAbortEnds) {
  expect_well({}, [] {
    Lopsided two(static_cast<DeviceProtocol>(GetParam()));
    two.launch(1, 0x100);
    uint64_t report = 0;
    for (int i = 0; i < 200 && report == 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      report = two.run.reports(1)[0];
    }
    WANT(static_cast<gpu::WaitFor>(report >> 56) == gpu::WaitFor::kMessage);
    WANT((report >> 32 & 0xffffffU) == 0);
    two.run.abort(1);
    two.gpus.synchronize();
    WANT(static_cast<gpu::Failure>(two.run.failure(1) >> 56) == gpu::Failure::kAborted);
  });
}
INSTANTIATE_TEST_SUITE_P(CudaPlan, Protocol, ::testing::Range(0, 3),
                         [](const auto& p) { return std::string(kProtocols[p.param]); });

}  // namespace
}  // namespace tutti::test
