// SPDX-License-Identifier: Apache-2.0
// Memory that peers can map: allocation, the table by address, and the order in which a region
// goes.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/process_local.h"
#include "src/base/wait.h"
#include "src/device/device.h"

namespace tutti::device {
namespace {

TEST(SharedMemory_Allocate, AnySize_ZeroedWholePagesAndFound) {
  for (const size_t bytes : {size_t{1}, size_t{4096}, size_t{4097}, size_t{3} << 20, size_t{0}}) {
    auto* memory = static_cast<std::byte*>(allocate_shared(bytes));
    const auto region = find_shared(memory, bytes);
    ASSERT_NE(region, nullptr) << bytes;
    EXPECT_EQ(region->base, memory);
    EXPECT_GE(region->bytes, bytes);
    EXPECT_EQ(region->bytes % 4096, 0U);
    EXPECT_TRUE(is_sealed_against_shrinking(region->fd));
    EXPECT_EQ(file_bytes(region->fd), region->bytes);
    for (size_t at = 0; at < region->bytes; ++at) ASSERT_EQ(memory[at], std::byte{0});
    free_shared(memory);
  }
}

TEST(SharedMemory_Find, RangesAroundTheEdges_OnlyWholeOnesFound) {
  auto* memory = static_cast<std::byte*>(allocate_shared(8192));
  struct {
    std::ptrdiff_t offset;
    size_t bytes;
    bool found;
  } const cases[] = {{0, 8192, true},  {0, 0, true},       {1, 8191, true},        {8191, 1, true},
                     {0, 8193, false}, {1, 8192, false},   {-1, 1, false},         {8192, 1, false},
                     {-1, 2, false},   {4096, 4096, true}, {4096, SIZE_MAX, false}};
  for (const auto& c : cases) {
    EXPECT_EQ(find_shared(memory + c.offset, c.bytes) != nullptr, c.found)
        << c.offset << " " << c.bytes;
  }
  free_shared(memory);
  EXPECT_EQ(find_shared(memory, 1), nullptr);
  int local = 0;
  EXPECT_EQ(find_shared(&local, sizeof local), nullptr);
}

TEST(SharedMemory_Allocate, Repeated_IdsNeverReusedAndGenerationChanges) {
  uint64_t last_id = 0;
  for (int i = 0; i < 10; ++i) {
    const uint64_t before = shared_generation();
    void* memory = allocate_shared(4096);
    const uint64_t between = shared_generation();
    EXPECT_NE(between, before);
    EXPECT_GT(find_shared(memory, 1)->id, last_id);
    last_id = find_shared(memory, 1)->id;
    free_shared(memory);
    EXPECT_NE(shared_generation(), between);
  }
}

TEST(SharedMemory_Free, ForeignPointer_InvalidArgument) {
  int local = 0;
  auto* memory = static_cast<std::byte*>(allocate_shared(8192));
  for (void* wrong : {static_cast<void*>(&local), static_cast<void*>(memory + 4096),
                      static_cast<void*>(nullptr)}) {
    try {
      free_shared(wrong);
      ADD_FAILURE() << "expected InvalidArgument";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    }
  }
  free_shared(memory);
  EXPECT_THROW(free_shared(memory), Error);
}

TEST(SharedMemory_Free, Listener_CalledOutOfTableBeforeUnmapping) {
  struct Seen {
    std::byte* memory;
    std::vector<uint64_t> ids;
    bool still_mapped = false, still_found = true;
  } seen{};
  seen.memory = static_cast<std::byte*>(allocate_shared(4096));
  seen.memory[5] = std::byte{77};
  const uint64_t id = find_shared(seen.memory, 1)->id;
  const uint64_t listener = add_loss_listener(
      [](void* context, uint64_t region, Loss) {
        auto& s = *static_cast<Seen*>(context);
        s.ids.push_back(region);
        s.still_mapped = s.memory[5] == std::byte{77};
        s.still_found = find_shared(s.memory, 1) != nullptr;
      },
      &seen);
  free_shared(seen.memory);
  EXPECT_EQ(seen.ids, std::vector<uint64_t>{id});
  EXPECT_TRUE(seen.still_mapped);
  EXPECT_FALSE(seen.still_found);
  remove_loss_listener(listener);
  free_shared(allocate_shared(1));
  EXPECT_EQ(seen.ids.size(), 1U);
}

TEST(SharedMemory_Free, RegionHeld_FileStaysUntilLetGo) {
  const auto count = [] {
    const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
    return std::distance(begin(entries), end(entries));
  };
  const auto before = count();
  void* memory = allocate_shared(4096);
  auto region = find_shared(memory, 1);
  free_shared(memory);
  EXPECT_EQ(file_bytes(region->fd), 4096U);
  EXPECT_EQ(count(), before + 1);
  region.reset();
  EXPECT_EQ(count(), before);
}

// What a peer that has mapped the region's file sees of it.
class PeersView {
 public:
  explicit PeersView(const std::byte* base)
      : region_(find_shared(base, 1)), mapping_(region_->fd, region_->bytes) {}
  std::byte& operator[](size_t i) const { return mapping_.data()[i]; }
  uint64_t id() const { return region_->id; }

