// SPDX-License-Identifier: Apache-2.0
// Sends and receives by DeviceExecutor on simulated devices, what is seen of kernels that wait or
// fail, and what is refused.
#include <algorithm>
#include <array>
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "tests/cuda/executor_calls.h"

namespace tutti::test {
namespace {

// --- Sends and receives

// Sizes of one peer's transfers: none, in a line, staged, in many pieces of each size.
constexpr std::array<size_t, 6> kSizes = {100, 0, 7, 70'000, 0, 9'001};

struct TransferBuffers {
  std::vector<Bytes> sent;
  std::vector<std::byte*> from;
  std::vector<std::byte*> to;
  std::vector<Bytes> received;  // by a host rank

  TransferBuffers(const Gpus& gpus, int source, int sink, uint64_t seed) {
    std::mt19937_64 random(seed);
    for (const size_t bytes : kSizes) {
      sent.push_back(any_bytes(random, bytes));
      received.emplace_back(bytes);
      from.push_back(source < gpus.count() ? gpus.upload(source, sent.back()) : sent.back().data());
      to.push_back(sink < gpus.count() ? gpus.alloc(sink, bytes) : received.back().data());
    }
  }
  std::vector<exec::P2pTransfer> sends() const { return transfers(from); }
  std::vector<exec::P2pTransfer> receives() const { return transfers(to); }
  static std::vector<exec::P2pTransfer> transfers(const std::vector<std::byte*>& data) {
    std::vector<exec::P2pTransfer> out;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      out.push_back({data[i], kSizes[i], static_cast<uint32_t>(0x4000 + 64 * i)});
    }
    return out;
  }
  void check_on_device() const {
    for (size_t i = 0; i < kSizes.size(); ++i) WANT(Gpus::read(to[i], kSizes[i]) == sent[i]);
  }
};

uint64_t messages_of_sizes(size_t area_bytes) {
  uint64_t n = 0;
  for (const size_t bytes : kSizes) {
    const size_t chunk = exec::pipelined_bytes(bytes, area_bytes);
    n += std::max<size_t>(1, (bytes + chunk - 1) / chunk);
  }
  return n;
}

TEST_F(DeviceExecutorTest, TransfersWithAHostAndAnotherDevice_CarryTheBytes) {
  for (const uint32_t area_bytes : {1024U, 32768U}) {
    expect_well({}, [area_bytes] {
      const Gpus gpus(2);  // rank 2 is the host's
      TestFifos fifos(gpus, {.layout = {.n_lines = 8, .n_areas = 4, .area_bytes = area_bytes}});
      DeviceRank zero(fifos, 0, 3);
      DeviceRank one(fifos, 1, 3);
      const TransferBuffers to_host(gpus, 0, 2, 1);
      const TransferBuffers from_host(gpus, 2, 0, 2);
      const TransferBuffers to_one(gpus, 0, 1, 3);
      const TransferBuffers from_one(gpus, 1, 0, 4);
      for (int round = 0; round < 2; ++round) {
        const auto sends_2 = to_host.sends(), receives_2 = from_host.receives();
        const auto sends_1 = to_one.sends(), receives_1 = from_one.receives();
        const std::array<exec::DeviceTransfers, 4> of_zero = {
            {{2, &fifos.find(0, 2).send(), nullptr, sends_2},
             {2, nullptr, &fifos.find(2, 0).recv(), receives_2},
             {1, &fifos.find(0, 1).send(), nullptr, sends_1},
             {1, nullptr, &fifos.find(1, 0).recv(), receives_1}}};
        const auto sends_0 = from_one.sends(), receives_0 = to_one.receives();
        const std::array<exec::DeviceTransfers, 2> of_one = {
            {{0, &fifos.find(1, 0).send(), nullptr, sends_0},
             {0, nullptr, &fifos.find(0, 1).recv(), receives_0}}};
        WANT(zero.executor().launch(of_zero, area_bytes, 1, gpus.stream(0)));
        WANT(one.executor().launch(of_one, area_bytes, 1, gpus.stream(1)));
        std::thread sender(
            [&] { run_host_transfers(fifos, 2, 0, /*sends=*/true, from_host.sends()); });
        run_host_transfers(fifos, 2, 0, /*sends=*/false, to_host.receives());
        sender.join();
        gpus.synchronize();
        WANT(to_host.received == to_host.sent);
        from_host.check_on_device();
        to_one.check_on_device();
        from_one.check_on_device();
      }
      const PeerTraffic::Protocol& staged = fifos.find(0, 1).send().traffic().protocols[1];
      WANT(staged.sent_messages == 2 * messages_of_sizes(area_bytes));
      WANT(staged.sent_bytes == 2 * std::accumulate(kSizes.begin(), kSizes.end(), size_t{0}));
    });
  }
}

// A group in a graph, over connections that the executor meets during the capture; between its
// replays another group uses the memory that launches use in turn.
TEST_F(DeviceExecutorTest, CapturedTransfers_AreReplayed) {
  expect_well({}, [] {
    const Gpus gpus(1);  // rank 1 is the host's
    TestFifos fifos(gpus, {});
    DeviceRank zero(fifos, 0, 2);
    TransferBuffers to_host(gpus, 0, 1, 5);
    TransferBuffers eager(gpus, 0, 1, 6);
    const auto sends = to_host.sends(), other_sends = eager.sends();
    const std::array<exec::DeviceTransfers, 1> group = {
        {{1, &fifos.find(0, 1).send(), nullptr, sends}}};
    const std::array<exec::DeviceTransfers, 1> other = {
        {{1, &fifos.find(0, 1).send(), nullptr, other_sends}}};
    gpus.use(0);
    OK(cuda::cuStreamBeginCapture_v2(gpus.stream(0), cuda::CaptureMode::kGlobal));
    WANT(!zero.executor().launch(group, 1024, 1, gpus.stream(0)));
    cuda::Graph graph = nullptr;
    cuda::GraphExec replayed = nullptr;
    OK(cuda::cuStreamEndCapture(gpus.stream(0), &graph));
    OK(cuda::cuGraphInstantiateWithFlags(&replayed, graph, 0));
    for (int i = 0; i < 3; ++i) {
      for (TransferBuffers* b : {&to_host, &eager}) {
        for (Bytes& data : b->received) std::fill(data.begin(), data.end(), std::byte{0});
      }
      OK(cuda::cuGraphLaunch(replayed, gpus.stream(0)));
      run_host_transfers(fifos, 1, 0, /*sends=*/false, to_host.receives());
      WANT(to_host.received == to_host.sent);
      WANT(zero.executor().launch(other, 1024, 1, gpus.stream(0)));
      run_host_transfers(fifos, 1, 0, /*sends=*/false, eager.receives());
      WANT(eager.received == eager.sent);
    }
    gpus.synchronize();
    WANT(zero.executor().counts().issued == 3 && zero.executor().counts().ended == 6);
  });
}

// --- What is seen of kernels that wait or fail

// A ring of two of which only rank 1 takes part.
struct Alone {
  Gpus gpus{2};
  Plan plan = plan_of("ring", Collective::kAllReduce, 2);
  Ranks ranks{gpus, {}, plan};
  HostCall host = host_call(plan->plan, {DType::kFloat32, Op::kSum, 100});
  std::mt19937_64 random{1};
  Buffers buffers{gpus, plan->plan, host, random};

