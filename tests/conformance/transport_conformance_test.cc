// SPDX-License-Identifier: Apache-2.0
// What every transport must do. A new row of transport_table() gets all of it, with ranks as
// threads and, unless it is confined to one process, with ranks as processes.
#include <atomic>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "src/device/device.h"
#include "tests/unit/transport_world.h"
#include "transport/faulty/faulty.h"

namespace tutti::transport::testing {
namespace {

struct Case {
  const TransportRow* row;
  Mode mode;
};

// Every transport once more with messages that come late.
template <size_t kRow>
std::unique_ptr<Transport> create_late(const TransportOptions& options) {
  return make_faulty(transport_table()[kRow].create(options), parse_faults("seed=3,delay=20us"));
}

const std::vector<TransportRow>& rows_under_test() {
  static const std::vector<TransportRow> rows = [] {
    std::vector<TransportRow> all(transport_table().begin(), transport_table().end());
    all.push_back({"late_inproc", "", create_late<0>});
    all.push_back({"late_shm", "", create_late<1>});
    return all;
  }();
  return rows;
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const TransportRow& row : rows_under_test()) {
    cases.push_back({&row, Mode::kThreads});
#if !defined(__SANITIZE_THREAD__)  // it follows threads of one process only
    if (std::string_view(row.name).find("inproc") == std::string_view::npos)
      cases.push_back({&row, Mode::kProcesses});
#endif
  }
  return cases;
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  return std::string(info.param.row->name) +
         (info.param.mode == Mode::kThreads ? "_threads" : "_processes");
}

class TransportConformance : public ::testing::TestWithParam<Case> {
 protected:
  void run(int n_ranks, const std::function<void(Rank&)>& body) {
    run_ranks(*GetParam().row, GetParam().mode, n_ranks, body);
  }
};

constexpr uint32_t kSignature = 0xabcdef10;
constexpr uint32_t kOtherSignature = kSignature + 4;
constexpr FifoLayout kSmall{.n_lines = 8, .n_areas = 2, .area_bytes = 1024};

void send_word(SendConnection& connection, uint64_t word, uint32_t signature = kSignature) {
  std::memcpy(connection.view.line().inline_bytes, &word, sizeof word);
  connection.view.commit(signature, MessageKind::kInline);
}

uint64_t receive_word(Rank& self, RecvConnection& connection) {
  EXPECT_EQ(self.wait_message(connection, kSignature), MessageKind::kInline);
  uint64_t word = 0;
  std::memcpy(&word, connection.view.line().inline_bytes, sizeof word);
  connection.view.release();
  return word;
}

TEST_P(TransportConformance, Reach_PeerOnThisHost_Reachable) {
  run(2, [](Rank& self) {
    self.join();
    for (const Peer& peer : self.peers) {
      const Reach reach = self.transport->reach(peer);
      EXPECT_TRUE(reach.reachable) << reach.reason;
      EXPECT_TRUE(self.transport->peer_failure(peer.rank).ok());
    }
    Peer stranger = self.peers[0];
    stranger.process.host_id += 1;
    stranger.process.process_uid += 1;
    EXPECT_FALSE(self.transport->reach(stranger).reachable);
    EXPECT_FALSE(self.transport->reach(stranger).reason.empty());
    EXPECT_FALSE(self.transport->direct_capability().empty());
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Accept_BeforeConnect_NullUntilConnected) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 1) {
      EXPECT_EQ(self.transport->try_accept(self.id(0, 1), self.peers[0]), nullptr);
    }
    self.exchange.barrier();
    if (self.rank == 0) {
      auto connection = self.connect(1);
      self.wait_ready(*connection);
      send_word(*connection, 42);
      self.wait("release", [&] { return connection->view.drained(); });
    } else {
      auto connection = self.accept(0);
      EXPECT_EQ(receive_word(self, *connection), 42U);
      EXPECT_EQ(self.transport->try_accept(self.id(0, 1), self.peers[0]), nullptr)
          << "each id is accepted once";
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Connect_ReceiverComesLater_ReadyOnlyThen) {
  run(2, [](Rank& self) {
    auto other_comm = self.make_transport(1000);  // so that rank 1 has an address already
    self.learn_peers(other_comm->address());
    const ConnectionId id{7, 0, 1, 0};
    if (self.rank == 0) {
      auto transport = self.make_transport(7);
      auto connection = transport->connect(id, self.peers[1], {});
      bool ready = true;
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE(connection->ready(&ready).ok());
        EXPECT_FALSE(ready);
        sleep_ns(kNsPerMs / 2);
      }
      self.exchange.barrier();
      self.wait_ready(*connection);
      send_word(*connection, 9);
      self.exchange.barrier();
    } else {
      self.exchange.barrier();
      auto transport = self.make_transport(7);
      std::unique_ptr<RecvConnection> connection;
      self.wait("the parked connection",
                [&] { return (connection = transport->try_accept(id, self.peers[0])) != nullptr; });
      EXPECT_EQ(receive_word(self, *connection), 9U);
      self.exchange.barrier();
    }
  });
}

TEST_P(TransportConformance, Connect_SameIdTwice_InvalidUsageOrRefused) {
  run(2, [](Rank& self) {
    auto other_comm = self.make_transport(1000);
    self.learn_peers(other_comm->address());
    if (self.rank == 0) {
      auto transport = self.make_transport(7);
      const ConnectionId id{7, 0, 1, 0};
      auto first = transport->connect(id, self.peers[1], kSmall);
      try {
        auto second = transport->connect(id, self.peers[1], kSmall);
        ADD_FAILURE() << "expected InvalidUsage";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::kInvalidUsage) << error.what();
      }
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Connect_BadLayout_InvalidArgument) {
  run(1, [](Rank& self) {
    self.join();
    for (const FifoLayout layout : {FifoLayout{.n_lines = 3}, FifoLayout{.n_areas = 128},
                                    FifoLayout{.area_bytes = 100}, FifoLayout{.n_lines = 0}}) {
      EXPECT_THROW(self.connect(0, layout), Error);
    }
    EXPECT_EQ(self.budget.used_bytes(), 0U);
  });
}

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
      self.wait("one release", [&] { return connection->view.line_free(); });
      send_word(*connection, kSmall.n_lines);
      self.wait("all releases", [&] { return connection->view.drained(); });
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
        self.wait("a staging slot", [&] { return view.area_free(); });
        fill_pattern(view.area(kSmall.area_bytes), kSmall.area_bytes, i);
        view.commit_staged(kSignature, kSmall.area_bytes);
      }
      self.wait("all releases", [&] { return view.drained(); });
    } else {
      auto connection = self.accept(0);
      self.exchange.barrier();
      for (uint64_t i = 0; i < 3 * kSmall.n_areas; ++i) {
        ASSERT_EQ(self.wait_message(*connection, kSignature), MessageKind::kStaged);
        const StagedPayload staged = connection->view.line().staged;
        EXPECT_EQ(staged.bytes, kSmall.area_bytes);
        EXPECT_TRUE(has_pattern(connection->view.area(staged, staged.bytes), staged.bytes, i)) << i;
        connection->view.release();
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
        EXPECT_FALSE(connection->view.drained());
        self.exchange.barrier();
        self.wait("the release", [&] { return connection->view.drained(); });
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
      }
    }
    self.exchange.barrier();
  });
}

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
  for (uint64_t k = 0; k < kStreamMessages; ++k) {
    const StreamMessage message = plan.next();
    self.wait("a staging slot", [&] { return view.area_free(); });
    MessageKind kind = message.wish;
    DirectReference reference{};
    if (kind == MessageKind::kMapped || kind == MessageKind::kPulled) {
      const size_t slot = k % kBuffers + (kind == MessageKind::kPulled ? kBuffers : 0);
      std::byte* buffer =
          slot < kBuffers ? shared + slot * kBytes : heap.data() + (slot - kBuffers) * kBytes;
      self.wait("a source buffer", [&] {
        view.refresh();
        return view.released >= used[slot];
      });
      fill_pattern(buffer, message.bytes, k);
      if (connection.reference(buffer, message.bytes, true, &kind, &reference)) {
        used[slot] = view.committed + 1;
        view.commit_direct(kSignature, kind, reference);
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
  }
  self.wait("the last release", [&] { return view.drained(); });
  EXPECT_GT(sent[static_cast<size_t>(MessageKind::kMapped)], 0U);
  EXPECT_GT(sent[static_cast<size_t>(MessageKind::kStaged)], 0U);
  device::free_shared(shared);
}

void receive_stream(Rank& self, RecvConnection& connection) {
  std::vector<std::byte> pulled(StreamPlan::kAreaBytes);
  const RecvView& view = connection.view;
  StreamPlan plan;
  for (uint64_t k = 0; k < kStreamMessages; ++k) {
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
    for (uint64_t i = 0; i < 2000; ++i) {
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
      for (auto& send : sends) self.wait("credits", [&] { return send->view.line_free(); });
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, SenderGone_MessagesNotAccepted_StillReadable) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1);
      self.wait_ready(*connection);
      for (uint64_t i = 0; i < 3; ++i) send_word(*connection, i);
      self.transport.reset();
      connection.reset();
      self.exchange.barrier();
    } else {
      self.exchange.barrier();
      auto connection = self.accept(0);
      for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(receive_word(self, *connection), i);
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, ReceiverAcceptsAndGoes_SenderLooksLater_Ready) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.exchange.barrier();
      self.wait_ready(*connection);  // a rank that needs nothing of what follows may have left
      send_word(*connection, 1);
      self.exchange.barrier();
    } else {
      auto connection = self.accept(0);
      connection.reset();
      self.transport.reset();
      self.exchange.barrier();
      self.exchange.barrier();
    }
  });
}

