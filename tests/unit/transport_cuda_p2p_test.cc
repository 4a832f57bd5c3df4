// SPDX-License-Identifier: Apache-2.0
// Connections in GPU memory over the simulated driver (tests/cudasim), between threads and between
// processes.
#include <atomic>
#include <filesystem>
#include <numeric>
#include <optional>

#include <gmock/gmock.h>

#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "src/device/device.h"
#include "tests/cudasim/kernels/basic.h"
#include "tests/unit/transport_cuda_p2p_support.h"
#include "transport/cuda_p2p/memory.h"

namespace tutti::transport::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr const char* kPcieSwitch = "pcie gpus=2 per-switch=2";
constexpr const char* kTwoSockets = "pcie gpus=2 per-switch=1 sockets=2";

std::vector<uint32_t> counted(size_t count, uint32_t from) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}
size_t free_bytes(const cuda::Gpu& gpu) {
  const cuda::Current current(gpu);
  size_t free = 0;
  size_t total = 0;
  cuda::check(cuda::driver().cuMemGetInfo_v2(&free, &total), "free memory");
  return free;
}

template <typename Args>
void run_kernel(const cuda::Gpu& gpu, const char* name, Args args, unsigned threads) {
  const cuda::Current current(gpu);
  const cuda::Kernels kernels(gpu, "any");
  const cuda::OwnedStream stream(gpu);
  cuda::launch(kernels.find(name), {.blocks = 1, .threads = threads}, stream.get(), &args);
  stream.synchronize();
}

uint32_t* words(uint64_t address) { return reinterpret_cast<uint32_t*>(address); }

struct Places {
  Mode mode;
  int devices[2];
};
class CudaP2p : public ::testing::TestWithParam<Places> {
 protected:
  // Two ranks that have learned of each other.
  void run(const std::function<void(Rank&)>& body, const char* topology = kNvlink) {
    in_child(topology, [&] {
      run_ranks(kRow, GetParam().mode, 2, [&](Rank& self) {
        self.device = GetParam().devices[self.rank];
        self.join();
        body(self);
      });
    });
  }
};

void expect_addresses(const DeviceFifo& fifo) {
  EXPECT_EQ(fifo.layout.n_lines, kLayout.n_lines);
  EXPECT_EQ(fifo.layout.area_bytes, kLayout.area_bytes);
  EXPECT_NE(fifo.lines, 0u);
  EXPECT_EQ(fifo.areas, fifo.lines + kLayout.areas_offset());
  EXPECT_EQ(fifo.inline_fifo.slots % 128, 0u);
  EXPECT_NE(fifo.release_word, fifo.inline_fifo.released);
  EXPECT_EQ(fifo.inline_fifo.n_slots, 8u);
  EXPECT_TRUE(fifo.inline_fifo.whole_lines) << "NVLink, or one GPU";
}

TEST_P(CudaP2p, Connection_BothEnds_SeeOneMemory) {
  run([](Rank& self) {
    ASSERT_TRUE(self.transport->reach(self.peers[static_cast<size_t>(1 - self.rank)]).reachable);
    const cuda::Gpu gpu(self.device);
    for (const int channel : {0, 1 << 15}) {
      Both both = connect_both(self, channel);
      expect_addresses(both.send->device);
      expect_addresses(both.receive->device);
      EXPECT_TRUE(both.send->by_value);
      EXPECT_TRUE(both.send->view.drained());
      EXPECT_EQ(both.send->view.own_failure, nullptr);
      const DeviceFifo& out = both.send->device;
      const DeviceFifo& in = both.receive->device;
      EXPECT_THAT(download(gpu, in.lines, kLayout.total_bytes() / 4), Each(0u));
      EXPECT_THAT(download(gpu, in.inline_fifo.slots, 8 * (16 << 10) / 4), Each(0u));
      EXPECT_THAT(download(gpu, out.release_word, 64), Each(0u));
      self.exchange.barrier();
      const auto seed = static_cast<uint32_t>(1'000'000 * (self.rank + 1) + channel);
      const auto theirs = static_cast<uint32_t>(1'000'000 * (2 - self.rank) + channel);
      run_kernel(gpu, "test_fill", FillArgs{words(out.areas), 4096, seed}, 128);
      run_kernel(gpu, "test_fill", FillArgs{words(out.lines), 256, seed + 1}, 32);
      run_kernel(gpu, "test_fill", FillArgs{words(out.inline_fifo.slots), 32768, seed + 2}, 256);
      upload(gpu, in.release_word, seed + 3);
      upload(gpu, in.inline_fifo.released, seed + 4);
      self.exchange.barrier();
      EXPECT_EQ(download(gpu, in.areas, 4096), counted(4096, theirs));
      EXPECT_EQ(download(gpu, in.lines, 256), counted(256, theirs + 1));
      EXPECT_EQ(download(gpu, in.inline_fifo.slots, 32768), counted(32768, theirs + 2));
      EXPECT_EQ(download(gpu, out.release_word, 1)[0], theirs + 3);
      EXPECT_EQ(download(gpu, out.inline_fifo.released, 1)[0], theirs + 4);
      self.exchange.barrier();
    }
  });
}

