// SPDX-License-Identifier: Apache-2.0
// Lines, slots and references of a connection, one message after the other.
#include "src/device/device.h"
#include "tests/conformance/transport_cases.h"

namespace tutti::transport::testing {
namespace {

TEST_P(TransportConformance, Lines_AllUsed_FreeAfterRelease) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      for (uint32_t i = 0; i < kSmall.n_lines; ++i) {
        ASSERT_TRUE(connection->view.line_free()) << i;
        send_word(*connection, i);
      }
      EXPECT_FALSE(connection->view.line_free());
      EXPECT_FALSE(connection->view.area_free());
      self.exchange.barrier();
      self.wait("one release", [&] { return moved(*connection).line_free(); });
      send_word(*connection, kSmall.n_lines);
      self.wait("all releases", [&] { return moved(*connection).drained(); });
    } else {
      auto connection = self.accept(0);
      self.exchange.barrier();
      for (uint32_t i = 0; i <= kSmall.n_lines; ++i) EXPECT_EQ(receive_word(self, *connection), i);
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Areas_AllUsed_LinesStillFree) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      SendView& view = connection->view;
      for (uint64_t i = 0; i < 3 * kSmall.n_areas; ++i) {
        if (i == kSmall.n_areas) {
          EXPECT_FALSE(view.area_free());
          EXPECT_TRUE(view.line_free());
          self.exchange.barrier();
        }
        self.wait("a staging slot", [&] { return moved(*connection).area_free(); });
        fill_pattern(view.area(kSmall.area_bytes), kSmall.area_bytes, i);
        view.commit_staged(kSignature, kSmall.area_bytes);
        connection->nudge();
      }
      self.wait("all releases", [&] { return moved(*connection).drained(); });
    } else {
      auto connection = self.accept(0);
      self.exchange.barrier();
      for (uint64_t i = 0; i < 3 * kSmall.n_areas; ++i) {
        ASSERT_EQ(self.wait_message(*connection, kSignature), MessageKind::kStaged);
        const StagedPayload staged = connection->view.line().staged;
        EXPECT_EQ(staged.bytes, kSmall.area_bytes);
        EXPECT_TRUE(has_pattern(connection->view.area(staged, staged.bytes), staged.bytes, i)) << i;
        connection->view.release();
        connection->nudge();
      }
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Peek_OtherSignature_Mismatch) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1);
      self.wait_ready(*connection);
      send_word(*connection, 1, kOtherSignature);
      self.exchange.barrier();
    } else {
      auto connection = self.accept(0);
      MessageKind kind{};
      self.wait("the message",
                [&] { return Rank::peek(*connection, kSignature, &kind) != Peeked::kNothing; });
      EXPECT_EQ(connection->view.peek(kSignature, &kind), Peeked::kMismatch);
      EXPECT_EQ(connection->view.peek(kOtherSignature, &kind), Peeked::kMessage);
      self.exchange.barrier();
    }
  });
}

TEST_P(TransportConformance, Reference_SharedMemory_ValidUntilReleased) {
  run(2, [](Rank& self) {
    constexpr size_t kBytes = 3 << 20;
    self.join();
    if (self.rank == 0) {
      auto* memory = static_cast<std::byte*>(device::allocate_shared(kBytes));
      fill_pattern(memory, kBytes, 5);
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      for (const size_t offset : {size_t{0}, size_t{64}, kBytes - 1024}) {
        fill_pattern(memory + offset, 1024, offset);
        MessageKind kind{};
        DirectReference reference{};
        ASSERT_TRUE(connection->reference(memory + offset, 1024, false, &kind, &reference));
        EXPECT_EQ(kind, MessageKind::kMapped);
        connection->view.commit_direct(kSignature, kind, reference);
        connection->nudge();
        EXPECT_FALSE(connection->view.drained());
        self.exchange.barrier();
        self.wait("the release", [&] { return moved(*connection).drained(); });
      }
      device::free_shared(memory);
    } else {
      auto connection = self.accept(0);
      for (const size_t offset : {size_t{0}, size_t{64}, kBytes - 1024}) {
        self.exchange.barrier();
        ASSERT_EQ(self.wait_message(*connection, kSignature), MessageKind::kMapped);
        const std::byte* data = nullptr;
        Status status = kInProgressStatus;
        self.wait("the mapping", [&] {
          status = connection->map(connection->view.line().direct, &data);
          return !status.in_progress();
        });
        ASSERT_TRUE(status.ok()) << status.reason;
        EXPECT_TRUE(has_pattern(data, 1024, offset));
        connection->view.release();
        connection->nudge();
      }
    }
    self.exchange.barrier();
  });
}

// An idle connection gives its staging slots back and takes them again; its messages go on.
TEST_P(TransportConformance, Rest_Drained_CreditsTheSlotsAndCarriesOn) {
  run(2, [](Rank& self) {
    self.join();
    constexpr int kRounds = 3;
    constexpr uint32_t kPerRound = 5;  // more than there are slots
    constexpr size_t kBytes = kSmall.area_bytes;
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      const size_t whole = self.budget.used_bytes();
      for (int round = 0; round < kRounds; ++round) {
        for (uint32_t i = 0; i < kPerRound; ++i) {
          self.wait("a slot", [&] { return moved(*connection).area_free(); });
          std::memset(connection->view.area(kBytes), static_cast<int>(10 * round + i + 1), kBytes);
          connection->view.commit_staged(kSignature, kBytes);
          connection->nudge();
        }
        self.wait("all releases", [&] { return moved(*connection).drained(); });
        const size_t freed = connection->rest();
        EXPECT_EQ(self.budget.used_bytes(), whole - freed);
        EXPECT_EQ(freed, kSmall.staging_bytes());
        EXPECT_EQ(connection->rest(), 0U) << "they have gone already";
        EXPECT_EQ(std::to_integer<int>(connection->view.areas[0]), 0) << "fresh pages";
        connection->resume();
        connection->resume();
        EXPECT_EQ(self.budget.used_bytes(), whole);
      }
    } else {
      auto connection = self.accept(0);
      for (uint32_t i = 0; i < kRounds * kPerRound; ++i) {
        EXPECT_EQ(self.wait_message(*connection, kSignature), MessageKind::kStaged);
        const auto& staged = connection->view.line().staged;
        const std::byte* data = connection->view.areas + size_t{staged.area} * kSmall.area_bytes;
        const auto expected = static_cast<std::byte>(10 * (i / kPerRound) + i % kPerRound + 1);
        EXPECT_EQ(data[0], expected);
        EXPECT_EQ(data[kBytes - 1], expected);
        connection->view.release();
        connection->nudge();
      }
    }
    self.exchange.barrier();
  });
}

}  // namespace
}  // namespace tutti::transport::testing
