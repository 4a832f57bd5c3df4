// SPDX-License-Identifier: Apache-2.0
// Connections are made, refused, charged for and gone without a trace.
#include <array>
#include <vector>

#include "tests/conformance/transport_cases.h"
#include "transport/faulty/faulty.h"

namespace tutti::transport::testing {
namespace {

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
    if (self.row.crosses_hosts) stranger.address.resize(3);
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
      self.wait("release", [&] { return moved(*connection).drained(); });
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
  if (GetParam().row->crosses_hosts)
    GTEST_SKIP() << "an address on a network belongs to a rank that is there";
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

// Files that were not there before. Other programs make and remove theirs, so they have some time.
std::vector<std::string> files_that_stay(const std::vector<std::string>& before) {
  std::vector<std::string> fresh = shared_memory_files();
  std::erase_if(fresh, [&](const std::string& name) {
    return std::ranges::find(before, name) != before.end();
  });
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  while (!fresh.empty() && !deadline.expired()) {
    sleep_ns(kNsPerMs);
    const std::vector<std::string> now = shared_memory_files();
    std::erase_if(
        fresh, [&](const std::string& name) { return std::ranges::find(now, name) == now.end(); });
  }
  return fresh;
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
  EXPECT_EQ(files_that_stay(files), std::vector<std::string>{});
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

}  // namespace
}  // namespace tutti::transport::testing