TEST_P(CudaP2p, Kernels_OfBothGpus_ExchangeMessages) {
  run([](Rank& self) {
    const cuda::Gpu gpu(self.device);
    Both both = connect_both(self);
    const bool writes = self.rank == 0;
    const DeviceFifo& fifo = writes ? both.send->device : both.receive->device;
    const cuda::DeviceMemory own(gpu, 256);
    constexpr uint32_t kRounds = 30;
    run_kernel(gpu, "test_message",
               MessageArgs{words(fifo.areas), words(fifo.lines), words(fifo.release_word),
                           own.as<uint32_t>(), own.as<uint32_t>() + 1, kRounds, writes ? 1U : 0U},
               64);
    EXPECT_EQ(download(gpu, own.address(), 1)[0], 0u) << "a round in which other bytes came";
    self.exchange.barrier();
    EXPECT_EQ(download(gpu, fifo.release_word, 1)[0], kRounds) << "where the peer has it, too";
  });
}

TEST_P(CudaP2p, Windows_AreHostMemoryOfThePeer) {
  run([](Rank& self) {
    auto* const mine = static_cast<uint64_t*>(device::allocate_shared(4096));
    const auto tokens =
        self.exchange.all_gather(self.rank, self.transport->export_region(mine, 4096));
    const auto other = static_cast<size_t>(1 - self.rank);
    {
      const auto region = self.transport->import_region(self.peers[other], tokens[other],
                                                        Deadline::after_ns(kPatienceNs));
      EXPECT_EQ(region->bytes(), 4096u);
      const uint64_t value = 40 + static_cast<uint64_t>(self.rank);
      EXPECT_TRUE(region->put(64, &value, sizeof value).ok());
      EXPECT_TRUE(region->add_signal(0, 1).ok());
      self.wait("the peer's signal", [&] {
        // acquire: pairs with add_signal()
        return std::atomic_ref<uint64_t>(*mine).load(std::memory_order_acquire) == 1;
      });
      EXPECT_EQ(mine[8], 40 + other);
      self.exchange.barrier();
    }
    EXPECT_THROW(
        (void)self.transport->import_region(self.peers[other], std::span(tokens[other]).first(3),
                                            Deadline::after_ns(kPatienceNs)),
        Error);
    device::free_shared(mine);
  });
}

// A receiver that has nothing to receive ends at once: the sender must have reached its memory.
TEST_P(CudaP2p, Receiver_IsConnected_OnlyWhenTheSenderHasReachedItsMemory) {
  run([](Rank& self) {
    constexpr int kLooks = 100;
    const cuda::Gpu gpu(self.device);
    std::unique_ptr<SendConnection> send;
    if (self.rank == 0) {
      send = self.connect(1, kLayout);
      bool ready = false;
      for (int i = 0; i < kLooks; ++i, sleep_ns(kNsPerMs)) EXPECT_TRUE(send->ready(&ready).ok());
      EXPECT_FALSE(ready) << "the receiver has not looked";
    }
    self.exchange.barrier();
    // The request is there, and the sender does not look.
    for (int i = 0; self.rank == 1 && i < kLooks; ++i, sleep_ns(kNsPerMs))
      EXPECT_EQ(self.transport->try_accept(self.id(0, 1), self.peers[0]), nullptr);
    self.exchange.barrier();
    if (self.rank == 0) {
      self.wait_ready(*send);
      self.exchange.barrier();
      upload(gpu, send->device.lines, 1);
    } else {
      (void)self.accept(0);  // and drops it
      self.transport.reset();
      self.exchange.barrier();
    }
  });
}

// Without those of the simulated driver, which closes them when its engine rests.
size_t own_descriptors() {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string leads_to = std::filesystem::read_symlink(entry.path(), gone).string();
    if (!gone && leads_to.find("memfd:cudasim") == std::string::npos) ++count;
  }
  return count;
}

