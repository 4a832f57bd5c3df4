// SPDX-License-Identifier: Apache-2.0
// The driver's calls within one process: memory, pointers, streams, events, graphs, errors.
#include <atomic>
#include <cstring>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/tests/support.h"

namespace cudasim::test {
namespace {

using ::testing::HasSubstr;

void expect_well(const Outcome& outcome) {
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

TEST(CudasimDriver_BeforeInit, SaysNotInitialized) {
  expect_well(run({}, [] {
    int count = 0;
    FAILS(abi::cuDeviceGetCount(&count), kNotInitialized);
    int version = 0;
    OK(abi::cuDriverGetVersion(&version));
    WANT(version == 13000);
  }));
}

TEST(CudasimDriver_NoTopology, HasNoDevice) {
  const Outcome outcome = run({{"CUDASIM_TOPOLOGY", ""}}, [] { FAILS(abi::cuInit(0), kNoDevice); });
  expect_well(outcome);
  EXPECT_THAT(outcome.said, HasSubstr("CUDASIM_TOPOLOGY is not set"));
}

TEST(CudasimDriver_Devices, AreTheTopologys) {
  expect_well(run({{"CUDASIM_TOPOLOGY", "dgx-a100 x2"}, {"CUDASIM_MACHINE", "1"}}, [] {
    OK(abi::cuInit(0));
    int count = 0;
    OK(abi::cuDeviceGetCount(&count));
    WANT(count == 8);
    int value = 0;
    OK(abi::cuDeviceGetAttribute(&value, abi::DeviceAttribute::kComputeCapabilityMajor, 3));
    WANT(value == 8);
    OK(abi::cuDeviceGetAttribute(&value, abi::DeviceAttribute::kMulticastSupported, 3));
    WANT(value == 0);
    char id[16];
    OK(abi::cuDeviceGetPCIBusId(id, sizeof(id), 3));
    abi::Device device = -1;
    OK(abi::cuDeviceGetByPCIBusId(&device, id));
    WANT(device == 3);
    OK(abi::cuDeviceCanAccessPeer(&value, 0, 7));
    WANT(value == 1);
    FAILS(abi::cuDeviceGet(&device, 8), kInvalidDevice);
  }));
}

TEST(CudasimDriver_ProcAddress, FindsByNameAndVersion) {
  expect_well(run({}, [] {
    void* function = nullptr;
    abi::ProcAddressQuery query{};
    OK(abi::cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &query));
    WANT(function == reinterpret_cast<void*>(&abi::cuMemAlloc_v2));
    OK(abi::cuGetProcAddress_v2("cuMulticastCreate", &function, 12000, 0, &query));
    WANT(function == nullptr && query == abi::ProcAddressQuery::kVersionNotSufficient);
    OK(abi::cuGetProcAddress_v2("cuNothing", &function, 12000, 0, &query));
    WANT(function == nullptr && query == abi::ProcAddressQuery::kSymbolNotFound);
  }));
}

TEST(CudasimDriver_Copies, MoveEveryWay) {
  expect_well(run({}, [] {
    use_device(0);
    std::vector<uint32_t> in(3000);
    std::iota(in.begin(), in.end(), 0);
    uint32_t* const a = alloc_words(in.size());
    write_words(a, in);
    use_device(5);
    uint32_t* const b = alloc_words(in.size());
    const abi::Stream stream = new_stream();
    OK(abi::cuMemcpyAsync(address(b), address(a), in.size() * 4, stream));
    OK(abi::cuMemsetD16Async(address(b), 0x1234, 2, stream));
    std::vector<uint32_t> out(in.size());
    OK(abi::cuMemcpyDtoHAsync_v2(out.data(), address(b), out.size() * 4, stream));
    in[0] = 0x12341234;
    WANT(out == in);
    FAILS(abi::cuMemcpyDtoH_v2(out.data(), address(b) + 4, out.size() * 4), kInvalidValue);
  }));
}

TEST(CudasimDriver_Pointers, AreClassified) {
  expect_well(run({}, [] {
    use_device(2);
    uint32_t* const device = alloc_words(16);
    void* host = nullptr;
    OK(abi::cuMemHostAlloc(&host, 4096, 0));
    abi::MemoryType type{};
    OK(abi::cuPointerGetAttribute(&type, abi::PointerAttribute::kMemoryType, address(device + 3)));
    WANT(type == abi::MemoryType::kDevice);
    int ordinal = -1;
    OK(abi::cuPointerGetAttribute(&ordinal, abi::PointerAttribute::kDeviceOrdinal,
                                  address(device)));
    WANT(ordinal == 2);
    OK(abi::cuPointerGetAttribute(&type, abi::PointerAttribute::kMemoryType, address(host)));
    WANT(type == abi::MemoryType::kHost);
    int local = 0;
    FAILS(abi::cuPointerGetAttribute(&type, abi::PointerAttribute::kMemoryType, address(&local)),
          kInvalidValue);
    abi::DevicePtr base = 0;
    size_t bytes = 0;
    OK(abi::cuMemGetAddressRange_v2(&base, &bytes, address(device + 5)));
    WANT(base == address(device) && bytes == 64);
  }));
}

TEST(CudasimDriver_RegisteredMemory, IsReachedByKernels) {
  expect_well(run({}, [] {
    use_device(0);
    static uint32_t words[64];
    OK(abi::cuMemHostRegister_v2(words, sizeof(words), abi::kHostRegisterDeviceMap));
    FAILS(abi::cuMemHostRegister_v2(words + 8, 16, 0), kHostMemoryAlreadyRegistered);
    abi::DevicePtr pointer = 0;
    OK(abi::cuMemHostGetDevicePointer_v2(&pointer, words, 0));
    OK(launch("test_fill", 1, 64, FillArgs{reinterpret_cast<uint32_t*>(pointer), 64, 100}));
    OK(abi::cuCtxSynchronize());
    WANT(words[63] == 163);
    OK(abi::cuMemHostUnregister(words));
    FAILS(abi::cuMemHostUnregister(words), kHostMemoryNotRegistered);
  }));
}

abi::AllocationProperties properties_of(int device) {
  return {.type = abi::AllocationType::kPinned,
          .requested_handle_types = abi::HandleType::kPosixFileDescriptor,
          .location = {abi::LocationType::kDevice, device}};
}

TEST(CudasimDriver_Vmm, GivesAccessByDevice) {
  const Outcome outcome = run({}, [] {
    use_device(1);
    const abi::AllocationProperties properties = properties_of(0);
    size_t granularity = 0;
    OK(abi::cuMemGetAllocationGranularity(&granularity, &properties, abi::Granularity::kMinimum));
    abi::AllocationHandle handle = 0;
    FAILS(abi::cuMemCreate(&handle, granularity + 1, &properties, 0), kInvalidValue);
    OK(abi::cuMemCreate(&handle, 2 * granularity, &properties, 0));
    abi::DevicePtr pointer = 0;
    OK(abi::cuMemAddressReserve(&pointer, 2 * granularity, 0, 0, 0));
    OK(abi::cuMemMap(pointer, 2 * granularity, 0, handle, 0));
    OK(abi::cuMemRelease(handle));
    const abi::AccessDescriptor access{{abi::LocationType::kDevice, 1},
                                       abi::AccessFlags::kReadWrite};
    OK(abi::cuMemSetAccess(pointer, 2 * granularity, &access, 1));
    auto* const words = reinterpret_cast<uint32_t*>(pointer + granularity);
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 9}));
    WANT(read_words(words, 64)[63] == 72);
    use_device(2);
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 9}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
    use_device(1);
    FAILS(abi::cuMemAddressFree(pointer, 2 * granularity), kInvalidValue);
    OK(abi::cuMemUnmap(pointer, 2 * granularity));
    OK(abi::cuMemAddressFree(pointer, 2 * granularity));
  });
  expect_well(outcome);
  EXPECT_THAT(outcome.said, HasSubstr("no access was given"));
}