TEST_P(TransportConformance, ReceiverGone_SenderGoesOn_UntilCreditsEnd) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      self.exchange.barrier();
      self.exchange.barrier();
      uint32_t sent = 0;
      for (; connection->view.line_free(); ++sent) send_word(*connection, sent);
      EXPECT_EQ(sent, kSmall.n_lines);
      self.transport.reset();
    } else {
      auto connection = self.accept(0);
      self.exchange.barrier();
      self.transport.reset();
      connection.reset();
      self.exchange.barrier();
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Destruction_AnyOrderInTheMiddle_NoCrashNoCharge) {
  run(3, [](Rank& self) {
    for (uint64_t round = 0; round < 12; ++round) {
      self.join(100 + round);
      auto send = self.connect((self.rank + 1) % 3, kSmall);
      self.exchange.barrier();  // a rank that is gone can't be connected to
      std::unique_ptr<RecvConnection> receive;
      if ((round + static_cast<uint64_t>(self.rank)) % 3 != 0)
        receive = self.accept((self.rank + 2) % 3);
      bool ready = false;
      if (send->ready(&ready).ok() && ready) send_word(*send, round);
      switch ((round + static_cast<uint64_t>(self.rank)) % 4) {
        case 0:
          self.transport.reset();
          break;
        case 1:
          send.reset();
          break;
        case 2:
          receive.reset();
          break;
        default:
          break;
      }
      send.reset();
      receive.reset();
      self.transport.reset();
      EXPECT_EQ(self.budget.used_bytes(), 0U);
      self.exchange.barrier();
    }
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
          self.wait("a slot", [&] { return connection->view.area_free(); });
          std::memset(connection->view.area(kBytes), static_cast<int>(10 * round + i + 1), kBytes);
          connection->view.commit_staged(kSignature, kBytes);
        }
        self.wait("all releases", [&] { return connection->view.drained(); });
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
      }
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Budget_CapTooSmall_ConnectThrowsAndChargesNothing) {
  run(2, [](Rank& self) {
    self.join();
    const size_t bytes = kSmall.total_bytes();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      EXPECT_EQ(self.budget.used_bytes(), bytes);
      self.wait_ready(*connection);
      self.exchange.barrier();
      connection.reset();
      EXPECT_EQ(self.budget.used_bytes(), 0U);
      MemoryBudget tiny(bytes - 1);
      auto poor = self.row.create({.comm_id = 8, .rank = 0, .budget = &tiny, .bell = &self.bell});
      try {
        auto refused = poor->connect({8, 0, 1, 0}, self.peers[1], kSmall);
        ADD_FAILURE() << "expected the cap to be honoured";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), StatusCode::kSystemError) << error.what();
      }
      EXPECT_EQ(tiny.used_bytes(), 0U);
    } else {
      // The memory is the sender's: it counts for it, and shows here as a peer's.
      auto connection = self.accept(0);
      EXPECT_EQ(self.budget.used_bytes(), 0U);
      EXPECT_EQ(self.budget.used_bytes(MemoryUse::kPeerConnections), bytes);
      connection.reset();
      EXPECT_EQ(self.budget.used_bytes(MemoryUse::kPeerConnections), 0U);
      self.exchange.barrier();
    }
    self.exchange.barrier();
  });
}

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
    ASSERT_TRUE(other.read(0, words).ok());
    EXPECT_EQ(words, (std::array<uint64_t, 4>{20, 20, 20, 0}));
    EXPECT_EQ(other.read(4, words).code, StatusCode::kInvalidArgument);
    EXPECT_EQ(other.read(kWindow - 24, words).code, StatusCode::kInvalidArgument);
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

