// SPDX-License-Identifier: Apache-2.0
// What goes wrong or is unusual between ranks on GPUs: processes that are killed or see other GPUs,
// drivers that refuse, threads beside processes.
#include <atomic>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include <gmock/gmock.h>
#include <sys/mman.h>

#include "src/device/cuda/ipc.h"
#include "src/device/cuda/stream.h"
#include "tests/unit/transport_cuda_p2p_support.h"
#include "transport/cuda_p2p/address.h"
#include "transport/cuda_p2p/memory.h"
#include "transport/faulty/faulty.h"

namespace tutti::transport::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

cuda_p2p::Address address_seeing(char own, std::vector<cuda_p2p::Seen> seen) {
  return {.gpu = {own}, .ordinal = 0, .pci_address = {own}, .seen = std::move(seen), .shm = {}};
}

// Hidden GPUs: both ends must come to the same end.
TEST(CudaP2pJudge, TwoViews_AreOneVerdict) {
  using cuda_p2p::Seen;
  struct Row {
    const char* what;
    std::vector<Seen> of_a, of_b;
    bool reaches, whole_lines;
  };
  const Seen kYes{{'b'}, 1, 1}, kPcie{{'b'}, 1, 0}, kNo{{'b'}, 0, 0};
  const auto back = [](Seen seen) {
    seen.gpu = {'a'};
    return seen;
  };
  const Row rows[] = {
      {"both see both", {kYes}, {back(kYes)}, true, true},
      {"one sees both", {kYes}, {}, true, true},
      {"the other sees both", {}, {back(kPcie)}, true, false},
      {"no line but on one side", {kYes}, {back(kPcie)}, true, false},
      {"no way back", {kYes}, {back(kNo)}, false, false},
      {"no way", {kNo}, {}, false, false},
      {"nobody sees both", {}, {}, false, false},
  };
  for (const Row& row : rows) {
    const auto a = address_seeing('a', row.of_a);
    const auto b = address_seeing('b', row.of_b);
    for (const auto& verdict : {cuda_p2p::judge(a, b, 1), cuda_p2p::judge(b, a, 0)}) {
      EXPECT_EQ(verdict.reaches, row.reaches) << row.what;
      EXPECT_EQ(verdict.whole_lines, row.whole_lines) << row.what;
      EXPECT_EQ(verdict.reason.empty(), row.reaches) << row.what;
    }
    const auto again = cuda_p2p::decode(cuda_p2p::encode(a), 0);
    EXPECT_EQ(again.gpu, a.gpu);
    EXPECT_EQ(again.pci_address, "a");
    EXPECT_EQ(again.seen.size(), a.seen.size());
  }
}

std::unique_ptr<Transport> create_faulty(const TransportOptions& options) {
  return make_faulty(create_cuda_p2p(options), parse_faults("seed=3,delay=20us"));
}

TEST(CudaP2pProcesses, BehindInjectedFaults_KeepTheirAddresses) {
  constexpr TransportRow kFaulty{"cuda_p2p", "", create_faulty};
  run_ranks(kFaulty, Mode::kProcesses, 2, [](Rank& self) {
    self.device = self.rank;
    self.join();
    const Both both = connect_both(self);
    EXPECT_TRUE(both.send->by_value);
    EXPECT_TRUE(both.send->progress().ok());
    EXPECT_TRUE(both.receive->progress().ok());
    const cuda::Gpu gpu(self.device);
    upload(gpu, both.send->device.lines, 17);
    self.exchange.barrier();
    EXPECT_EQ(download(gpu, both.receive->device.lines, 1)[0], 17u);
    self.exchange.barrier();
  });
}

