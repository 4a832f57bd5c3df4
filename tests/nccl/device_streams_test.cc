// SPDX-License-Identifier: Apache-2.0
// NCCL over memory of GPUs: streams and captured graphs, scalars that the GPU reads, memory of
// ncclMemAlloc, which GPU a communicator is of, and what goes wrong.
#include "tests/nccl/device_support.h"

namespace tutti::nccl_test {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

constexpr int kRanks = 4;
constexpr size_t kCount = 1000;

template <typename T>
std::vector<T> all_of(T value, size_t count = kCount) {
  return std::vector<T>(count, value);
}

// --- Streams

TEST(NcclDeviceStreams, NullStream_IsTheLegacyStreamOfTheCommunicatorsGpu) {
  on_one_thread(2, [](World& world) {
    const auto sums = world.filled<float>([](int rank) { return all_of(1.0f + rank); });
    world.ranks[1].device->use();
    NCCL_OK(ncclGroupStart());  // another GPU is current than the first communicator's
    for (size_t i = 0; i < 2; ++i)
      NCCL_OK(ncclAllReduce(sums[i]->get(), sums[i]->get(), kCount, ncclFloat, ncclSum,
                            world.ranks[i].comm, nullptr));
    NCCL_OK(ncclGroupEnd());
    abi::Context current = nullptr;
    CU_OK(cuCtxGetCurrent(&current));
    EXPECT_EQ(current, world.ranks[1].device->context());
    // A copy follows the legacy stream of the GPU that is current.
    world.each([&](size_t i, Rank&) { EXPECT_THAT(sums[i]->read(), Each(3.0f)); });
  });
}

TEST(NcclDeviceStreams, CallsFollowWhatTheirStreamHas) {
  on_gpu_processes(2, [](World& world) {
    const Rank& r = world.ranks.front();
    const Buffer<int32_t> in(all_of(-1));
    const Buffer<int32_t> out(kCount);
    for (int round = 1; round <= 3; ++round) {
      CU_OK(cuMemsetD32Async(in.address(), static_cast<unsigned>(round * (r.rank + 1)), kCount,
                             r.device->stream()));
      NCCL_OK(ncclAllReduce(in.get(), out.get(), kCount, ncclInt32, ncclSum, r.comm, r.stream()));
    }
    world.synchronize();
    EXPECT_THAT(out.read(), Each(9));
  });
}

TEST(NcclDeviceStreams, OneGroupOnSeveralStreams_IsInTheOrderOfEach) {
  on_gpu_threads(2, [](World& world) {
    const Rank& r = world.ranks.front();
    const abi::Stream other = r.device->new_stream();
    const Buffer<int32_t> mine(all_of(0));
    const Buffer<int32_t> got(all_of(0));
    CU_OK(cuMemsetD32Async(mine.address(), static_cast<unsigned>(r.rank + 5), kCount, other));
    NCCL_OK(ncclGroupStart());
    NCCL_OK(ncclSend(mine.get(), kCount, ncclInt32, 1 - r.rank, r.comm, r.stream()));
    NCCL_OK(ncclRecv(got.get(), kCount, ncclInt32, 1 - r.rank, r.comm, as_nccl(other)));
    NCCL_OK(ncclGroupEnd());
    CU_OK(cuStreamSynchronize(other));
    EXPECT_THAT(got.read(), Each(6 - r.rank));
    world.synchronize();
  });
}

// --- Graphs

// What one rank has for the calls that are captured.
struct Captured {
  Buffer<float> in{kCount};
  Buffer<float> sum{kCount};
  Buffer<float> all{kRanks * kCount};
  Buffer<float> passed{kCount};
  abi::GraphExec graph = nullptr;
};

void capture(World& world, const std::vector<std::unique_ptr<Captured>>& memory) {
  world.each([](size_t, Rank& r) {
    CU_OK(cuStreamBeginCapture_v2(r.device->stream(), abi::CaptureMode::kThreadLocal));
  });
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclAllReduce(memory[i]->in.get(), memory[i]->sum.get(), kCount, ncclFloat, ncclSum,
                          r.comm, r.stream()));
  });
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclAllGather(memory[i]->in.get(), memory[i]->all.get(), kCount, ncclFloat, r.comm,
                          r.stream()));
  });
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclSend(memory[i]->in.get(), kCount, ncclFloat, (r.rank + 1) % kRanks, r.comm,
                     r.stream()));
    NCCL_OK(ncclRecv(memory[i]->passed.get(), kCount, ncclFloat, (r.rank + kRanks - 1) % kRanks,
                     r.comm, r.stream()));
  });
  world.each([&](size_t i, Rank& r) {
    abi::Graph graph = nullptr;
    CU_OK(cuStreamEndCapture(r.device->stream(), &graph));
    CU_OK(cuGraphInstantiateWithFlags(&memory[i]->graph, graph, 0));
    CU_OK(cuGraphDestroy(graph));
  });
}

