// SPDX-License-Identifier: Apache-2.0
// Memory that peers write to.
#include <array>
#include <atomic>
#include <vector>

#include "src/device/device.h"
#include "tests/conformance/transport_cases.h"

namespace tutti::transport::testing {
namespace {

TEST_P(TransportConformance, Window_PutThenSignal_SeenByOwner) {
  run(3, [](Rank& self) {
    constexpr size_t kWindow = 64 << 10;
    constexpr size_t kCounters = 128;  // at the start: one counter per peer
    self.join();
    auto* memory = static_cast<std::byte*>(device::allocate_shared(kWindow + 4096));
    std::byte* window = memory + 4096;
    const auto tokens =
        self.exchange.all_gather(self.rank, self.transport->export_region(window, kWindow));
    const Deadline deadline = Deadline::after_ns(kPatienceNs);
    std::vector<std::unique_ptr<RemoteRegion>> regions;
    for (size_t i = 0; i < tokens.size(); ++i) {
      regions.push_back(self.transport->import_region(self.peers[i], tokens[i], deadline));
      EXPECT_EQ(regions.back()->bytes(), kWindow);
    }
    const auto me = static_cast<size_t>(self.rank);
    std::vector<std::byte> data(1000);
    for (uint64_t round = 1; round <= 20; ++round) {
      for (size_t to = 0; to < regions.size(); ++to) {
        fill_pattern(data.data(), data.size(), 100 * me + round);
        ASSERT_TRUE(regions[to]->put(kCounters + me * 1000, data.data(), data.size()).ok());
        ASSERT_TRUE(regions[to]->add_signal(8 * me, 1).ok());
      }
      for (size_t from = 0; from < regions.size(); ++from) {
        std::atomic_ref<uint64_t> counter(*reinterpret_cast<uint64_t*>(window + 8 * from));
        self.wait("a signal", [&] { return counter.load(std::memory_order_acquire) >= round; });
        EXPECT_TRUE(has_pattern(window + kCounters + from * 1000, 1000, 100 * from + round));
      }
      self.exchange.barrier();
    }
    RemoteRegion& other = *regions[(me + 1) % 3];
    EXPECT_EQ(other.put(kWindow - 10, data.data(), 11).code, StatusCode::kInvalidArgument);
    EXPECT_EQ(other.put(SIZE_MAX, data.data(), 2).code, StatusCode::kInvalidArgument);
    EXPECT_EQ(other.add_signal(4, 1).code, StatusCode::kInvalidArgument);
    EXPECT_EQ(other.add_signal(kWindow, 1).code, StatusCode::kInvalidArgument);
    EXPECT_TRUE(other.put(kWindow, data.data(), 0).ok());
    std::array<uint64_t, 4> words{};
    const Deadline soon = Deadline::after_ns(kPatienceNs);
    ASSERT_TRUE(other.read(0, words, soon).ok());
    EXPECT_EQ(words, (std::array<uint64_t, 4>{20, 20, 20, 0}));
    EXPECT_EQ(other.read(4, words, soon).code, StatusCode::kInvalidArgument);
    EXPECT_EQ(other.read(kWindow - 24, words, soon).code, StatusCode::kInvalidArgument);
    self.exchange.barrier();
    regions.clear();
    self.exchange.barrier();
    device::free_shared(memory);
  });
}

TEST_P(TransportConformance, Window_PrivateMemoryOrNothing_RejectedOrEmpty) {
  run(1, [](Rank& self) {
    self.join();
    std::vector<std::byte> heap(4096);
    EXPECT_THROW(self.transport->export_region(heap.data(), heap.size()), Error);
    const auto token = self.transport->export_region(nullptr, 0);
    auto region =
        self.transport->import_region(self.peers[0], token, Deadline::after_ns(kPatienceNs));
    EXPECT_EQ(region->bytes(), 0U);
    EXPECT_EQ(region->put(0, heap.data(), 1).code, StatusCode::kInvalidArgument);
    EXPECT_TRUE(region->put(0, heap.data(), 0).ok());
    EXPECT_THROW(
        self.transport->import_region(self.peers[0], std::span(token).first(3), Deadline::never()),
        Error);
  });
}

}  // namespace
}  // namespace tutti::transport::testing