 private:
  std::shared_ptr<const SharedRegion> region_;
  Mapping mapping_;
};

TEST(SharedMemory_Detach, PeerHasMappedIt_NeitherSideSeesTheOtherAnyMore) {
  constexpr size_t kBytes = 5 * 4096;
  auto* memory = static_cast<std::byte*>(allocate_shared(kBytes));
  const PeersView peer(memory);
  for (size_t i = 0; i < kBytes; ++i) memory[i] = static_cast<std::byte>(i % 251);
  peer[3] = std::byte{200};
  detach_shared(memory + 4096 + 7);  // any byte of it
  EXPECT_EQ(find_shared(memory, 1), nullptr);
  EXPECT_FALSE(with_shared(memory, peer.id(), [] {}));
  for (size_t i = 0; i < kBytes; ++i) peer[i] = std::byte{99};
  memory[0] = std::byte{1};
  EXPECT_EQ(peer[0], std::byte{99});
  EXPECT_EQ(memory[3], std::byte{200});
  for (size_t i = 4; i < kBytes; ++i) ASSERT_EQ(memory[i], static_cast<std::byte>(i % 251)) << i;
  detach_shared(memory);  // again: nothing
  free_shared(memory);
}

TEST(SharedMemory_Detach, ThreadWritesMeanwhile_NoWriteIsLost) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer takes an exchange of mappings for a write to all of them";
#endif
  constexpr size_t kPages = 64, kStride = 4096 / sizeof(uint64_t);
  const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
  for (int i = 0; i < 50; ++i) {
    auto* memory = static_cast<std::byte*>(allocate_shared(kPages * 4096));
    auto* words = reinterpret_cast<uint64_t*>(memory);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> rounds{0};  // complete ones; release pairs with the acquire loads below
    std::thread writer([&] {
      for (uint64_t round = 1; !stop.load(std::memory_order_relaxed); ++round) {
        for (size_t page = 0; page < kPages; ++page) words[page * kStride] = round;
        rounds.store(round, std::memory_order_release);
      }
    });
    const auto await = [&](uint64_t round) {
      while (rounds.load(std::memory_order_acquire) < round && !deadline.expired())
        std::this_thread::yield();
    };
    await(1);
    detach_shared(memory);
    await(rounds.load(std::memory_order_acquire) + 2);
    stop = true;
    writer.join();
    for (size_t page = 0; page < kPages; ++page) ASSERT_EQ(words[page * kStride], rounds) << page;
    free_shared(memory);
  }
}

TEST(SharedMemory_Attach, AfterDetach_IsANewRegionWithTheSameContents) {
  auto* memory = static_cast<std::byte*>(allocate_shared(3 * 4096));
  const PeersView before(memory);
  memory[5000] = std::byte{42};
  const uint64_t generation = shared_generation();
  attach_shared(memory);  // was not taken away: nothing
  EXPECT_EQ(find_shared(memory, 1)->id, before.id());
  detach_shared(memory);
  attach_shared(memory);
  EXPECT_NE(shared_generation(), generation);
  const PeersView after(memory);
  EXPECT_NE(after.id(), before.id());
  EXPECT_EQ(after[5000], std::byte{42});
  before[5000] = std::byte{1};
  EXPECT_EQ(memory[5000], std::byte{42});
  after[5001] = std::byte{43};
  EXPECT_EQ(memory[5001], std::byte{43});
  free_shared(memory);
}

TEST(SharedMemory_Detach, Listeners_HearOfEachRegionAndOfItsEnd) {
  std::vector<std::pair<uint64_t, Loss>> heard;
  const uint64_t listener = add_loss_listener(
      [](void* context, uint64_t region, Loss loss) {
        static_cast<decltype(heard)*>(context)->emplace_back(region, loss);
      },
      &heard);
  auto* memory = static_cast<std::byte*>(allocate_shared(4096));
  const uint64_t first = find_shared(memory, 1)->id;
  detach_shared(memory);
  attach_shared(memory);
  const uint64_t second = find_shared(memory, 1)->id;
  detach_shared(memory);
  free_shared(memory);
  remove_loss_listener(listener);
  EXPECT_THAT(heard, testing::ElementsAre(
                         std::pair{first, Loss::kDetached}, std::pair{second, Loss::kDetached},
                         std::pair{first, Loss::kFreed}, std::pair{second, Loss::kFreed}));
}

TEST(SharedMemory_Threads, AllocateFindFree_Consistent) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) {
        auto* memory = static_cast<std::byte*>(allocate_shared(4096));
        const auto region = find_shared(memory + 100, 10);
        ASSERT_NE(region, nullptr);
        EXPECT_EQ(region->base, memory);
        free_shared(memory);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

// Waits for the child, killing it at the deadline; what waitpid tells of it.
int status_of(pid_t child) {
  const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
  int status = -1;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (deadline.expired()) ::kill(child, SIGKILL);
    sleep_ns(kNsPerMs);
  }
  return status;
}