void replay(World& world, const std::vector<std::unique_ptr<Captured>>& memory, int round) {
  const auto value = [&](int rank) { return static_cast<float>(10 * round + rank); };
  world.each([&](size_t i, Rank& r) {
    memory[i]->in.write(all_of(value(r.rank)));
    CU_OK(cuGraphLaunch(memory[i]->graph, r.device->stream()));
  });
  world.synchronize();
  std::vector<float> everybody;
  for (int rank = 0; rank < kRanks; ++rank) everybody.insert(everybody.end(), kCount, value(rank));
  world.each([&](size_t i, Rank& r) {
    EXPECT_THAT(memory[i]->sum.read(), Each(40.0f * static_cast<float>(round) + 6));
    EXPECT_EQ(memory[i]->all.read(), everybody);
    EXPECT_THAT(memory[i]->passed.read(), Each(value((r.rank + kRanks - 1) % kRanks)));
  });
}

// The communicator's first calls are captured, so that connections are made meanwhile. Between
// replays it is used outside of the graph.
void captured_graph(World& world) {
  std::vector<std::unique_ptr<Captured>> memory;
  world.each([&](size_t, Rank&) { memory.push_back(std::make_unique<Captured>()); });
  capture(world, memory);
  const auto between = world.filled<int32_t>([](int rank) { return all_of(rank); });
  for (int round = 1; round <= 3; ++round) {
    replay(world, memory, round);
    world.group([&](size_t i, Rank& r) {
      NCCL_OK(ncclAllReduce(between[i]->get(), between[i]->get(), kCount, ncclInt32, ncclMax,
                            r.comm, r.stream()));
    });
  }
  world.synchronize();
  world.each([&](size_t i, Rank&) {
    EXPECT_THAT(between[i]->read(), Each(kRanks - 1));
    CU_OK(cuGraphExecDestroy(memory[i]->graph));
  });
}

TEST(NcclDeviceStreams, CapturedGraph_OneThread_ReplaysWithNewInputs) {
  on_one_thread(kRanks, captured_graph);
}
TEST(NcclDeviceStreams, CapturedGraph_Processes_ReplaysWithNewInputs) {
  on_gpu_processes(kRanks, captured_graph);
}

// --- PreMulSum

// The sum over two ranks of factor * value, where rank r has the factor factors[r] and 10 + r.
template <typename T>
void expect_scaled(World& world, ncclDataType_t type, ncclRedOp_t op,
                   const std::vector<T>& factors) {
  const Rank& r = world.ranks.front();
  for (const size_t count : {kCount, 100 * kCount}) {  // by lines with flags, and by slots
    const Buffer<T> in(all_of(static_cast<T>(10 + r.rank), count));
    const Buffer<T> out(count);
    NCCL_OK(ncclAllReduce(in.get(), out.get(), count, type, op, r.comm, r.stream()));
    world.synchronize();
    EXPECT_THAT(out.read(), Each(static_cast<T>(10 * factors[0] + 11 * factors[1])));
  }
}

