// The verbs carrier under faults of the network, of its peer and of the system. Needs a guest of
// tests/vm (two hosts), whose vm-net makes the faults; skipped elsewhere.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "src/device/device.h"
#include "tests/unit/rdma_carriers.h"

namespace tutti::transport::rdma {
namespace {

using network::FrameKind;
using testing::HasSubstr;

void vm_net(const std::string& words) {
  ASSERT_EQ(std::system(("vm-net " + words).c_str()), 0) << words;
}

class RdmaFaults : public CarrierTest {
 protected:
  void SetUp() override {
    if (!foreign_variable("TUTTI_VM_DEVICES_1")) GTEST_SKIP() << "needs a guest of tests/vm";
    CarrierTest::SetUp();
  }
  // Milliseconds until the first end's path is broken; sends all the time when `sending`.
  int64_t ms_until_broken(network::Path& path, bool sending) {
    const int64_t start = now_ns();
    EXPECT_TRUE(until(
        [&] {
          if (sending) path.send({.header = {.kind = FrameKind::kAck}});
          return a->sink.breaks > 0;
        },
        10));
    const int64_t ms = (now_ns() - start) / kNsPerMs;
    std::cout << "broken after " << ms << " ms: " << a->sink.why << "\n";
    return ms;
  }
};

TEST_F(RdmaFaults, Blackhole_IsNoticedInASecond) {
  auto path = connect();
  vm_net("loss 0 0 100");
  const int64_t ms = ms_until_broken(*path, true);
  vm_net("clear 0 0");
  EXPECT_LE(ms, 2000);
  EXPECT_THAT(a->sink.why, HasSubstr("10.1.0.1"));
  EXPECT_THAT(a->sink.why, HasSubstr("10.1.0.2"));
  // The other end notices by itself, later or sooner; who is the first knows why.
  EXPECT_TRUE(until([&] { return b->sink.breaks > 0; }));
  EXPECT_THAT(a->sink.why + "; " + b->sink.why, HasSubstr("transport retry counter exceeded"));
  a->sink.breaks = b->sink.breaks = 0;
  auto again = connect();
}

TEST_F(RdmaFaults, BlackholeWithoutTraffic_IsNoticedToo) {
  auto path = connect();
  vm_net("loss 1 0 100");  // what the peer answers
  EXPECT_LE(ms_until_broken(*path, false), 2000);
  vm_net("clear 1 0");
}

TEST_F(RdmaFaults, LinkDown_BreaksTheRailByNameAndUpServesAgain) {
  auto path = connect();
  vm_net("down 0 0");
  EXPECT_LE(ms_until_broken(*path, false), 1000);
  EXPECT_THAT(a->sink.why, HasSubstr("port"));
  std::string why;
  EXPECT_EQ(a->carrier->dial(b->peer, 0, a->sink, &why), nullptr);
  EXPECT_THAT(why, HasSubstr("can't be used"));
  EXPECT_THAT(a->carrier->describe(), HasSubstr("down: "));
  vm_net("up 0 0");
  std::unique_ptr<network::Path> again;
  const bool up = until([&] {
    if (again == nullptr) again = a->carrier->dial(b->peer, 0, a->sink, &why);
    return again != nullptr && again->send({.header = {.kind = FrameKind::kHello}});
  });
  EXPECT_TRUE(up) << why << a->sink.why;
}

TEST_F(RdmaFaults, Loss_CostsNoFrame) {
  auto path = connect();
  vm_net("loss 0 0 0.5");
  vm_net("loss 1 0 0.5");
  b->sink.keep = false;
  const auto data = pattern(20000, 4);
  bool good = true;
  uint64_t seen = 0;
  b->sink.on_arrival = [&](network::Path&, const network::FrameHeader& header) {
    good &= header.sequence == ++seen;
  };
  for (uint64_t i = 1; i <= 300; ++i) {
    send(*path, {.header = {.sequence = i,
                            .payload_bytes = i % 3 == 0 ? 20000u : 0u,
                            .kind = FrameKind::kPut},
                 .payload = data.data()});
  }
  EXPECT_TRUE(until([&] { return seen == 300; }, 60)) << seen << a->sink.why << b->sink.why;
  vm_net("clear 0 0");
  vm_net("clear 1 0");
  EXPECT_TRUE(good);
}

// A process of its own that serves until it is killed; tells its address through a pipe.
pid_t serving_process(const LocalConfig& config, int address_pipe) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  End end(1, config);
  const auto address = end.carrier->address();
  if (::write(address_pipe, address.data(), address.size()) < 0) _exit(1);
  ::close(address_pipe);
  ::alarm(60);
  for (;;) {
    bool moved = false;
    if (!end.carrier->progress(&moved).ok()) _exit(2);
  }
}

TEST_F(RdmaFaults, KilledPeer_IsNoticedAtOnce) {
  a.reset();
  b.reset();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = serving_process(peer_config, ends[1]);
  ASSERT_GT(child, 0);
  ::close(ends[1]);
  Peer peer{.rank = 1};
  std::byte buffer[4096];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;)
    peer.address.insert(peer.address.end(), buffer, buffer + got);
  ::close(ends[0]);
  a = std::make_unique<End>(0, config);
  std::string why;
  auto path = a->carrier->dial(peer, 0, a->sink, &why);
  ASSERT_NE(path, nullptr) << why;
  ASSERT_TRUE(until([&] { return path->send({.header = {.kind = FrameKind::kHello}}); }))
      << a->sink.why;
  ::kill(child, SIGKILL);
  EXPECT_LE(ms_until_broken(*path, false), 2000);
  EXPECT_THAT(a->sink.why, HasSubstr("rank 1"));
  EXPECT_THAT(a->sink.why, HasSubstr("process has ended"));
  int status = 0;
  ::waitpid(child, &status, 0);
}

