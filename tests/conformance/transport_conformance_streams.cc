// SPDX-License-Identifier: Apache-2.0
// Many messages, between two ranks and between all.
#include <array>
#include <random>
#include <vector>

#include "src/device/device.h"
#include "tests/conformance/transport_cases.h"

namespace tutti::transport::testing {
namespace {

// One sender and one receiver of a long random stream; both draw the same stream from the same
// seed.
struct StreamMessage {
  MessageKind wish;
  size_t bytes;
};
class StreamPlan {
 public:
  StreamMessage next() {
    const uint64_t draw = engine_();
    const uint64_t dice = draw % 100;
    const size_t size = (draw >> 8) % kAreaBytes;
    if (dice < 70) return {MessageKind::kInline, size % (kInlineBytes + 1)};
    if (dice < 85) return {MessageKind::kStaged, size % 2048};
    return {dice < 93 ? MessageKind::kMapped : MessageKind::kPulled, size};
  }
  static constexpr size_t kAreaBytes = 8192;

 private:
  std::mt19937_64 engine_{2024};
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kStreamMessages = 20'000;
#else
constexpr uint64_t kStreamMessages = 100'000;
#endif
constexpr FifoLayout kStreamLayout{
    .n_lines = 16, .n_areas = 4, .area_bytes = StreamPlan::kAreaBytes};

void send_stream(Rank& self, SendConnection& connection) {
  constexpr size_t kBuffers = 8;
  constexpr size_t kBytes = StreamPlan::kAreaBytes;
  auto* shared = static_cast<std::byte*>(device::allocate_shared(kBuffers * kBytes));
  std::vector<std::byte> heap(kBuffers * kBytes);
  std::array<uint64_t, 2 * kBuffers> used{};  // message number after which the buffer may change
  std::array<uint64_t, kMessageKinds> sent{};
  SendView& view = connection.view;
  StreamPlan plan;
  for (uint64_t k = 0, n = rounds(kStreamMessages); k < n; ++k) {
    const StreamMessage message = plan.next();
    self.wait("a staging slot", [&] { return moved(connection).area_free(); });
    MessageKind kind = message.wish;
    DirectReference reference{};
    if (kind == MessageKind::kMapped || kind == MessageKind::kPulled) {
      const size_t slot = k % kBuffers + (kind == MessageKind::kPulled ? kBuffers : 0);
      std::byte* buffer =
          slot < kBuffers ? shared + slot * kBytes : heap.data() + (slot - kBuffers) * kBytes;
      self.wait("a source buffer", [&] {
        moved(connection).refresh();
        return view.released >= used[slot];
      });
      fill_pattern(buffer, message.bytes, k);
      if (connection.reference(buffer, message.bytes, true, &kind, &reference)) {
        used[slot] = view.committed + 1;
        view.commit_direct(kSignature, kind, reference);
        connection.nudge();
        ++sent[static_cast<size_t>(kind)];
        continue;
      }
      kind = MessageKind::kStaged;
    }
    ++sent[static_cast<size_t>(kind)];
    if (kind == MessageKind::kInline) {
      fill_pattern(view.line().inline_bytes, message.bytes, k);
      view.commit(kSignature, kind);
    } else {
      fill_pattern(view.area(message.bytes), message.bytes, k);
      view.commit_staged(kSignature, message.bytes);
    }
    connection.nudge();
  }
  self.wait("the last release", [&] { return moved(connection).drained(); });
  EXPECT_GT(sent[static_cast<size_t>(MessageKind::kMapped)], 0U);
  EXPECT_GT(sent[static_cast<size_t>(MessageKind::kStaged)], 0U);
  device::free_shared(shared);
}

void receive_stream(Rank& self, RecvConnection& connection) {
  std::vector<std::byte> pulled(StreamPlan::kAreaBytes);
  const RecvView& view = connection.view;
  StreamPlan plan;
  for (uint64_t k = 0, n = rounds(kStreamMessages); k < n; ++k) {
    const StreamMessage message = plan.next();
    const std::byte* data = view.line().inline_bytes;
    size_t bytes = message.bytes;
    Status status = kOkStatus;
    switch (self.wait_message(connection, kSignature)) {
      case MessageKind::kInline:
        break;
      case MessageKind::kStaged:
        bytes = view.line().staged.bytes;
        data = view.area(view.line().staged, view.line().staged.bytes);
        break;
      case MessageKind::kMapped:
        bytes = view.line().direct.bytes;
        self.wait("a mapping", [&] {
          return !(status = connection.map(view.line().direct, &data)).in_progress();
        });
        break;
      case MessageKind::kPulled: {
        bytes = view.line().direct.bytes;
        data = pulled.data();
        const size_t half = bytes / 2;  // in two pieces
        status = connection.pull(view.line().direct, 0, pulled.data(), half);
        if (status.ok())
          status = connection.pull(view.line().direct, half, pulled.data() + half, bytes - half);
        break;
      }
    }
    ASSERT_TRUE(status.ok()) << status.reason;
    ASSERT_EQ(bytes, message.bytes) << "message " << k;
    ASSERT_TRUE(has_pattern(data, bytes, k)) << "message " << k;
    connection.view.release();
    connection.nudge();
  }
}

TEST_P(TransportConformance, Stream_RandomKindsAndSizes_InOrderAndIntact) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kStreamLayout);
      self.wait_ready(*connection);
      send_stream(self, *connection);
    } else {
      auto connection = self.accept(0);
      receive_stream(self, *connection);
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Bell_SleepingReceiver_WokenByCommit) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1);
      self.wait_ready(*connection);
      for (int i = 0; i < 3; ++i) {
        self.exchange.barrier();
        sleep_ns(30 * kNsPerMs);  // so that the receiver is asleep, most likely; right in any case
        send_word(*connection, 1);
        self.exchange.barrier();
      }
    } else {
      auto connection = self.accept(0);
      for (int i = 0; i < 3; ++i) {
        self.exchange.barrier();
        // Only memory rings the moment a message is there.
        const int64_t sleep_ns = connection->needs_progress ? kNsPerMs : kPatienceNs;
        IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = sleep_ns});
        const int64_t start = now_ns();
        MessageKind kind{};
        while (Rank::peek(*connection, kSignature, &kind) != Peeked::kMessage)
          idle.idle(&self.bell.bell());
        EXPECT_LT(now_ns() - start, kPatienceNs / 2) << "only the sleep's own limit ended it";
        connection->view.release();
        connection->nudge();
        idle.reset();
        self.exchange.barrier();
      }
    }
  });
}