template <typename T>
void scalars(World& world, ncclDataType_t type) {
  const Rank& r = world.ranks.front();
  ncclRedOp_t op = ncclSum;
  T factor = static_cast<T>(2 + r.rank);
  NCCL_MUST(ncclRedOpCreatePreMulSum(&op, &factor, type, ncclScalarHostImmediate, r.comm));
  factor = 100;  // not read any more
  expect_scaled<T>(world, type, op, {2, 3});
  NCCL_OK(ncclRedOpDestroy(op, r.comm));

  // Memory of the GPU, which a call in the stream changes.
  const Buffer<T> on_gpu(std::vector<T>{0, static_cast<T>(4 - r.rank)});
  const Buffer<T> next(std::vector<T>{static_cast<T>(5 + r.rank)});
  NCCL_MUST(ncclRedOpCreatePreMulSum(&op, on_gpu.get() + 1, type, ncclScalarDevice, r.comm));
  expect_scaled<T>(world, type, op, {4, 3});
  CU_OK(cuMemcpyAsync(on_gpu.address() + sizeof(T), next.address(), sizeof(T), r.device->stream()));
  expect_scaled<T>(world, type, op, {5, 6});
  NCCL_OK(ncclRedOpDestroy(op, r.comm));

  // Ordinary memory of the host is read at the call.
  factor = 1;
  NCCL_MUST(ncclRedOpCreatePreMulSum(&op, &factor, type, ncclScalarDevice, r.comm));
  factor = static_cast<T>(6 + r.rank);
  expect_scaled<T>(world, type, op, {6, 7});
  NCCL_OK(ncclRedOpDestroy(op, r.comm));
}

TEST(NcclDeviceStreams, PreMulSum_ReadsItsScalarWhereItLies) {
  on_gpu_threads(2, [](World& world) {
    scalars<float>(world, ncclFloat32);
    scalars<double>(world, ncclFloat64);
    scalars<uint8_t>(world, ncclUint8);
    scalars<int64_t>(world, ncclInt64);
  });
}

TEST(NcclDeviceStreams, PreMulSum_InAGraph_ReadsItsScalarInEachReplay) {
  on_gpu_processes(2, [](World& world) {
    const Rank& r = world.ranks.front();
    const Buffer<float> factor(std::vector<float>{0});
    const Buffer<float> in(all_of(1.0f));
    const Buffer<float> out(kCount);
    ncclRedOp_t op = ncclSum;
    NCCL_MUST(ncclRedOpCreatePreMulSum(&op, factor.get(), ncclFloat, ncclScalarDevice, r.comm));
    CU_OK(cuStreamBeginCapture_v2(r.device->stream(), abi::CaptureMode::kGlobal));
    NCCL_OK(ncclAllReduce(in.get(), out.get(), kCount, ncclFloat, op, r.comm, r.stream()));
    abi::Graph graph = nullptr;
    abi::GraphExec ready = nullptr;
    CU_OK(cuStreamEndCapture(r.device->stream(), &graph));
    CU_OK(cuGraphInstantiateWithFlags(&ready, graph, 0));
    for (const float round : {2.0f, 3.0f}) {
      factor.write({round});
      CU_OK(cuGraphLaunch(ready, r.device->stream()));
      world.synchronize();
      EXPECT_THAT(out.read(), Each(2 * round));
    }
    CU_OK(cuGraphExecDestroy(ready));
    CU_OK(cuGraphDestroy(graph));
  });
}

// --- Memory

