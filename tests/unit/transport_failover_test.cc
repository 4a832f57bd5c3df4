// SPDX-License-Identifier: Apache-2.0
// Connections whose paths break: by sabotage on tcp and rdma, by links that go down and peers that
// are killed on rdma, for which the guests of tests/vm have devices.
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "src/device/device.h"
#include "tests/unit/transport_world.h"
#include "transport/network/network.h"

namespace tutti::transport::testing {
namespace {

using ::testing::HasSubstr;

const TransportRow& row_named(std::string_view name) {
  for (const TransportRow& row : transport_table()) {
    if (row.name == name) return row;
  }
  throw Error(StatusCode::kInternalError, "there is no transport " + std::string(name));
}

// Why this machine can't use it; empty when it can.
std::string what_is_missing(const TransportRow& row) {
  const SharedBell bell = SharedBell::allocate();
  try {
    row.create({.bell = &bell});
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

// Counts over threads and processes.
class Count {
 public:
  Count() {
    void* const memory =
        ::mmap(nullptr, sizeof *count_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw Error(StatusCode::kSystemError, "no memory for a counter");
    count_ = new (memory) std::atomic<int>{0};
  }
  ~Count() { ::munmap(count_, sizeof *count_); }
  Count(const Count&) = delete;
  Count& operator=(const Count&) = delete;
  // relaxed: it is read when those who add have been waited for.
  void add(int n) { count_->fetch_add(n, std::memory_order_relaxed); }
  int get() const { return count_->load(std::memory_order_relaxed); }

 private:
  std::atomic<int>* count_ = nullptr;
};

constexpr uint32_t kSignature = 0xabcdef10;
constexpr FifoLayout kLayout{.n_lines = 16, .n_areas = 4, .area_bytes = 16 << 10};

// Sends `n` staged messages and breaks a path now and then.
void send_while_breaking(Rank& self, int to, int n, uint32_t seed, Count& total) {
  std::mt19937 rng(seed);
  auto connection = self.connect(to, kLayout);
  self.wait_ready(*connection);
  int broken = 0;
  for (int k = 0; k < n; ++k) {
    const size_t bytes = 1 + rng() % kLayout.area_bytes;
    self.wait("a staging slot", [&] {
      const Status status = connection->progress();
      if (!status.ok()) throw Error(status.code, status.reason);
      return connection->view.area_free();
    });
    fill_pattern(connection->view.area(bytes), bytes, static_cast<uint64_t>(k));
    connection->view.commit_staged(kSignature, bytes);
    connection->nudge();
    if (k % 37 == 36 && network::sabotage_path(*self.transport, to, static_cast<size_t>(k) % 2))
      ++broken;
  }
  self.wait("all releases", [&] {
    const Status status = connection->progress();
    if (!status.ok()) throw Error(status.code, status.reason);
    return connection->view.drained();
  });
  EXPECT_GT(broken, 0);
  total.add(broken);
  self.exchange.barrier();
}

void receive_while_breaking(Rank& self, int from, int n, uint32_t seed, Count& total) {
  std::mt19937 rng(seed);  // draws what the sender draws
  auto connection = self.accept(from);
  for (int k = 0; k < n; ++k) {
    const size_t bytes = 1 + rng() % kLayout.area_bytes;
    ASSERT_EQ(self.wait_message(*connection, kSignature), MessageKind::kStaged);
    const StagedPayload staged = connection->view.line().staged;
    ASSERT_EQ(staged.bytes, bytes) << k;
    ASSERT_TRUE(has_pattern(connection->view.area(staged, bytes), bytes, static_cast<uint64_t>(k)))
        << k;
    connection->view.release();
    connection->nudge();
    if (k % 53 == 52 && network::sabotage_path(*self.transport, from, static_cast<size_t>(k) % 2))
      total.add(1);
  }
  self.exchange.barrier();
}

struct Where {
  const char* transport;
  Mode mode;
};

class Breaking : public ::testing::TestWithParam<Where> {
 protected:
  void SetUp() override {
    const std::string missing = what_is_missing(row());
    if (missing.empty()) return;
    if (foreign_variable("TUTTI_VM_DEVICES_1")) FAIL() << missing;
    GTEST_SKIP() << missing;
  }
  static const TransportRow& row() { return row_named(GetParam().transport); }
  static Mode mode() { return GetParam().mode; }
};

TEST_P(Breaking, PathsBreakWhileMessagesFlow_AllArriveOnceIntactInOrder) {
  // Of each run of 600 messages about 27.
  const int wanted = std::stoi(foreign_variable("TUTTI_TEST_SABOTAGES").value_or("40"));
  Count broken;
  for (uint32_t seed = 1; broken.get() < wanted && !HasFailure(); ++seed) {
    run_ranks(row(), mode(), 2, [&](Rank& self) {
      self.join();
      if (self.rank == 0) {
        send_while_breaking(self, 1, 600, seed, broken);
      } else {
        receive_while_breaking(self, 0, 600, seed, broken);
      }
    });
  }
  std::cout << broken.get() << " paths were broken\n";
}

TEST_P(Breaking, SignalsAndPuts_CountedOnceAndOrdered) {
  constexpr uint64_t kRounds = 300, kPuts = 5;
  run_ranks(row(), mode(), 2, [&](Rank& self) {
    self.join();
    auto* window = static_cast<uint64_t*>(device::allocate_shared(4096));
    const auto tokens =
        self.exchange.all_gather(self.rank, self.transport->export_region(window, 4096));
    const int peer = 1 - self.rank;
    const auto region = self.transport->import_region(self.peers[static_cast<size_t>(peer)],
                                                      tokens[static_cast<size_t>(peer)],
                                                      Deadline::after_ns(kPatienceNs));
    std::mt19937 rng(static_cast<uint32_t>(self.rank));
    std::atomic_ref<uint64_t> signal(window[0]);
    for (uint64_t k = 1; k <= kRounds; ++k) {
      // Several puts to one place, of which the last counts. The next round's, which may come while
      // this rank looks, go to another.
      const size_t place = k % 2;
      for (uint64_t value = k * kPuts + 1; value <= (k + 1) * kPuts; ++value)
        ASSERT_TRUE(region->put(64 + place * sizeof k, &value, sizeof value).ok());
      ASSERT_TRUE(region->add_signal(0, 1).ok());
      if (rng() % 20 == 0) network::sabotage_path(*self.transport, peer, rng() % 2);
      self.wait("the peer's signal", [&] { return signal.load(std::memory_order_acquire) >= k; });
      EXPECT_EQ(window[8 + place], (k + 1) * kPuts);
    }
    self.exchange.barrier();
    EXPECT_EQ(signal.load(std::memory_order_acquire), kRounds);
    self.exchange.barrier();
    device::free_shared(window);
  });
}

std::string where_name(const ::testing::TestParamInfo<Where>& info) {
  return std::string(info.param.transport) +
         (info.param.mode == Mode::kThreads ? "_threads" : "_processes");
}

std::vector<Where> everywhere() {
  std::vector<Where> all;
  for (const char* transport : {"tcp", "rdma"}) {
    all.push_back({transport, Mode::kThreads});
#if !defined(__SANITIZE_THREAD__)  // it follows threads of one process only
    all.push_back({transport, Mode::kProcesses});
#endif
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Networks, Breaking, ::testing::ValuesIn(everywhere()), where_name);

// In a guest of tests/vm

class RdmaFailover : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!foreign_variable("TUTTI_VM_DEVICES_1")) GTEST_SKIP() << "needs a guest of tests/vm";
  }
};

void vm_net(const std::string& words) {
  if (std::system(("vm-net " + words).c_str()) != 0)
    throw Error(StatusCode::kSystemError, "vm-net " + words + " has failed");
}

uint64_t sent_bytes(const std::string& device) {
  uint64_t bytes = 0;
  std::ifstream("/sys/class/net/" + device + "/statistics/tx_bytes") >> bytes;
  return bytes;
}

// The k-th message of 16 KiB; throws when the connection fails.
void send_one(Rank& self, SendConnection& connection, uint64_t k) {
  self.wait("a staging slot", [&] {
    const Status status = connection.progress();
    if (!status.ok()) throw Error(status.code, status.reason);
    return connection.view.area_free() && connection.view.line_free();
  });
  fill_pattern(connection.view.area(kLayout.area_bytes), kLayout.area_bytes, k);
  connection.view.commit_staged(kSignature, kLayout.area_bytes);
  connection.nudge();
}

void receive_one(Rank& self, RecvConnection& connection, uint64_t k) {
  ASSERT_EQ(self.wait_message(connection, kSignature), MessageKind::kStaged);
  const StagedPayload staged = connection.view.line().staged;
  ASSERT_TRUE(has_pattern(connection.view.area(staged, staged.bytes), staged.bytes, k)) << k;
  connection.view.release();
  connection.nudge();
}

// Sends until `device` has carried some messages' worth more; false after 20 s.
bool send_until_carried(Rank& self, SendConnection& connection, const std::string& device,
                        uint64_t* sent) {
  const uint64_t before = sent_bytes(device);
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  while (sent_bytes(device) - before < uint64_t{8} * kLayout.area_bytes) {
    if (deadline.expired()) return false;
    send_one(self, connection, ++*sent);
  }
  return true;
}

void send_while_links_fall(Rank& self, Count& total, int rounds) {
  auto connection = self.connect(1, kLayout);
  self.wait_ready(*connection);
  uint64_t sent = 0;
  const std::array<std::string, 2> devices{"h0r0", "h0r1"};
  for (int round = 0; round < rounds; ++round) {
    const auto down = static_cast<size_t>(round) % 2;
    const std::string end = "0 " + std::to_string(down);
    EXPECT_TRUE(send_until_carried(self, *connection, devices[down], &sent)) << "before " << round;
    vm_net("down " + end);
    EXPECT_TRUE(send_until_carried(self, *connection, devices[1 - down], &sent)) << round;
    vm_net("up " + end);
    EXPECT_TRUE(send_until_carried(self, *connection, devices[down], &sent)) << "again " << round;
  }
  self.wait("all releases",
            [&] { return connection->progress().ok() && connection->view.drained(); });
  total.add(static_cast<int>(sent));
  self.exchange.barrier();
  self.exchange.barrier();
}

TEST_F(RdmaFailover, LinksGoDownAndUp_AllArrivesAndBothServeAgain) {
  const int rounds = std::stoi(foreign_variable("TUTTI_TEST_LINK_FALLS").value_or("2"));
  Count sent;
  run_ranks(row_named("rdma"), Mode::kThreads, 2, [&](Rank& self) {
    self.join();
    if (self.rank == 0) return send_while_links_fall(self, sent, rounds);
    auto connection = self.accept(0);
    // How many there are is known at the end only.
    uint64_t seen = 0;
    MessageKind kind{};
    const Deadline deadline = Deadline::after_ns(int64_t{120 + 10 * rounds} * kNsPerSecond);
    while (sent.get() == 0 && !HasFailure() && !deadline.expired()) {
      if (Rank::peek(*connection, kSignature, &kind) == Peeked::kMessage) {
        receive_one(self, *connection, ++seen);
      } else {
        sleep_ns(50 * kNsPerUs);
      }
    }
    EXPECT_EQ(seen, static_cast<uint64_t>(sent.get()));
    self.exchange.barrier();
    self.exchange.barrier();
  });
  std::cout << sent.get() << " messages over " << rounds << " falls\n";
}

// The victim: takes ten messages and is gone.
[[noreturn]] void receive_and_die(Exchange& exchange) {
  try {
    Rank self(row_named("rdma"), 1, 2, exchange);
    self.join();
    auto connection = self.accept(0);
    for (uint64_t k = 1; k <= 10; ++k) receive_one(self, *connection, k);
    self.exchange.barrier();
    ::kill(::getpid(), SIGKILL);
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
  }
  ::_exit(1);
}

TEST_F(RdmaFailover, PeerIsKilled_SessionFailsByNameWithinTwoSeconds) {
  Exchange exchange(2);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) receive_and_die(exchange);
  Rank self(row_named("rdma"), 0, 2, exchange);
  self.join();
  auto connection = self.connect(1, kLayout);
  self.wait_ready(*connection);
  for (uint64_t k = 1; k <= 10; ++k) send_one(self, *connection, k);
  self.exchange.barrier();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  const int64_t start = now_ns();
  Status told;
  // Nothing is sent: the drivers of calls that wait ask this now and then.
  self.wait("the failure", [&] { return !(told = self.transport->peer_failure(1)).ok(); });
  const int64_t ms = (now_ns() - start) / kNsPerMs;
  std::cout << "told after " << ms << " ms: " << told.reason << "\n";
  EXPECT_LE(ms, 2000);
  EXPECT_EQ(told.code, StatusCode::kRemoteError);
  EXPECT_THAT(told.reason, HasSubstr("rank 1 is gone"));
}

}  // namespace
}  // namespace tutti::transport::testing