TEST_P(TransportConformance, Pair_BothDirections_PingPong) {
  run(2, [](Rank& self) {
    self.join();
    auto send = self.connect(1 - self.rank, kSmall);
    auto receive = self.accept(1 - self.rank);
    self.wait_ready(*send);
    for (uint64_t i = 0, n = rounds(2000); i < n; ++i) {
      if (self.rank == 0) send_word(*send, i);
      ASSERT_EQ(receive_word(self, *receive), i);
      if (self.rank == 1) send_word(*send, i);
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, AllPairs_EightRanksTwoChannels_EveryMessageArrives) {
  run(8, [](Rank& self) {
    self.join();
    constexpr uint64_t kMessages = 40;
    std::vector<std::unique_ptr<SendConnection>> sends;
    std::vector<std::unique_ptr<RecvConnection>> receives;
    for (int channel = 0; channel < 2; ++channel) {
      for (int peer = 0; peer < self.n_ranks; ++peer)
        sends.push_back(self.connect(peer, kSmall, channel));
    }
    for (int channel = 0; channel < 2; ++channel) {
      for (int peer = 0; peer < self.n_ranks; ++peer)
        receives.push_back(self.accept(peer, channel));
    }
    for (auto& send : sends) self.wait_ready(*send);
    for (uint64_t i = 0; i < kMessages; ++i) {
      for (auto& send : sends) {
        ASSERT_TRUE(send->view.line_free());
        send_word(*send, 1000 * static_cast<uint64_t>(self.rank) + i);
      }
      for (size_t at = 0; at < receives.size(); ++at) {
        const uint64_t from = at % static_cast<size_t>(self.n_ranks);
        ASSERT_EQ(receive_word(self, *receives[at]), 1000 * from + i);
      }
      for (auto& send : sends) self.wait("credits", [&] { return moved(*send).line_free(); });
    }
    self.exchange.barrier();
  });
}

}  // namespace
}  // namespace tutti::transport::testing