TEST(CudasimDriver_Streams, AreOrderedAndIndependent) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(128);
    const abi::Stream waits = new_stream();
    const abi::Stream goes = new_stream();
    OK(launch("test_wait", 1, 1, WaitArgs{words, words + 32, 1}, waits));
    OK(abi::cuStreamWaitValue32_v2(waits, address(words + 32), 1, abi::kWaitGeq));
    OK(abi::cuStreamWriteValue64_v2(waits, address(words + 64), 77, 0));
    FAILS(abi::cuStreamQuery(waits), kNotReady);
    OK(abi::cuStreamQuery(goes));
    OK(abi::cuStreamWriteValue32_v2(goes, address(words), 1, 0));
    OK(abi::cuStreamSynchronize(waits));
    WANT(read_words(words + 64, 1)[0] == 77);
  }));
}

TEST(CudasimDriver_NullStream, WaitsForBlockingStreams) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(128);
    const abi::Stream blocking = new_stream(0);
    const abi::Stream free = new_stream();
    OK(abi::cuStreamWaitValue32_v2(blocking, address(words), 1, abi::kWaitEq));
    OK(abi::cuStreamWriteValue32_v2(nullptr, address(words + 32), 1, 0));
    FAILS(abi::cuStreamQuery(nullptr), kNotReady);
    OK(abi::cuStreamWriteValue32_v2(free, address(words), 1, 0));
    OK(abi::cuStreamSynchronize(nullptr));
    OK(abi::cuStreamQuery(blocking));
  }));
}