  void launch(int rank, uint32_t signature) {
    exec::DeviceLaunch launch = device_launch(host, buffers.from[rank], buffers.to[rank]);
    launch.signature = signature;
    launch.call = 42;
    launch.stream = gpus.stream(rank);
    WANT(ranks[rank].launch(launch));
  }
};

TEST_F(DeviceExecutorTest, MissingPeer_IsSeen_AndAbortEndsThisAndLaterLaunches) {
  expect_well({}, [] {
    Alone two;
    exec::DeviceExecutor& executor = two.ranks[1].executor();
    two.launch(1, kSignature);
    await([&] { return executor.waiting().has_value(); });
    WANT(executor.waiting()->what == gpu::WaitFor::kMessage && executor.waiting()->rank == 0);
    WANT(executor.waits_for(0) && !executor.waits_for(1));
    WANT(!executor.idle() && !executor.failure());
    const exec::DeviceCounts counts = executor.counts();
    WANT(counts.issued == 1 && counts.begun == 1 && counts.ended == 0 && counts.call == 42);
    executor.abort();
    await([&] { return executor.idle(); });
    WANT(executor.failure()->what == gpu::Failure::kAborted && executor.failure()->rank == 0);
    WANT(!executor.waiting() && !executor.waits_for(0));
    two.launch(1, kSignature);
    await([&] { return executor.counts().done == 2; });
    WANT(executor.gpu_failure().ok());
  });
}

TEST_F(DeviceExecutorTest, OtherSignature_IsReported_AndOutlivesAnAbort) {
  expect_well({}, [] {
    Alone two;
    two.launch(0, 0x100);
    two.launch(1, 0x200);
    await([&] { return two.ranks[0].executor().failure() || two.ranks[1].executor().failure(); });
    const int found = two.ranks[0].executor().failure() ? 0 : 1;
    for (int r = 0; r < 2; ++r) two.ranks[r].executor().abort();
    for (int r = 0; r < 2; ++r) await([&] { return two.ranks[r].executor().idle(); });
    const exec::DeviceFailure failure = *two.ranks[found].executor().failure();
    WANT(failure.what == gpu::Failure::kMismatch && failure.rank == 1 - found);
    const uint32_t theirs = found == 0 ? 0x200 : 0x100;
    const size_t bytes = two.host.tiling.chunk_elems * sizeof(float);
    WANT(failure.got - theirs <= 4 * bytes);
  });
}

// What a host sends by reference a GPU can't read.
TEST_F(DeviceExecutorTest, Reference_IsRefused) {
  expect_well({}, [] {
    const Gpus gpus(1);
    TestFifos fifos(gpus, {});
    DeviceRank zero(fifos, 0, 2);
    const std::vector<exec::P2pTransfer> receives = {{gpus.alloc(0, 512), 512, 0x4000}};
    const std::array<exec::DeviceTransfers, 1> group = {
        {{1, nullptr, &fifos.find(1, 0).recv(), receives}}};
    transport::SendView& host = fifos.find(1, 0).send().view;
    host.commit_direct(exec::message_signature(0x4000, 512), transport::MessageKind::kPulled,
                       {.region = 0, .offset = 0, .bytes = 512});
    WANT(zero.executor().launch(group, 1024, 1, gpus.stream(0)));
    await([&] { return zero.executor().idle(); });
    const exec::DeviceFailure failure = *zero.executor().failure();
    WANT(failure.what == gpu::Failure::kReference && failure.rank == 1 && failure.got == 3);
  });
}

// --- Limits

TEST_F(DeviceExecutorTest, ChunkThatNoSlotHolds_IsRefused) {
  expect_well({}, [] {
    Alone two;
    two.host.tiling.chunk_elems = two.host.tiling.tile_elems = 257;  // of 4 bytes; slots have 1024
    exec::DeviceLaunch launch = device_launch(two.host, two.buffers.from[0], two.buffers.to[0]);
    launch.stream = two.gpus.stream(0);
    try {
      two.ranks[0].launch(launch);
      WANT(!"refused");
    } catch (const Error& error) {
      WANT(error.code() == StatusCode::kInternalError);
    }
  });
}

TEST_F(DeviceExecutorTest, MorePeersThanBlocks_AreRefused) {
  expect_well({}, [] {
    const Gpus gpus(1);
    TestFifos fifos(gpus, {});
    exec::DeviceExecutor executor({.rank = 0, .n_ranks = 9, .threads = 64, .most_blocks = 2});
    std::vector<exec::DeviceTransfers> group;
    for (int peer = 1; peer < 4; ++peer) {
      group.push_back({peer, &fifos.find(0, peer).send(), nullptr, {}});
    }
    try {
      executor.launch(group, 1024, 1, gpus.stream(0));
      WANT(!"refused");
    } catch (const Error& error) {
      WANT(error.code() == StatusCode::kInvalidUsage);
    }
    WANT(executor.counts().issued == 0 && executor.idle());
  });
}

// Programs come and go while launches of others wait for their turn. Their records are of one size,
// so that memory that is used again too early is seen.
TEST_F(DeviceExecutorTest, ProgramsThatEndEarly_LeaveTheirLaunchesAlone) {
  expect_well({}, [] {
    const Gpus gpus(2);
    const std::array<Plan, 2> plans = {plan_of("ring", Collective::kReduceScatter, 2),
                                       plan_of("ring", Collective::kAllGather, 2)};
    Ranks ranks(gpus, {}, plans[0]);
    std::mt19937_64 random(2);
    std::array<HostCall, 2> calls;
    std::vector<Buffers> buffers;
    for (size_t i = 0; i < 6; ++i) {
      const plan::Plan& plan = plans[i / 2 % 2]->plan;
      calls[i / 2 % 2] = host_call(plan, {DType::kFloat64, Op::kSum, 700});
      buffers.emplace_back(gpus, plan, calls[i / 2 % 2], random);
    }
    // Of rank 0 no launch but the first begins before rank 1 takes part.
    for (int r = 0; r < 2; ++r) {
      for (size_t i = 0; i < buffers.size(); ++i) {
        if (i % 2 == 0) ranks[r].prepare(plans[i / 2 % 2]);  // the one before ends
        exec::DeviceLaunch launch =
            device_launch(calls[i / 2 % 2], buffers[i].from[r], buffers[i].to[r]);
        launch.stream = gpus.stream(r);
        WANT(ranks[r].launch(launch));
      }
    }
    gpus.synchronize();
    for (const Buffers& b : buffers) {
      for (int r = 0; r < 2; ++r) b.check(r);
    }
  });
}

}  // namespace
}  // namespace tutti::test
