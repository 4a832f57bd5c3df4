// SPDX-License-Identifier: Apache-2.0
// Plans of device ranks by DeviceExecutor on simulated devices: streams, graphs, and host ranks at
// the other end.
#include <array>
#include <string>

#include <gtest/gtest.h>

#include "src/exec/cuda/message_count.h"
#include "tests/cuda/executor_calls.h"

namespace tutti::test {
namespace {

// --- Plans among devices

// What the connections have counted as sent to all peers of a rank.
exec::MessageSum sent_by(Ranks& ranks, const Plan& plan, int rank, DeviceProtocol protocol) {
  const auto kind = protocol == DeviceProtocol::kSimple ? transport::MessageKind::kStaged
                                                        : transport::MessageKind::kInline;
  exec::MessageSum sum;
  for (transport::SendConnection* to : ranks.fifos.connections(exec::compile(plan, rank)).send) {
    const PeerTraffic::Protocol& counted = to->traffic().protocols[static_cast<size_t>(kind)];
    sum.messages += counted.sent_messages;
    sum.bytes += counted.sent_bytes;
  }
  return sum;
}

// `launches` calls without waiting in between, by turns in two streams of each device.
void run_calls(const Gpus& gpus, const Plan& plan, const FifoSetting& setting,
               DeviceProtocol protocol, const Call& call, int launches) {
  Ranks ranks(gpus, setting, plan);
  std::mt19937_64 random(7);
  const HostCall host = host_call(plan->plan, call);
  std::vector<cuda::Stream> others;
  for (int r = 0; r < gpus.count(); ++r) {
    gpus.use(r);
    others.push_back(cudasim::test::new_stream());
  }
  std::vector<Buffers> buffers;
  for (int i = 0; i < launches; ++i) {
    const Buffers& b = buffers.emplace_back(gpus, plan->plan, host, random);
    for (int r = 0; r < gpus.count(); ++r) {
      exec::DeviceLaunch launch = device_launch(host, b.from[r], b.to[r]);
      launch.protocol = protocol;
      launch.call = static_cast<uint64_t>(100 + i);
      launch.stream = i % 2 == 0 ? gpus.stream(r) : others[static_cast<size_t>(r)];
      WANT(ranks[r].launch(launch));
    }
  }
  for (int r = 0; r < gpus.count(); ++r) {
    const exec::DeviceExecutor& executor = ranks[r].executor();
    await([&] { return executor.idle(); });
    // Results are there when the record says so; nobody has waited for a stream.
    gpus.use(r);
    for (const Buffers& b : buffers) b.check(r);
    const exec::DeviceCounts counts = executor.counts();
    const auto n = static_cast<uint64_t>(launches);
    WANT(counts.issued == n && counts.done == n && counts.begun == n && counts.ended == n);
    WANT(counts.call == 99 + n);
    WANT(!executor.failure() && executor.gpu_failure().ok());
    if (plan->plan.shape.collective != Collective::kAllGather) continue;
    // Every block but one passes on from each rank, in chunks.
    const uint64_t blocks = n * static_cast<uint64_t>(gpus.count() - 1);
    const size_t chunk = host.tiling.chunk_elems;
    const exec::MessageSum sent = sent_by(ranks, plan, r, protocol);
    WANT(sent.messages == blocks * ((call.block_count + chunk - 1) / chunk));
    WANT(sent.bytes == blocks * call.block_count * size_of(call.dtype));
  }
}

constexpr std::array<std::pair<const char*, Collective>, 3> kPlans = {
    {{"ring", Collective::kAllReduce},
     {"ring", Collective::kAllGather},
     {"ring", Collective::kReduceScatter}}};

TEST_F(DeviceExecutorTest, Plans_MemoryOfTheHost_HaveTheHostsBits) {
  for (const int n : {2, 4}) {
    for (const auto& [algorithm, collective] : kPlans) {
      expect_well({}, [&, n = n, collective = collective, algorithm = algorithm] {
        const Gpus gpus(n);
        const Plan plan = plan_of(algorithm, collective, n);
        run_calls(gpus, plan, {}, DeviceProtocol::kSimple, {DType::kFloat32, Op::kSum, 900}, 4);
        run_calls(gpus, plan, {}, DeviceProtocol::kSimple, {DType::kFloat16, Op::kAvg, 5}, 2);
        run_calls(gpus, plan, {}, DeviceProtocol::kSimple, {DType::kInt8, Op::kMax, 4001}, 2);
      });
    }
  }
}

TEST_F(DeviceExecutorTest, Plans_MemoryOfGpusAndRings_HaveTheHostsBits) {
  for (const bool weak : {false, true}) {
    for (const DeviceProtocol protocol :
         {DeviceProtocol::kSimple, DeviceProtocol::kLL, DeviceProtocol::kLL128}) {
      expect_well({{"CUDASIM_WEAK", weak ? "1" : "0"}}, [&] {
        const Gpus gpus(3);
        const FifoSetting setting{.in_gpu_memory = true, .ring_bytes = 2048};
        const size_t most =
            protocol == DeviceProtocol::kSimple ? 1024 : slot_capacity(protocol, 2048);
        const Plan plan = plan_of("ring", Collective::kAllReduce, 3);
        run_calls(gpus, plan, setting, protocol, {DType::kBfloat16, Op::kSum, 700, most}, 3);
      });
    }
  }
}

// Blocks of different sizes, one of them empty.
TEST_F(DeviceExecutorTest, UnevenBlocks_AreGathered) {
  expect_well({}, [] {
    constexpr int kRanks = 3;
    const Gpus gpus(kRanks);
    const Plan plan = plan_of("ring", Collective::kAllGather, kRanks);
    Ranks ranks(gpus, {}, plan);
    const std::vector<size_t> counts = {700, 0, 1201};
    const std::vector<size_t> offsets = {0, 700, 700};
    std::mt19937_64 random(3);
    Bytes all;
    std::vector<std::byte*> inputs;
    std::vector<std::byte*> outputs;
    for (int r = 0; r < kRanks; ++r) {
      const Bytes own = any_bytes(random, counts[r] * 4);
      inputs.push_back(gpus.upload(r, own));
      all.insert(all.end(), own.begin(), own.end());
    }
    for (int r = 0; r < kRanks; ++r) outputs.push_back(gpus.alloc(r, all.size()));
    for (int i = 0; i < 6; ++i) {
      for (int r = 0; r < kRanks; ++r) {
        // The caller's arrays end with the call.
        const std::vector<size_t> own_counts = counts;
        const std::vector<size_t> own_offsets = offsets;
        exec::DeviceLaunch launch;
        launch.binding.input = inputs[r];
        launch.binding.output = outputs[r];
        launch.binding.dtype = DType::kFloat32;
        launch.binding.block_counts = own_counts.data();
        launch.binding.output_offsets = own_offsets.data();
        launch.tiling = exec::make_tiling(plan->plan.shape, launch.binding, 1024, true);
        launch.signature = kSignature;
        launch.stream = gpus.stream(r);
        WANT(ranks[r].launch(launch));
      }
    }
    gpus.synchronize();
    for (int r = 0; r < kRanks; ++r) WANT(Gpus::read(outputs[r], all.size()) == all);
  });
}

// The caller's own work in streams, before and behind launches.
TEST_F(DeviceExecutorTest, OrderAndMark_PutTheCallersWorkAmongLaunches) {
  expect_well({}, [] {
    const Gpus gpus(2);
    const Plan plan = plan_of("ring", Collective::kAllReduce, 2);
    Ranks ranks(gpus, {}, plan);
    std::mt19937_64 random(6);
    const HostCall host = host_call(plan->plan, {DType::kUint32, Op::kSum, 600});
    const Buffers buffers(gpus, plan->plan, host, random);
    const size_t bytes = buffers.wanted[0].size();
    std::array<std::byte*, 2> copies{};
    std::array<std::byte*, 2> twice{};
    for (int r = 0; r < 2; ++r) {
      copies[r] = gpus.alloc(r, bytes);
      twice[r] = gpus.alloc(r, bytes);
      exec::DeviceExecutor& executor = ranks[r].executor();
      exec::DeviceLaunch launch = device_launch(host, buffers.from[r], buffers.to[r]);
      launch.stream = gpus.stream(r);
      WANT(ranks[r].launch(launch));
      gpus.use(r);
      const cuda::Stream second = cudasim::test::new_stream();
      executor.order(second);
      OK(cuda::cuMemcpyDtoDAsync_v2(cudasim::test::address(copies[r]),
                                    cudasim::test::address(buffers.to[r]), bytes, second));
      executor.mark(second);
      launch = device_launch(host, copies[r], twice[r]);
      launch.stream = gpus.stream(r);
      WANT(ranks[r].launch(launch));
    }
    gpus.synchronize();
    const std::vector<Bytes> wanted = host_run(plan->plan, host, buffers.wanted);
    for (int r = 0; r < 2; ++r) {
      buffers.check(r);
      WANT(Gpus::read(twice[r], bytes) == wanted[r]);
    }
  });
}

// --- Graphs

TEST_F(DeviceExecutorTest, CapturedLaunches_ReplayedThreeTimes_FollowNewInputs) {
  expect_well({}, [] {
    const Gpus gpus(2);
    const Plan plan = plan_of("ring", Collective::kAllReduce, 2);
    Ranks ranks(gpus, {}, plan);
    std::mt19937_64 random(11);
    const HostCall host = host_call(plan->plan, {DType::kInt32, Op::kSum, 500});
    const Buffers buffers(gpus, plan->plan, host, random);
    std::array<cuda::GraphExec, 2> graphs{};
    std::vector<std::byte*> second_to;
    for (int r = 0; r < 2; ++r) {
      second_to.push_back(gpus.alloc(r, buffers.wanted[r].size()));
      cuda::Stream second = cudasim::test::new_stream();
      cuda::Event forked = nullptr;
      cuda::Event joined = nullptr;
      OK(cuda::cuEventCreate(&forked, cuda::kEventDisableTiming));
      OK(cuda::cuEventCreate(&joined, cuda::kEventDisableTiming));
      OK(cuda::cuStreamBeginCapture_v2(gpus.stream(r), cuda::CaptureMode::kGlobal));
      OK(cuda::cuEventRecord(forked, gpus.stream(r)));
      OK(cuda::cuStreamWaitEvent(second, forked, 0));
      // In two streams of the same capture, the second with the first's result: the executor orders
      // them.
      exec::DeviceLaunch launch = device_launch(host, buffers.from[r], buffers.to[r]);
      launch.stream = gpus.stream(r);
      WANT(!ranks[r].launch(launch));
      launch = device_launch(host, buffers.to[r], second_to.back());
      launch.stream = second;
      WANT(!ranks[r].launch(launch));
      OK(cuda::cuEventRecord(joined, second));
      OK(cuda::cuStreamWaitEvent(gpus.stream(r), joined, 0));
      cuda::Graph graph = nullptr;
      OK(cuda::cuStreamEndCapture(gpus.stream(r), &graph));
      OK(cuda::cuGraphInstantiateWithFlags(&graphs[static_cast<size_t>(r)], graph, 0));
    }
    for (int replay = 0; replay < 3; ++replay) {
      std::vector<Bytes> inputs;
      for (int r = 0; r < 2; ++r) {
        gpus.use(r);
        inputs.push_back(any_bytes(random, 2000));
        Gpus::write(buffers.from[r], inputs.back().data(), 2000);
      }
      for (int r = 0; r < 2; ++r) {
        gpus.use(r);
        OK(cuda::cuGraphLaunch(graphs[static_cast<size_t>(r)], gpus.stream(r)));
      }
      gpus.synchronize();
      const std::vector<Bytes> first = host_run(plan->plan, host, inputs);
      const std::vector<Bytes> wanted = host_run(plan->plan, host, first);
      for (int r = 0; r < 2; ++r) {
        WANT(Gpus::read(second_to[r], wanted[r].size()) == wanted[r]);
        const exec::DeviceCounts counts = ranks[r].executor().counts();
        WANT(counts.issued == 0 && counts.done == 0);
        WANT(counts.begun == 2U * (replay + 1) && counts.ended == counts.begun);
        WANT(ranks[r].executor().idle());
      }
    }
    // And outside of graphs.
    for (int r = 0; r < 2; ++r) {
      exec::DeviceLaunch launch = device_launch(host, buffers.from[r], buffers.to[r]);
      launch.stream = gpus.stream(r);
      WANT(ranks[r].launch(launch));
    }
    gpus.synchronize();
    WANT(ranks[0].executor().counts().issued == 1 && ranks[0].executor().counts().done == 1);
  });
}

// --- Host ranks at the other end

// The last rank of four is the host's.
TEST_F(DeviceExecutorTest, HostRankAmongDevices_HasTheSameBits) {
  for (const bool weak : {false, true}) {
    for (const auto& [algorithm, collective] : kPlans) {
      expect_well({{"CUDASIM_WEAK", weak ? "1" : "0"}}, [&, collective = collective,
                                                         algorithm = algorithm] {
        const Gpus gpus(3);
        const Plan plan = plan_of(algorithm, collective, 4);
        Ranks ranks(gpus, {}, plan);
        const exec::Program program = exec::compile(plan, 3);
        std::mt19937_64 random(5);
        // Messages in lines; then staged ones, of which the last is short.
        for (const size_t count : {size_t{3}, size_t{29}, size_t{2000}}) {
          const HostCall host = host_call(plan->plan, {DType::kFloat16, Op::kSum, count});
          const Buffers buffers(gpus, plan->plan, host, random);
          for (int r = 0; r < 3; ++r) {
            exec::DeviceLaunch launch = device_launch(host, buffers.from[r], buffers.to[r]);
            launch.stream = gpus.stream(r);
            WANT(ranks[r].launch(launch));
          }
          Bytes output(buffers.wanted[3].size());
          exec::Binding binding = device_launch(host, nullptr, output.data()).binding;
          binding.input = buffers.inputs[3].data();
          run_host_rank(ranks.fifos, program, binding, host.tiling, kSignature);
          gpus.synchronize();
          WANT(output == buffers.wanted[3]);
          for (int r = 0; r < 3; ++r) buffers.check(r);
        }
      });
    }
  }
}

}  // namespace
}  // namespace tutti::test