TEST(CudasimDriver_Events, OrderStreamsAndTellTime) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(128);
    const abi::Stream first = new_stream();
    const abi::Stream second = new_stream();
    abi::Event start = nullptr;
    abi::Event end = nullptr;
    OK(abi::cuEventCreate(&start, 0));
    OK(abi::cuEventCreate(&end, 0));
    OK(abi::cuEventRecord(start, first));
    OK(launch("test_sleep", 1, 1, WaitArgs{words, words + 1, 5}, first));
    OK(abi::cuEventRecord(end, first));
    OK(abi::cuStreamWaitEvent(second, end, 0));
    OK(abi::cuMemcpyDtoDAsync_v2(address(words + 32), address(words + 1), 4, second));
    OK(abi::cuStreamSynchronize(second));
    OK(abi::cuEventQuery(end));
    float ms = 0;
    OK(abi::cuEventElapsedTime(&ms, start, end));
    WANT(ms >= 1.0F);
    WANT(read_words(words + 32, 1)[0] == 5);
  }));
}

TEST(CudasimDriver_HostFunctions, RunInOrder) {
  expect_well(run({}, [] {
    use_device(0);
    static std::vector<int> calls;
    const abi::Stream stream = new_stream();
    OK(abi::cuLaunchHostFunc(
        stream, [](void*) { calls.push_back(1); }, nullptr));
    OK(abi::cuStreamAddCallback(
        stream, [](abi::Stream, Result, void*) { calls.push_back(2); }, nullptr, 0));
    OK(abi::cuStreamSynchronize(stream));
    WANT(calls == (std::vector<int>{1, 2}));
  }));
}