// The listener takes a lock that fork() holds too and that was registered after the table's: the
// handlers of fork() then take it first.
TEST(SharedMemory_Fork, WhileAnotherThreadFrees_NeitherSideHangs) {
  struct Local {
    int uses = 0;
  };
  free_shared(allocate_shared(1));  // makes the table
  ProcessLocal<Local>::with([](Local&) {});
  const uint64_t listener = add_loss_listener(
      [](void*, uint64_t, Loss) { ProcessLocal<Local>::with([](Local& local) { ++local.uses; }); },
      nullptr);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop.load(std::memory_order_relaxed)) free_shared(allocate_shared(4096));
  });
  const Deadline deadline = Deadline::after_ns(2 * kNsPerSecond);
  auto* kept = static_cast<std::byte*>(allocate_shared(4096));
  for (int i = 0; i < 200 && !HasFailure() && !deadline.expired(); ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(10);
      const bool found = find_shared(kept, 4096) != nullptr;
      remove_loss_listener(listener);
      const uint64_t own = add_loss_listener([](void*, uint64_t, Loss) {}, nullptr);
      free_shared(allocate_shared(1));
      remove_loss_listener(own);
      free_shared(kept);
      ::_exit(found && own != listener ? 0 : 1);
    }
    EXPECT_EQ(status_of(child), 0);
  }
  stop = true;
  other.join();
  remove_loss_listener(listener);
  free_shared(kept);
}

}  // namespace
}  // namespace tutti::device
