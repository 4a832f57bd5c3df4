// SPDX-License-Identifier: Apache-2.0
// Handing out bells, handing them back, and pages across fork.
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/file.h"
#include "src/base/shared_bell.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

constexpr size_t kBellsPerPage = 256;

TEST(SharedBell, ManyAllocated_AreDistinctAndAligned) {
  std::vector<SharedBell> bells;
  std::set<Doorbell*> addresses;
  std::set<uint64_t> pages;
  for (size_t i = 0; i < 2 * kBellsPerPage + 1; ++i) {
    bells.push_back(SharedBell::allocate());
    addresses.insert(&bells.back().bell());
    pages.insert(bells.back().page_id());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(&bells.back().bell()) % alignof(Doorbell), 0u);
    EXPECT_EQ(bells.back().bell().sleepers.load(std::memory_order_relaxed), 0u);
    EXPECT_LE(bells.back().offset() + sizeof(Doorbell), bells.back().page_bytes());
  }
  EXPECT_EQ(addresses.size(), bells.size());
  EXPECT_EQ(pages.size(), 3u);
}

TEST(SharedBell, Page_IsASealedMemfdThatPeersCanMap) {
  const SharedBell bell = SharedBell::allocate();
  EXPECT_TRUE(is_sealed_against_shrinking(bell.fd()));
  EXPECT_EQ(file_bytes(bell.fd()), bell.page_bytes());
  const Mapping peer(bell.fd(), bell.page_bytes());
  auto& same = *reinterpret_cast<Doorbell*>(peer.data() + bell.offset());
  ring_sleepers(same);
  EXPECT_EQ(bell.bell().rings.load(std::memory_order_relaxed), 1u);
}

TEST(SharedBell, HandedBack_IsHandedOutAgain) {
  const SharedBell keeps_the_page = SharedBell::allocate();
  std::optional<SharedBell> bell = SharedBell::allocate();
  Doorbell* const address = &bell->bell();
  bell.reset();
  const SharedBell again = SharedBell::allocate();
  EXPECT_EQ(&again.bell(), address);
}

TEST(SharedBell, Moved_IsHandedBackOnce) {
  SharedBell a = SharedBell::allocate();
  SharedBell b = SharedBell::allocate();
  Doorbell* const of_a = &a.bell();
  Doorbell* const of_b = &b.bell();
  b = std::move(a);
  EXPECT_EQ(&b.bell(), of_a);
  const SharedBell c = SharedBell::allocate();
  EXPECT_EQ(&c.bell(), of_b);
  const SharedBell d = SharedBell::allocate();
  EXPECT_NE(&d.bell(), of_a);
}

TEST(SharedBell, AfterFork_ComesFromAFreshPage) {
  const SharedBell parent = SharedBell::allocate();
  const pid_t child = fork_child([&] {
    const SharedBell own = SharedBell::allocate();
    ring_sleepers(own.bell());
    return own.fd() != parent.fd() && &own.bell() != &parent.bell() ? 0 : 1;
  });
  EXPECT_EQ(exit_status(child), 0);
  const SharedBell next = SharedBell::allocate();
  EXPECT_EQ(next.bell().rings.load(std::memory_order_relaxed), 0u);
}

TEST(SharedBell, ManyThreads_NeverShareOne) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 300;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < kRounds; ++i) {
        const SharedBell bell = SharedBell::allocate();
        EXPECT_EQ(bell.bell().sleepers.fetch_add(1, std::memory_order_relaxed), 0u);
        bell.bell().sleepers.fetch_sub(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tutti