TEST_P(TransportConformance, Everything_Closed_NothingLeftBehind) {
  const size_t descriptors = open_descriptors();
  const auto files = shared_memory_files();
  run(4, [](Rank& self) {
    self.join();
    std::vector<std::unique_ptr<SendConnection>> sends;
    for (int peer = 0; peer < self.n_ranks; ++peer) sends.push_back(self.connect(peer, kSmall));
    std::vector<std::unique_ptr<RecvConnection>> receives;
    for (int peer = 0; peer < self.n_ranks; peer += 2) receives.push_back(self.accept(peer));
    self.exchange.barrier();
  });
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(shared_memory_files(), files);
}

TEST(Faults_Text, Good_IsRead_BadIsNamed) {
  const Faults faults = parse_faults("kill=0.5,seed=9,delay=1.5ms,stall=0.25:2s,drop=1");
  EXPECT_EQ(faults.seed, 9u);
  EXPECT_EQ(faults.delay_ns, 1'500'000);
  EXPECT_EQ(faults.stall_ns, 2 * kNsPerSecond);
  EXPECT_EQ(faults.stall + faults.drop + faults.kill, 1.75);
  EXPECT_FALSE(parse_faults("").any());
  for (const char* bad : {"x=1", "drop", "drop=2", "drop=-1", "drop=nan", "delay=5", "delay=-1us",
                          "stall=0.1", "seed=x"})
    EXPECT_THROW(parse_faults(bad), Error) << bad;
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportConformance, ::testing::ValuesIn(all_cases()),
                         case_name);

}  // namespace
}  // namespace tutti::transport::testing