// Two ranks that are threads and one that is a process: each pair goes its own way.
TEST(CudaP2pProcesses, ThreadsAndAProcess_ReachEachOther) {
  in_child(kNvlink, [] {
    Exchange exchange(3);
    const auto body = [&](int rank) {
      try {
        Rank self(kRow, rank, 3, exchange);
        self.device = rank;
        self.join();
        const cuda::Gpu gpu(rank);
        std::vector<Both> with(3);
        // By rounds in which one rests, so that nobody waits for one that waits for another.
        for (const int resting : {0, 1, 2}) {
          const int other = 3 - resting - rank;
          if (rank == resting) continue;
          with[static_cast<size_t>(other)] = connect_with(self, other, 0);
          upload(gpu, with[static_cast<size_t>(other)].send->device.areas,
                 static_cast<uint32_t>(100 * rank + other + 1));
        }
        exchange.barrier();
        for (int other = 0; other < 3; ++other) {
          if (other == rank) continue;
          EXPECT_EQ(download(gpu, with[static_cast<size_t>(other)].receive->device.areas, 1)[0],
                    static_cast<uint32_t>(100 * other + rank + 1));
        }
        exchange.barrier();
      } catch (const std::exception& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    };
    const pid_t process = ::fork();
    ASSERT_GE(process, 0);
    if (process == 0) {
      body(2);
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    std::thread first([&] { body(0); });
    std::thread second([&] { body(1); });
    first.join();
    second.join();
    int status = 0;
    ASSERT_EQ(::waitpid(process, &status, 0), process);
    EXPECT_EQ(status, 0);
  });
}

// While the memory of a process that was killed is open here, and that process had ours open.
TEST(CudaP2pProcesses, PeerKilled_IsNamedWithinASecondAndItsPartsGo) {
  in_child(kNvlink, [] {
    Exchange exchange(2);
    const pid_t victim = ::fork();
    if (victim == 0) {
      Rank self(kRow, 1, 2, exchange);
      self.device = 1;
      self.join();
      const Both both = connect_both(self);
      exchange.barrier();
      for (;;) sleep_ns(kNsPerSecond);
    }
    Rank self(kRow, 0, 2, exchange);
    self.device = 0;
    self.join();
    ASSERT_TRUE(self.transport->reach(self.peers[1]).reachable);
    std::optional<Both> both(connect_both(self));
    exchange.barrier();
    EXPECT_TRUE(self.transport->peer_failure(1).ok());
    const int64_t killed_at = now_ns();
    ::kill(victim, SIGKILL);
    // Asleep: the death must ring the bell.
    IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kPatienceNs});
    while (self.transport->peer_failure(1).ok()) idle.idle(&self.bell.bell());
    EXPECT_LT(now_ns() - killed_at, kNsPerSecond);
    EXPECT_EQ(self.transport->peer_failure(1).rank, 1);
    EXPECT_THROW(self.connect(1, kLayout, 5), Error);
    both.reset();
    EXPECT_EQ(cuda_p2p::sweep(), 0u) << "nobody writes to them any more";
    EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  });
}

TEST(CudaP2pProcesses, DriverThatRefuses_FailsWithAReason) {
  ::setenv("CUDASIM_FAIL", "cuIpcOpenMemHandle=MAP_FAILED", 1);
  auto* const refused = static_cast<std::atomic<int>*>(::mmap(nullptr, sizeof(std::atomic<int>),
                                                              PROT_READ | PROT_WRITE,
                                                              MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(refused, MAP_FAILED);
  run_ranks(kRow, Mode::kProcesses, 2, [&](Rank& self) {
    self.device = self.rank;
    self.join();
    const int other = 1 - self.rank;
    auto send = self.connect(other, kLayout);
    const Deadline deadline = Deadline::after_ns(kPatienceNs);
    while (refused->load() < 2 && !deadline.expired()) {
      try {
        (void)self.transport->try_accept(self.id(other, self.rank),
                                         self.peers[static_cast<size_t>(other)]);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::kUnhandledCudaError);
        EXPECT_THAT(error.what(), HasSubstr("another process's GPU memory"));
        refused->fetch_add(1);
      }
      bool ready = false;
      EXPECT_TRUE(send->ready(&ready).ok());
      EXPECT_FALSE(ready) << "its peer can't open what it needs";
    }
    EXPECT_EQ(refused->load(), 2);
  });
  ::munmap(refused, sizeof(std::atomic<int>));
  ::unsetenv("CUDASIM_FAIL");
}

TEST(ShareableMemory, MadeDuringACapture_LeavesItAlone) {
  in_child(kNvlink, [] {
    const auto gpu = std::make_shared<const cuda::Gpu>(0);
    const cuda::Current current(*gpu);
    const cuda::OwnedStream stream(*gpu);
    cuda::check(cuda::driver().cuStreamBeginCapture_v2(stream.get(), cuda::CaptureMode::kGlobal),
                "a capture");
    {
      const cuda::ShareableMemory memory(gpu, 1000);
      EXPECT_EQ(memory.bytes(), size_t{2} << 20);
    }
    cuda::Graph graph = nullptr;
    cuda::check(cuda::driver().cuStreamEndCapture(stream.get(), &graph), "the capture's end");
    EXPECT_NE(graph, nullptr);
  });
}

TEST(OpenedMemory, OpenedTwice_IsOneObjectPerGpu) {
  run_ranks(kRow, Mode::kProcesses, 2, [](Rank& self) {
    const auto gpu = std::make_shared<const cuda::Gpu>(self.rank);
    if (self.rank == 0) {
      const cuda::ShareableMemory memory(gpu, 1);
      const cuda::IpcMemHandle handle = memory.handle();
      (void)self.exchange.all_gather(0, std::as_bytes(std::span(&handle, 1)));
      self.exchange.barrier();
      return;
    }
    const auto bytes = self.exchange.all_gather(1, {})[0];
    cuda::IpcMemHandle handle{};
    ASSERT_EQ(bytes.size(), sizeof handle);
    std::memcpy(&handle, bytes.data(), sizeof handle);
    const auto other = std::make_shared<const cuda::Gpu>(2);
    const auto first = cuda::OpenedMemory::open(gpu, handle);
    EXPECT_EQ(cuda::OpenedMemory::open(gpu, handle), first);
    EXPECT_NE(cuda::OpenedMemory::open(other, handle), first);
    EXPECT_THAT(download(*gpu, first->address(), 64), Each(0u));
    self.exchange.barrier();
  });
}

}  // namespace
}  // namespace tutti::transport::testing