TEST(CudasimDriver_Graphs, ReplayWhatTwoStreamsDid) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(256);
    const abi::Stream origin = new_stream();
    const abi::Stream side = new_stream();
    abi::Event fork = nullptr;
    abi::Event join = nullptr;
    OK(abi::cuEventCreate(&fork, abi::kEventDisableTiming));
    OK(abi::cuEventCreate(&join, abi::kEventDisableTiming));
    OK(abi::cuStreamBeginCapture_v2(origin, abi::CaptureMode::kThreadLocal));
    FAILS(abi::cuCtxSynchronize(), kStreamCaptureUnsupported);
    OK(abi::cuMemsetD32Async(address(words), 0, 256, origin));
    OK(abi::cuEventRecord(fork, origin));
    OK(abi::cuStreamWaitEvent(side, fork, 0));
    abi::CaptureStatus status{};
    OK(abi::cuStreamIsCapturing(side, &status));
    WANT(status == abi::CaptureStatus::kActive);
    // The two run at the same time: the one waits for the other.
    OK(launch("test_wait", 1, 1, WaitArgs{words, words + 32, 3}, origin));
    OK(abi::cuStreamWriteValue32_v2(side, address(words), 3, 0));
    OK(abi::cuEventRecord(join, side));
    OK(abi::cuStreamWaitEvent(origin, join, 0));
    abi::Graph graph = nullptr;
    OK(abi::cuStreamEndCapture(origin, &graph));
    WANT(read_words(words + 32, 1)[0] == 0);
    abi::GraphExec exec = nullptr;
    OK(abi::cuGraphInstantiateWithFlags(&exec, graph, 0));
    OK(abi::cuGraphDestroy(graph));
    for (int i = 0; i < 3; ++i) OK(abi::cuGraphLaunch(exec, origin));
    OK(abi::cuStreamSynchronize(origin));
    WANT(read_words(words + 32, 1)[0] == 3);
    OK(abi::cuGraphExecDestroy(exec));
  }));
}

TEST(CudasimDriver_UnjoinedCapture, IsRefused) {
  expect_well(run({}, [] {
    use_device(0);
    uint32_t* const words = alloc_words(64);
    const abi::Stream origin = new_stream();
    const abi::Stream side = new_stream();
    abi::Event fork = nullptr;
    OK(abi::cuEventCreate(&fork, abi::kEventDisableTiming));
    OK(abi::cuStreamBeginCapture_v2(origin, abi::CaptureMode::kRelaxed));
    OK(abi::cuEventRecord(fork, origin));
    OK(abi::cuStreamWaitEvent(side, fork, 0));
    OK(abi::cuMemsetD32Async(address(words), 1, 1, side));
    abi::Graph graph = nullptr;
    FAILS(abi::cuStreamEndCapture(origin, &graph), kStreamCaptureUnjoined);
    OK(abi::cuStreamQuery(side));
  }));
}

TEST(CudasimDriver_Launches, RefuseWhatIsNotThere) {
  expect_well(run({}, [] {
    use_device(0);
    abi::Module module = nullptr;
    FAILS(abi::cuModuleLoadData(&module, nullptr), kInvalidValue);
    OK(abi::cuModuleLoadData(&module, "image"));
    abi::Function function = nullptr;
    FAILS(abi::cuModuleGetFunction(&function, module, "no_such_kernel"), kNotFound);
    OK(abi::cuModuleGetFunction(&function, module, "test_fill"));
    uint32_t* const words = alloc_words(64);
    FillArgs args{words, 64, 5};
    void* parameters[] = {&args};
    abi::LaunchAttribute attribute{};
    attribute.id = abi::LaunchAttributeId::kClusterDimension;
    attribute.value.cluster = {2, 1, 1};
    abi::LaunchConfig config{1, 1, 1, 32, 1, 1, 0, nullptr, &attribute, 1};
    FAILS(abi::cuLaunchKernelEx(&config, function, parameters, nullptr), kInvalidClusterSize);
    attribute.id = abi::LaunchAttributeId::kCooperative;
    attribute.value.cooperative = 1;
    OK(abi::cuLaunchKernelEx(&config, function, parameters, nullptr));
    config.grid_x = 132 * 32 + 1;
    FAILS(abi::cuLaunchKernelEx(&config, function, parameters, nullptr),
          kCooperativeLaunchTooLarge);
    WANT(read_words(words, 64)[63] == 68);
  }));
}