// Counting takes a descriptor, which threads would see of each other.
size_t descriptors_in_turn(Rank& self) {
  size_t count = 0;
  for (const int turn : {0, 1}) {
    if (self.rank == turn) count = own_descriptors();
    self.exchange.barrier();
  }
  return count;
}

// Who ends first leaves memory that the peer may still write to, and gets it back.
TEST_P(CudaP2p, Destruction_InEitherOrder_FreesAllMemoryAndDescriptors) {
  run([](Rank& self) {
    const cuda::Gpu gpu(self.device);
    const auto round = [&](int first) {
      std::optional<Both> both(connect_both(self));
      std::optional<Both> more(connect_both(self, 3));
      self.exchange.barrier();
      if (self.rank == first) {
        both.reset();
        more.reset();
        self.transport.reset();
        const bool is_shared = GetParam().mode == Mode::kProcesses;
        EXPECT_EQ(cuda_p2p::sweep(), is_shared ? 4u : 0u) << "parts that the peer has open";
      }
      self.exchange.barrier();
      if (self.rank != first) upload(gpu, both->send->device.lines, 1);
      self.exchange.barrier();
      both.reset();
      more.reset();
      self.transport.reset();
      self.exchange.barrier();
      EXPECT_EQ(cuda_p2p::sweep(), 0u);
      self.exchange.barrier();
    };
    round(0);
    const size_t memory = free_bytes(gpu);
    const size_t descriptors = descriptors_in_turn(self);
    for (const int first : {1, 0}) {
      self.join(8);
      round(first);
    }
    EXPECT_EQ(free_bytes(gpu), memory);
    EXPECT_EQ(descriptors_in_turn(self), descriptors);
  });
}

INSTANTIATE_TEST_SUITE_P(
    Places, CudaP2p,
    ::testing::Values(Places{Mode::kThreads, {0, 5}}, Places{Mode::kThreads, {2, 2}},
                      Places{Mode::kProcesses, {0, 5}}, Places{Mode::kProcesses, {2, 2}}),
    [](const auto& info) {
      const Places& place = info.param;
      return std::string(place.mode == Mode::kThreads ? "threads" : "processes") +
             (place.devices[0] == place.devices[1] ? "_one_gpu" : "_two_gpus");
    });

void reach_on(const char* topology, const std::function<void(const Reach&, Rank&)>& check) {
  for (const Mode mode : {Mode::kThreads, Mode::kProcesses}) {
    in_child(topology, [&] {
      run_ranks(kRow, mode, 2, [&](Rank& self) {
        self.device = self.rank;
        self.join();
        check(self.transport->reach(self.peers[static_cast<size_t>(1 - self.rank)]), self);
        self.exchange.barrier();
      });
    });
  }
}

TEST(CudaP2pReach, GpusOfTwoSockets_SayWhyNot) {
  reach_on(kTwoSockets, [](const Reach& reach, Rank& self) {
    EXPECT_FALSE(reach.reachable);
    EXPECT_THAT(reach.reason, AllOf(HasSubstr("can't reach each other's memory"),
                                    HasSubstr("rank " + std::to_string(1 - self.rank))));
  });
}

TEST(CudaP2pReach, GpusBehindOnePcieSwitch_HaveNoWholeLines) {
  reach_on(kPcieSwitch, [](const Reach& reach, Rank& self) {
    EXPECT_TRUE(reach.reachable) << reach.reason;
    const Both both = connect_both(self);
    EXPECT_FALSE(both.send->device.inline_fifo.whole_lines);
    EXPECT_FALSE(both.receive->device.inline_fifo.whole_lines);
  });
}

TEST(CudaP2pReach, HostRank_IsTold) {
  MemoryBudget budget;
  const SharedBell bell = SharedBell::allocate();
  try {
    (void)create_cuda_p2p({.budget = &budget, .bell = &bell});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidUsage);
    EXPECT_THAT(error.what(), HasSubstr("this rank has no GPU"));
  }
}

TEST(CudaP2pReach, AddressOfAnotherKind_IsNotReachable) {
  reach_on(kNvlink, [](const Reach&, Rank& self) {
    Peer strange = self.peers[0];
    strange.address.resize(10);
    const Reach reach = self.transport->reach(strange);
    EXPECT_FALSE(reach.reachable);
    EXPECT_THAT(reach.reason, HasSubstr("10 other bytes; rank 0"));
  });
}

}  // namespace
}  // namespace tutti::transport::testing