// Root may lock any memory, unless it lays this right down.
void may_lock_memory(bool may) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2]{};
  ASSERT_EQ(::syscall(SYS_capget, &header, data), 0);
  constexpr uint32_t kBit = 1u << CAP_IPC_LOCK;
  data[0].effective = may ? data[0].effective | kBit : data[0].effective & ~kBit;
  ASSERT_EQ(::syscall(SYS_capset, &header, data), 0);
}

void limit_locked_memory(rlim_t bytes) {
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &limit), 0);
  limit.rlim_cur = bytes;
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

TEST_F(RdmaFaults, MemoryThatCantBeRegistered_IsCopied) {
  // A device must be opened with the rights that it is used with.
  a.reset();
  b.reset();
  may_lock_memory(false);
  a = std::make_unique<End>(0, config);
  b = std::make_unique<End>(1, peer_config);
  auto path = connect();
  constexpr size_t kBytes = 4 << 20;
  std::vector<std::byte> target(kBytes), other(kBytes);
  const network::MemoryKey key = b->carrier->expose(target.data(), target.size());
  auto* const region = static_cast<std::byte*>(device::allocate_shared(kBytes));
  const auto data = pattern(kBytes, 8);
  std::memcpy(region, data.data(), kBytes);
  limit_locked_memory(64 << 10);
  EXPECT_THROW(a->carrier->expose(other.data(), other.size()), Error);
  send(*path, {.header = {.payload_bytes = kBytes, .kind = FrameKind::kMessage},
               .payload = region,
               .token = 5,
               .into = &key});
  EXPECT_TRUE(until([&] { return b->sink.count == 2; })) << a->sink.why;
  EXPECT_TRUE(until([&] { return a->sink.sent_tokens.count(5) == 1; }));
  limit_locked_memory(RLIM_INFINITY);
  EXPECT_TRUE(b->sink.frames.back().placed_by_path);
  EXPECT_TRUE(target == data);
  EXPECT_THAT(a->carrier->describe(), HasSubstr("registrations were refused"));
  device::free_shared(region);
  path.reset();
  b->paths.clear();
  a.reset();
  b.reset();
  may_lock_memory(true);
}

}  // namespace
}  // namespace tutti::transport::rdma