TEST(CudasimDriver_Injection, FailsTheCallThatIsNamed) {
  expect_well(run({{"CUDASIM_FAIL", "cuMemAlloc:2=OUT_OF_MEMORY,cuEventCreate=UNKNOWN"}}, [] {
    use_device(0);
    abi::DevicePtr pointer = 0;
    OK(abi::cuMemAlloc_v2(&pointer, 64));
    FAILS(abi::cuMemAlloc_v2(&pointer, 64), kOutOfMemory);
    OK(abi::cuMemAlloc_v2(&pointer, 64));
    abi::Event event = nullptr;
    FAILS(abi::cuEventCreate(&event, 0), kUnknown);
    FAILS(abi::cuEventCreate(&event, 0), kUnknown);
  }));
}

TEST(CudasimDriver_Multicast, ReachesAllDevicesOfOneProcess) {
  for (const char* weak : {"0", "1"})
    expect_well(run({{"CUDASIM_WEAK", weak}}, [] {
      constexpr int kDevices = 4;
      constexpr size_t kBytes = 2 << 20;
      OK(abi::cuInit(0));
      const abi::MulticastProperties team{kDevices, kBytes, 1, 0};
      abi::AllocationHandle object = 0;
      OK(abi::cuMulticastCreate(&object, &team));
      for (int d = 0; d < kDevices; ++d) OK(abi::cuMulticastAddDevice(object, d));
      FAILS(abi::cuMulticastAddDevice(object, 1), kInvalidValue);
      std::vector<abi::DevicePtr> unicast(kDevices);
      for (int d = 0; d < kDevices; ++d) {
        use_device(d);
        const abi::AllocationProperties properties = properties_of(d);
        abi::AllocationHandle memory = 0;
        OK(abi::cuMemCreate(&memory, kBytes, &properties, 0));
        OK(abi::cuMemAddressReserve(&unicast[d], kBytes, 0, 0, 0));
        OK(abi::cuMemMap(unicast[d], kBytes, 0, memory, 0));
        const abi::AccessDescriptor own{{abi::LocationType::kDevice, d},
                                        abi::AccessFlags::kReadWrite};
        OK(abi::cuMemSetAccess(unicast[d], kBytes, &own, 1));
        OK(abi::cuMulticastBindMem(object, 0, memory, 0, kBytes, 0));
        std::vector<float> in(128, static_cast<float>(d + 1));
        OK(abi::cuMemcpyHtoD_v2(unicast[d], in.data(), in.size() * 4));
      }
      abi::DevicePtr multicast = 0;
      OK(abi::cuMemAddressReserve(&multicast, kBytes, 0, 0, 0));
      OK(abi::cuMemMap(multicast, kBytes, 0, object, 0));
      const abi::AccessDescriptor third{{abi::LocationType::kDevice, 3},
                                        abi::AccessFlags::kReadWrite};
      OK(abi::cuMemSetAccess(multicast, kBytes, &third, 1));
      using tutti::gpu::Vec16;
      uint32_t* const out = alloc_words(128);
      OK(launch(
          "test_multimem", 1, 32,
          MultimemArgs{reinterpret_cast<Vec16*>(multicast),
                       reinterpret_cast<Vec16*>(multicast + 4096), reinterpret_cast<Vec16*>(out),
                       reinterpret_cast<uint32_t*>(multicast + 8192), 1}));
      OK(abi::cuCtxSynchronize());
      for (int d = 0; d < kDevices; ++d) {
        use_device(d);
        std::vector<float> sums(128);
        OK(abi::cuMemcpyDtoH_v2(sums.data(), unicast[d] + 4096, sums.size() * 4));
        for (const float sum : sums) WANT(sum == 10.0F);
        WANT(read_words(reinterpret_cast<uint32_t*>(unicast[d] + 8192), 1)[0] == 1);
      }
    }));
}

}  // namespace
}  // namespace cudasim::test