TEST(NcclDeviceStreams, MemAlloc_GivesMemoryOfTheGpuThatIsCurrent) {
  on_gpu_threads(2, [](World& world) {
    const Rank& r = world.ranks.front();
    void* memory = nullptr;
    void* handle = nullptr;
    NCCL_MUST(ncclMemAlloc(&memory, kCount * sizeof(int32_t)));
    const auto address = reinterpret_cast<abi::DevicePtr>(memory);
    int device = -1;
    CU_OK(cuPointerGetAttribute(&device, abi::PointerAttribute::kDeviceOrdinal, address));
    EXPECT_EQ(device, r.device->ordinal());
    NCCL_OK(ncclCommRegister(r.comm, memory, kCount * sizeof(int32_t), &handle));
    CU_OK(cuMemsetD32Async(address, static_cast<unsigned>(r.rank + 1), kCount, r.device->stream()));
    NCCL_OK(ncclAllReduce(memory, memory, kCount, ncclInt32, ncclSum, r.comm, r.stream()));
    world.synchronize();
    std::vector<int32_t> got(kCount);
    CU_OK(cuMemcpyDtoH_v2(got.data(), address, kCount * sizeof(int32_t)));
    EXPECT_THAT(got, Each(3));
    NCCL_OK(ncclCommDeregister(r.comm, handle));
    ncclWindow_t window = nullptr;
    EXPECT_EQ(ncclCommWindowRegister(r.comm, memory, 4096, &window, NCCL_WIN_DEFAULT),
              ncclInvalidUsage);
    EXPECT_THAT(last_error(), HasSubstr("windows work on memory of the host"));
    NCCL_OK(ncclMemFree(memory));
    EXPECT_EQ(ncclMemFree(memory), ncclInvalidArgument);
  });
}

TEST(NcclDeviceStreams, MemFree_OfForeignMemory_IsRefused) {
  in_process([] {
    const Device device(1);
    const Buffer<float> foreign(kCount);
    EXPECT_EQ(ncclMemFree(foreign.get()), ncclInvalidArgument);
    EXPECT_THAT(last_error(), HasSubstr("memory of CUDA device 1"));
    int on_stack = 0;
    EXPECT_EQ(ncclMemFree(&on_stack), ncclInvalidArgument);
    void* none = &on_stack;
    NCCL_OK(ncclMemAlloc(&none, 0));
    EXPECT_EQ(none, nullptr);
  });
}

TEST(NcclDeviceStreams, MemoryOfTheHost_IsCarriedByTheGpu) {
  on_gpu_processes(2, [](World& world) {
    const Rank& r = world.ranks.front();
    std::vector<float> pageable = all_of(static_cast<float>(r.rank + 1));
    NCCL_OK(ncclAllReduce(pageable.data(), pageable.data(), kCount, ncclFloat, ncclSum, r.comm,
                          r.stream()));
    world.synchronize();
    EXPECT_THAT(pageable, Each(3.0f));
  });
}

// --- Which GPU

int device_of_new() {
  ncclUniqueId id;
  EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess) << last_error();
  Comm comm;
  int device = -2;
  EXPECT_EQ(ncclCommInitRank(comm.put(), 1, id, 0), ncclSuccess) << last_error();
  EXPECT_EQ(ncclCommCuDevice(comm, &device), ncclSuccess);
  return device;
}

TEST(NcclDeviceStreams, NewCommunicators_AreOfTheThreadsGpu_OrTheFirst) {
  in_process([] {
    EXPECT_EQ(device_of_new(), 0);  // none is current
    const Device third(3);
    third.use();
    EXPECT_EQ(device_of_new(), 3);
    std::thread([] { EXPECT_EQ(device_of_new(), 0); }).join();
  });
  in_process([] {
    ::setenv("TUTTI_DEVICE", "host", 1);
    EXPECT_EQ(device_of_new(), -1);
    void* memory = nullptr;
    NCCL_MUST(ncclMemAlloc(&memory, 1));
    *static_cast<char*>(memory) = 1;
    NCCL_OK(ncclMemFree(memory));
    ::setenv("TUTTI_DEVICE", "2", 1);
    EXPECT_EQ(device_of_new(), 2);
    ::setenv("TUTTI_DEVICE", "current", 1);
    EXPECT_EQ(device_of_new(), -1);
  });
}

TEST(NcclDeviceStreams, InitAll_MoreRanksThanGpus_IsRefused) {
  in_process([] {
    std::vector<ncclComm_t> comms(100);
    EXPECT_EQ(ncclCommInitAll(comms.data(), 100, nullptr), ncclInvalidArgument);
    EXPECT_THAT(last_error(), HasSubstr("ndev is 100"));
    const int no_such = 77;
    EXPECT_EQ(ncclCommInitAll(comms.data(), 1, &no_such), ncclInvalidArgument);
    EXPECT_THAT(last_error(), HasSubstr("77"));
  });
}

