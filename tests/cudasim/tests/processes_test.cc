// SPDX-License-Identifier: Apache-2.0
// Several processes, a device each: IPC handles, exported memory, multicast objects, and a process
// that is killed.
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "tests/cudasim/kernels/basic.h"
#include "tests/cudasim/tests/support.h"

namespace cudasim::test {
namespace {

using tutti::gpu::Vec16;
constexpr size_t kBytes = 2 << 20;

void expect_well(const std::vector<Outcome>& outcomes) {
  for (const Outcome& outcome : outcomes)
    EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

MessageArgs message_args(uint32_t* words, uint32_t writes) {
  return {words, words + 256, words + 320, words + 384, words + 448, 20, writes};
}

// Number 0 has the memory and writes, number 1 opens it by an IPC handle.
void exchange_by_ipc(const char* kernel, int self, const Channels& channels) {
  use_device(self);
  uint32_t* words = nullptr;
  if (self == 0) {
    words = alloc_words(512);
    abi::IpcMemHandle handle{};
    OK(abi::cuIpcGetMemHandle(&handle, address(words)));
    channels.send_bytes(1, &handle, sizeof(handle));
  } else {
    abi::IpcMemHandle handle{};
    channels.receive_bytes(1, &handle, sizeof(handle));
    abi::DevicePtr opened = 0;
    FAILS(abi::cuIpcOpenMemHandle_v2(&opened, handle, 0), kInvalidValue);
    OK(abi::cuIpcOpenMemHandle_v2(&opened, handle, abi::kIpcLazyEnablePeerAccess));
    words = reinterpret_cast<uint32_t*>(opened);
  }
  OK(launch(kernel, 1, 64, message_args(words, self == 0 ? 1 : 0)));
  OK(abi::cuCtxSynchronize());
  if (self == 1) {
    const bool right = read_words(words + 384, 1)[0] == 0;
    OK(abi::cuIpcCloseMemHandle(address(words)));
    channels.send(0, 1);
    WANT(right);
  } else {
    channels.receive(0);
  }
}

TEST(CudasimProcesses_Ipc, CarriesMessages) {
  for (const char* weak : {"0", "1"})
    expect_well(run_all(2, {{"CUDASIM_WEAK", weak}}, [](int self, const Channels& channels) {
      exchange_by_ipc("test_message", self, channels);
    }));
}

// What a process has stored and not released may reach the other in any order.
TEST(CudasimProcesses_MissingRelease, ShowsAcrossProcesses) {
  constexpr int kSeeds = 20;
  int wrong = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    const Env env = {{"CUDASIM_WEAK", "1"}, {"CUDASIM_SEED", std::to_string(seed)}};
    const auto outcomes = run_all(2, env, [](int self, const Channels& channels) {
      exchange_by_ipc("bug_missing_release", self, channels);
    });
    if (outcomes[1].said.find("expected: right") != std::string::npos) ++wrong;
  }
  EXPECT_GE(wrong, 1);
}

TEST(CudasimProcesses_Ipc, NarrowScopeIsSeenAcrossProcesses) {
  const auto outcomes = run_all(2, {}, [](int self, const Channels& channels) {
    use_device(self);
    if (self == 0) {
      uint32_t* const words = alloc_words(512);
      OK(launch("bug_narrow_scope", 1, 1, WaitArgs{words, words + 1, 3}));
      OK(abi::cuCtxSynchronize());
      abi::IpcMemHandle handle{};
      OK(abi::cuIpcGetMemHandle(&handle, address(words)));
      channels.send_bytes(1, &handle, sizeof(handle));
      channels.receive(0);
      return;
    }
    abi::IpcMemHandle handle{};
    channels.receive_bytes(1, &handle, sizeof(handle));
    abi::DevicePtr opened = 0;
    OK(abi::cuIpcOpenMemHandle_v2(&opened, handle, abi::kIpcLazyEnablePeerAccess));
    auto* const words = reinterpret_cast<uint32_t*>(opened);
    OK(launch("test_wait", 1, 1, WaitArgs{words, words + 2, 3}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
    channels.send(0, 1);
  });
  expect_well(outcomes);
  EXPECT_NE(outcomes[1].said.find("scope too narrow: device 0"), std::string::npos)
      << outcomes[1].said;
}

// A device pointer means nothing in another process.
TEST(CudasimProcesses_Pointer, OfAnotherProcessIsUnknown) {
  expect_well(run_all(2, {}, [](int self, const Channels& channels) {
    use_device(self);
    if (self == 0) {
      channels.send(1, address(alloc_words(64)));
      channels.receive(0);
      return;
    }
    auto* const words = reinterpret_cast<uint32_t*>(channels.receive(1));
    OK(launch("test_fill", 1, 32, FillArgs{words, 64, 1}));
    FAILS(abi::cuCtxSynchronize(), kIllegalAddress);
    channels.send(0, 1);
  }));
}

abi::AllocationHandle create(int device) {
  const abi::AllocationProperties properties{
      .type = abi::AllocationType::kPinned,
      .requested_handle_types = abi::HandleType::kPosixFileDescriptor,
      .location = {abi::LocationType::kDevice, device}};
  abi::AllocationHandle handle = 0;
  OK(abi::cuMemCreate(&handle, kBytes, &properties, 0));
  return handle;
}

abi::DevicePtr map(abi::AllocationHandle handle, int device) {
  abi::DevicePtr pointer = 0;
  OK(abi::cuMemAddressReserve(&pointer, kBytes, 0, 0, 0));
  OK(abi::cuMemMap(pointer, kBytes, 0, handle, 0));
  const abi::AccessDescriptor access{{abi::LocationType::kDevice, device},
                                     abi::AccessFlags::kReadWrite};
  OK(abi::cuMemSetAccess(pointer, kBytes, &access, 1));
  return pointer;
}

void send_handle(const Channels& channels, int to, abi::AllocationHandle handle) {
  int fd = -1;
  OK(abi::cuMemExportToShareableHandle(&fd, handle, abi::HandleType::kPosixFileDescriptor, 0));
  channels.send(to, 0, fd);
  close(fd);
}

abi::AllocationHandle receive_handle(const Channels& channels, int self) {
  int fd = -1;
  channels.receive(self, &fd);
  abi::AllocationHandle handle = 0;
  OK(abi::cuMemImportFromShareableHandle(&handle, reinterpret_cast<void*>(intptr_t{fd}),
                                         abi::HandleType::kPosixFileDescriptor));
  close(fd);
  return handle;
}

// LL128 to and fro over memory that was exported as a file descriptor.
TEST(CudasimProcesses_ExportedMemory, CarriesWholeLines) {
  for (const char* weak : {"0", "1"})
    expect_well(run_all(2, {{"CUDASIM_WEAK", weak}}, [](int self, const Channels& channels) {
      use_device(self);
      abi::AllocationHandle handle = 0;
      if (self == 0) {
        handle = create(0);
        send_handle(channels, 1, handle);
      } else {
        handle = receive_handle(channels, 1);
      }
      const abi::DevicePtr base = map(handle, self);
      auto* const words = reinterpret_cast<uint32_t*>(base);
      auto* const first = reinterpret_cast<Vec16*>(base + 4096);
      auto* const second = reinterpret_cast<Vec16*>(base + 8192);
      OK(launch("test_lines", 1, 32,
                LineArgs{self == 0 ? second : first, self == 0 ? first : second, words, words + 64,
                         50, self == 0 ? 1U : 0U}));
      OK(abi::cuCtxSynchronize());
      WANT(read_words(words, 1)[0] == 0);
      channels.send(1 - self, 1);
      channels.receive(self);
    }));
}

// NVLS over four processes: each reduces a part of all devices' memory and stores it to all.
TEST(CudasimProcesses_Multicast, ReducesAndStoresOverFour) {
  constexpr int kCount = 4;
  constexpr size_t kElements = 128 * size_t{kCount};
  expect_well(run_all(kCount, {}, [](int self, const Channels& channels) {
    use_device(self);
    abi::AllocationHandle object = 0;
    if (self == 0) {
      const abi::MulticastProperties team{kCount, kBytes, 1, 0};
      OK(abi::cuMulticastCreate(&object, &team));
      for (int i = 1; i < kCount; ++i) send_handle(channels, i, object);
    } else {
      object = receive_handle(channels, self);
    }
    OK(abi::cuMulticastAddDevice(object, self));
    const abi::AllocationHandle memory = create(self);
    const abi::DevicePtr own = map(memory, self);
    std::vector<float> in(kElements, static_cast<float>(self + 1));
    OK(abi::cuMemcpyHtoD_v2(own, in.data(), in.size() * 4));
    OK(abi::cuMulticastBindMem(object, 0, memory, 0, kBytes, 0));
    const abi::DevicePtr all = map(object, self);
    for (int i = 0; i < kCount; ++i) channels.send(i, 1);
    for (int i = 0; i < kCount; ++i) channels.receive(self);
    const abi::DevicePtr part = all + static_cast<size_t>(self) * 512;
    uint32_t* const out = alloc_words(128);
    OK(launch(
        "test_multimem", 1, 32,
        MultimemArgs{reinterpret_cast<Vec16*>(part), reinterpret_cast<Vec16*>(part),
                     reinterpret_cast<Vec16*>(out), reinterpret_cast<uint32_t*>(all + 65536), 1}));
    // The counter of each device counts all.
    OK(abi::cuStreamWaitValue32_v2(nullptr, own + 65536, kCount, abi::kWaitGeq));
    OK(abi::cuCtxSynchronize());
    std::vector<float> sums(kElements);
    OK(abi::cuMemcpyDtoH_v2(sums.data(), own, sums.size() * 4));
    for (const float sum : sums) WANT(sum == 10.0F);
    for (int i = 0; i < kCount; ++i) channels.send(i, 2);
    for (int i = 0; i < kCount; ++i) channels.receive(self);
  }));
}

TEST(CudasimProcesses_Events, AreSharedByIpc) {
  expect_well(run_all(2, {}, [](int self, const Channels& channels) {
    use_device(self);
    abi::Event event = nullptr;
    abi::IpcEventHandle handle{};
    if (self == 0) {
      OK(abi::cuEventCreate(&event, abi::kEventInterprocess | abi::kEventDisableTiming));
      OK(abi::cuIpcGetEventHandle(&handle, event));
      uint32_t* const words = alloc_words(64);
      const abi::Stream stream = new_stream();
      OK(abi::cuStreamWaitValue32_v2(stream, address(words), 1, abi::kWaitEq));
      OK(abi::cuEventRecord(event, stream));
      channels.send_bytes(1, &handle, sizeof(handle));
      channels.receive(0);
      OK(abi::cuStreamWriteValue32_v2(new_stream(), address(words), 1, 0));
      channels.receive(0);
      return;
    }
    channels.receive_bytes(1, &handle, sizeof(handle));
    OK(abi::cuIpcOpenEventHandle(&event, handle));
    FAILS(abi::cuEventQuery(event), kNotReady);
    channels.send(0, 1);
    OK(abi::cuStreamWaitEvent(nullptr, event, 0));
    OK(abi::cuStreamSynchronize(nullptr));
    OK(abi::cuEventSynchronize(event));
    channels.send(0, 1);
  }));
}

// The peer is killed while it shares memory. What is mapped stays; what is not can't be opened; a
// kernel that waits for it is let off by its abort flag.
TEST(CudasimProcesses_KilledPeer, LeavesTheOtherAlive) {
  const auto outcomes = run_all(2, {}, [](int self, const Channels& channels) {
    use_device(self);
    if (self == 0) {
      uint32_t* const words = alloc_words(512);
      abi::IpcMemHandle handle{};
      OK(abi::cuIpcGetMemHandle(&handle, address(words)));
      channels.send_bytes(1, &handle, sizeof(handle));
      channels.send(1, static_cast<uint64_t>(getpid()));
      pause();
    }
    abi::IpcMemHandle handle{};
    channels.receive_bytes(1, &handle, sizeof(handle));
    abi::DevicePtr opened = 0;
    OK(abi::cuIpcOpenMemHandle_v2(&opened, handle, abi::kIpcLazyEnablePeerAccess));
    auto* const words = reinterpret_cast<uint32_t*>(opened);
    uint32_t* const abort = alloc_words(64);
    MessageArgs args = message_args(words, 0);
    args.abort = abort;
    const abi::Stream stream = new_stream();
    OK(launch("test_message", 1, 64, args, stream));
    kill(static_cast<pid_t>(channels.receive(1)), SIGKILL);
    usleep(50'000);
    FAILS(abi::cuStreamQuery(stream), kNotReady);
    OK(abi::cuStreamWriteValue32_v2(new_stream(), address(abort), 1, 0));
    OK(abi::cuStreamSynchronize(stream));
    FAILS(abi::cuIpcOpenMemHandle_v2(&opened, handle, abi::kIpcLazyEnablePeerAccess), kMapFailed);
    OK(abi::cuIpcCloseMemHandle(address(words)));
  });
  EXPECT_EQ(outcomes[0].signal, SIGKILL);
  EXPECT_TRUE(outcomes[1].ended_well) << outcomes[1].said;
}

TEST(CudasimProcesses_Fork, LeavesTheDriverBehind) {
  const Outcome outcome = run({}, [] {
    use_device(0);
    const pid_t child = fork();
    if (child == 0) {
      abi::DevicePtr pointer = 0;
      FAILS(abi::cuMemAlloc_v2(&pointer, 64), kNotInitialized);
      _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    WANT(status == 0);
  });
  EXPECT_TRUE(outcome.ended_well) << outcome.said;
}

TEST(CudasimProcesses_OtherMachine, SharesNoMemory) {
  const auto outcomes =
      run_all(2, {{"CUDASIM_TOPOLOGY", "dgx-h100 x2"}}, [](int self, const Channels& channels) {
        setenv("CUDASIM_MACHINE", self == 0 ? "0" : "1", 1);  // NOLINT(concurrency-mt-unsafe)
        use_device(0);
        if (self == 0) {
          send_handle(channels, 1, create(0));
          channels.receive(0);
          return;
        }
        int fd = -1;
        channels.receive(self, &fd);
        abi::AllocationHandle handle = 0;
        FAILS(abi::cuMemImportFromShareableHandle(&handle, reinterpret_cast<void*>(intptr_t{fd}),
                                                  abi::HandleType::kPosixFileDescriptor),
              kInvalidValue);
        channels.send(0, 1);
      });
  expect_well(outcomes);
}

}  // namespace
}  // namespace cudasim::test