// --- What goes wrong

ncclResult_t await_error(ncclComm_t comm) {
  ncclResult_t state = ncclSuccess;
  for (int i = 0; i < 20000 && (state == ncclSuccess || state == ncclInProgress); ++i) {
    EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
    ::usleep(1000);
  }
  return state;
}

TEST(NcclDeviceStreams, MemoryOfAnotherGpu_IsRefusedAndThePeersLearnOfIt) {
  on_gpu_threads(2, [](World& world) {
    const Rank& r = world.ranks.front();
    const Device other(r.device->ordinal() + 2);
    const Buffer<float> foreign(kCount);
    r.device->use();
    const Buffer<float> own(kCount);
    float* const memory = r.rank == 0 ? foreign.get() : own.get();
    const ncclResult_t called =
        ncclAllReduce(memory, memory, kCount, ncclFloat, ncclSum, r.comm, r.stream());
    if (r.rank == 0) {
      EXPECT_EQ(called, ncclInvalidArgument);
      EXPECT_THAT(last_error(r.comm), HasSubstr("memory of CUDA device 2"));
      EXPECT_THAT(last_error(r.comm), HasSubstr("communicator is of device 0"));
    } else {
      EXPECT_EQ(await_error(r.comm), ncclInvalidArgument);  // as at rank 0
      EXPECT_THAT(last_error(r.comm), HasSubstr("rank 0"));
    }
    world.synchronize();  // the kernel has ended
  });
}

TEST(NcclDeviceStreams, Abort_EndsAKernelThatWaits) {
  on_one_thread(2, [](World& world) {
    const auto sums = world.filled<float>([](int rank) { return all_of(1.0f + rank); });
    const auto sum = [&](size_t i) {
      Rank& r = world.ranks[i];
      return ncclAllReduce(sums[i]->get(), sums[i]->get(), kCount, ncclFloat, ncclSum, r.comm,
                           r.stream());
    };
    world.group([&](size_t i, Rank&) { NCCL_OK(sum(i)); });
    world.synchronize();
    std::thread([&] { NCCL_OK(sum(0)); }).join();  // rank 1 does not call
    EXPECT_EQ(driver().cuStreamQuery(world.ranks[0].device->stream()), abi::Result::kNotReady);
    ncclComm_t aborted = std::exchange(world.ranks[0].comm, nullptr);
    NCCL_OK(ncclCommAbort(aborted));
    CU_OK(cuStreamSynchronize(world.ranks[0].device->stream()));
    // The other rank, which has nothing under way, learns of it by its calls; one that needs only
    // what the first has sent before may still end.
    ncclResult_t state = ncclSuccess;
    for (int i = 0; i < 3 && state == ncclSuccess; ++i) state = sum(1);
    if (state == ncclSuccess) state = await_error(world.ranks[1].comm);
    EXPECT_EQ(state, ncclRemoteError);
    EXPECT_THAT(last_error(world.ranks[1].comm), HasSubstr("rank 0"));
    NCCL_OK(ncclCommAbort(std::exchange(world.ranks[1].comm, nullptr)));
  });
}

TEST(NcclDeviceStreams, DifferentCalls_AreAsynchronousErrorsOnEveryRank) {
  on_gpu_processes(2, [](World& world) {
    const Rank& r = world.ranks.front();
    const Buffer<float> memory(kCount);
    NCCL_OK(ncclAllReduce(memory.get(), memory.get(), r.rank == 0 ? kCount : kCount / 2, ncclFloat,
                          ncclSum, r.comm, r.stream()));
    const ncclResult_t error = await_error(r.comm);
    EXPECT_TRUE(error == ncclInvalidUsage || error == ncclInvalidArgument ||
                error == ncclRemoteError)
        << error;
    EXPECT_THAT(last_error(r.comm), HasSubstr("AllReduce"));
    world.synchronize();
  });
}

}  // namespace
}  // namespace tutti::nccl_test
