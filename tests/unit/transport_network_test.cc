// SPDX-License-Identifier: Apache-2.0
// What networks share: the ledger of frames, greetings, rails, and settings that differ.
#include <array>
#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/device/device.h"
#include "tests/unit/transport_world.h"
#include "transport/network/greeting.h"
#include "transport/network/ledger.h"
#include "transport/network/rail_load.h"
#include "transport/tcp/rails.h"
#include "transport/tcp/seal.h"
#include "transport/tcp/tcp.h"

namespace tutti::transport::testing {
namespace {

using network::holds;
using network::Inbox;
using network::Outbox;
using network::prove;
using ::testing::HasSubstr;

// Ledger

TEST(Inbox, AnyOrder_EachCountsOnce) {
  std::mt19937 rng(7);
  Inbox inbox;
  std::vector<uint64_t> sequences;
  for (uint64_t s = 1; s <= 5000; ++s) sequences.push_back(s);
  // Shuffled within blocks that the window holds.
  for (size_t at = 0; at < sequences.size(); at += network::kWindow / 2) {
    const auto begin = sequences.begin() + static_cast<ptrdiff_t>(at);
    std::shuffle(begin, begin + std::min<ptrdiff_t>(network::kWindow / 2, sequences.end() - begin),
                 rng);
  }
  for (const uint64_t s : sequences) {
    ASSERT_TRUE(inbox.is_new(s)) << s;
    inbox.mark(s);
    ASSERT_FALSE(inbox.is_new(s)) << s;
  }
  EXPECT_EQ(inbox.cumulative(), 5000U);
  EXPECT_EQ(inbox.bits(), 0U);
  EXPECT_FALSE(inbox.is_new(5000 + network::kWindow + 1)) << "further than any sender may be";
}

TEST(Inbox, Gap_BitsNameWhatIsThere) {
  Inbox inbox;
  for (const uint64_t s : {1, 2, 4, 6, 67}) inbox.mark(s);
  EXPECT_EQ(inbox.cumulative(), 2U);
  EXPECT_EQ(inbox.bits(), uint64_t{1} << 0 | uint64_t{1} << 2 | uint64_t{1} << 63);
}

TEST(Outbox, Acknowledged_OutOfOrder_RetiresInOrder) {
  Outbox outbox;
  for (int i = 0; i < 100; ++i) outbox.push({});
  EXPECT_EQ(outbox.next(), 101U);
  outbox.acknowledge(10, 0b101);  // 12 and 14 too
  EXPECT_EQ(outbox.first(), 11U);
  std::vector<uint64_t> open;
  outbox.for_each([&](network::Sent& s) { open.push_back(s.frame.header.sequence); });
  EXPECT_EQ(open.size(), 88U);
  EXPECT_EQ(std::ranges::count(open, 12U) + std::ranges::count(open, 14U), 0);
  outbox.acknowledge(1000, 0);  // never sent
  EXPECT_EQ(outbox.first(), 11U);
  std::byte place{};
  outbox.find(11)->reader = reinterpret_cast<network::SessionPath*>(&place);
  outbox.acknowledge(100, 0);
  EXPECT_EQ(outbox.first(), 11U) << "a payload that is still read is kept";
  outbox.read(11);
  EXPECT_TRUE(outbox.all_acknowledged());
}

TEST(Outbox, AcknowledgedWhileRead_IsVisitedUntilThatEnds) {
  Outbox outbox;
  for (int i = 0; i < 3; ++i) outbox.push({});
  std::byte place{};
  outbox.find(2)->reader = reinterpret_cast<network::SessionPath*>(&place);
  outbox.acknowledge(2, 0);
  std::vector<uint64_t> kept;
  outbox.for_each([&](network::Sent& s) { kept.push_back(s.frame.header.sequence); });
  EXPECT_EQ(kept, (std::vector<uint64_t>{2, 3}));
  outbox.for_each([](network::Sent& s) { s.reader = nullptr; });  // as when its path breaks
  EXPECT_EQ(outbox.first(), 3U);
}

TEST(Outbox, ArrivalsOfThePeer_WithGapsAnywhere_LeaveWhatIsMissing) {
  std::mt19937 rng(11);
  for (int round = 0; round < 50; ++round) {
    Outbox outbox;
    Inbox inbox;
    std::vector<uint64_t> missing;
    const uint64_t before = rng() % 3000;  // so that the bits begin anywhere
    for (uint64_t s = 1; s <= before; ++s) {
      outbox.push({});
      inbox.mark(s);
      outbox.acknowledge(s, 0);
    }
    for (uint64_t s = before + 1; s <= before + network::kWindow; ++s) {
      outbox.push({});
      if (rng() % 4 != 0) {
        inbox.mark(s);
      } else {
        missing.push_back(s);
      }
    }
    outbox.acknowledge(inbox.arrivals());
    std::vector<uint64_t> open;
    outbox.for_each([&](network::Sent& s) { open.push_back(s.frame.header.sequence); });
    EXPECT_EQ(open, missing) << round;
  }
}

TEST(Outbox, Full_KeepsRoomForTheSessionItself) {
  Outbox outbox;
  while (outbox.has_room(false)) outbox.push({});
  EXPECT_TRUE(outbox.has_room(true));
  while (outbox.has_room(true)) outbox.push({});
  EXPECT_EQ(outbox.next() - outbox.first(), network::kWindow);
}

// Shares of rails

TEST(RailLoad, AlwaysLoaded_LearnsTheSpeed) {
  network::RailLoad rail;
  uint64_t handed = 4 << 20;
  for (int64_t us = 1; us < 200'000; us += 500) {
    const auto delivered = static_cast<uint64_t>(us * 12);  // 12 MB/s
    handed = delivered + (1 << 20);
    rail.observe(us * kNsPerUs, handed, handed - delivered);
  }
  EXPECT_NEAR(rail.bytes_per_ns(), 0.012, 0.001);
}

// Frames of 32 KiB two at a time, 12 MB/s, and 4 ms until the first is acknowledged.
TEST(RailLoad, LittleAtATime_TheWayThereIsNotCounted) {
  network::RailLoad rail;
  constexpr uint64_t kFrame = 32 << 10;
  constexpr int64_t kFrameUs = kFrame / 12;
  constexpr int64_t kWayUs = 4000;
  for (int round = 0; round < 60; ++round) {
    const int64_t began_us = round * (kWayUs + 2 * kFrameUs) + 1;
    const uint64_t before = 2 * kFrame * static_cast<uint64_t>(round);
    for (int64_t us = 0; us < kWayUs + 2 * kFrameUs; us += 250) {
      const auto frames = static_cast<uint64_t>(std::max<int64_t>(0, us - kWayUs) / kFrameUs);
      rail.observe((began_us + us) * kNsPerUs, before + 2 * kFrame, (2 - frames) * kFrame);
    }
  }
  EXPECT_EQ(rail.bytes_per_ns(), 0) << "one delivery after another under load is needed";
  for (int64_t us = 1'000'000; us < 1'200'000; us += 250) {
    const auto frames = static_cast<uint64_t>(us / kFrameUs);
    rail.observe(us * kNsPerUs, (frames + 3) * kFrame, 3 * kFrame);
  }
  EXPECT_NEAR(rail.bytes_per_ns(), 0.012, 0.001);
}

TEST(RailLoad, SmallFrameAcknowledgedLate_SaysNothingOfTheSpeed) {
  network::RailLoad rail;
  for (int64_t us = 1; us < 40'000; us += 500) rail.observe(us * kNsPerUs, 48, 48);
  EXPECT_EQ(rail.bytes_per_ns(), 0);
}

TEST(RailLoad, NothingDelivered_OtherRailIsSooner_IdleIsTrustedAgain) {
  network::RailLoad dead, alive;
  for (int64_t us = 1; us < 200'000; us += 500) {
    dead.observe(us * kNsPerUs, 1 << 20, 1 << 20);
    alive.observe(us * kNsPerUs, static_cast<uint64_t>(us * 12) + (1 << 20), 1 << 20);
  }
  EXPECT_GT(dead.finish_ns(1000, 1), 50 * alive.finish_ns(1000, 1));
  const double before = dead.bytes_per_ns();
  dead.restart();
  dead.observe(kNsPerSecond, 0, 0);
  dead.trust(3 * kNsPerSecond, 1);
  EXPECT_GT(dead.bytes_per_ns(), before);
}

// Greeting and sealing

TEST(Greeting, OtherSecretHelloOrStep_ProofDiffers) {
  network::Key secret{}, other{};
  other[3] = std::byte{1};
  const network::Nonce nonce = network::fresh_nonce();
  network::Hello hello{.from = 1, .to = 2, .comm_id = 9, .nonce = network::fresh_nonce()};
  const auto proof = prove(secret, network::Step::kWelcome, hello, nonce);
  EXPECT_TRUE(holds(proof, prove(secret, network::Step::kWelcome, hello, nonce)));
  EXPECT_FALSE(holds(proof, prove(other, network::Step::kWelcome, hello, nonce)));
  EXPECT_FALSE(holds(proof, prove(secret, network::Step::kConfirm, hello, nonce)));
  hello.from = 3;
  EXPECT_FALSE(holds(proof, prove(secret, network::Step::kWelcome, hello, nonce)));
}

TEST(Seal, AnyBitChanged_IsNotOpened) {
  std::array<std::byte, 32> key{};
  std::array<std::byte, 100> plain{};
  fill_pattern(plain.data(), plain.size(), 5);
  std::array<std::byte, 100 + tcp::kTagBytes> sealed{};
  for (size_t bit = 0; bit < sealed.size() * 8; bit += 37) {
    tcp::Seal sender(key), receiver(key);
    sender.close(plain.data(), plain.size(), sealed.data());
    std::array<std::byte, 100> opened{};
    auto damaged = sealed;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(receiver.open(damaged.data(), plain.size(), opened.data())) << bit;
    tcp::Seal fresh(key);
    EXPECT_TRUE(fresh.open(sealed.data(), plain.size(), opened.data()));
    EXPECT_EQ(opened, plain);
    EXPECT_FALSE(fresh.open(sealed.data(), plain.size(), opened.data())) << "played again";
  }
}

// Rails

tcp::Rail rail(const char* interface, const char* address, int prefix_bits) {
  return {interface, SocketAddress::parse(address), prefix_bits};
}

TEST(Rails, SharedNetworks_PairedWithEachOther) {
  const tcp::RankAddress mine{1, 5, {rail("a0", "10.0.0.1:5", 24), rail("a1", "10.1.0.1:5", 24)}};
  // In another order, under other names, and with one that we don't have.
  const tcp::RankAddress theirs{
      2,
      6,
      {rail("b0", "10.1.0.2:6", 24), rail("b1", "10.0.0.2:6", 24), rail("b2", "10.7.0.2:6", 24)}};
  const auto pairs = tcp::pair_rails(mine, theirs);
  ASSERT_EQ(pairs.size(), 2U);
  EXPECT_EQ(pairs[0].to.to_string(), "10.0.0.2:6");
  EXPECT_EQ(pairs[1].to.to_string(), "10.1.0.2:6");
  EXPECT_EQ(pairs[1].rail, 1);
}

TEST(Rails, NoSharedNetwork_RoutedPairs_NoFamily_None) {
  const tcp::RankAddress mine{1, 5, {rail("a", "10.0.0.1:5", 24)}};
  const tcp::RankAddress routed{2, 6, {rail("b", "192.168.0.2:6", 16)}};
  ASSERT_EQ(tcp::pair_rails(mine, routed).size(), 1U);
  const tcp::RankAddress v6{2, 6, {rail("b", "[2001:db8::1]:6", 64)}};
  EXPECT_TRUE(tcp::pair_rails(mine, v6).empty());
  const tcp::RankAddress same_host{1, 6, {rail("b", "10.0.0.1:6", 24)}};
  ASSERT_EQ(tcp::pair_rails(mine, same_host).size(), 1U);
  EXPECT_TRUE(is_loopback(tcp::pair_rails(mine, same_host)[0].to));
}

TEST(Rails, Address_RoundTrips_MalformedIsRejected) {
  const tcp::RankAddress mine{
      77, 5, {rail("eth0", "10.0.0.1:5", 24), rail("ib0", "[fd00::1]:5", 64)}};
  const auto bytes = encode(mine);
  const tcp::RankAddress same = tcp::decode(bytes);
  EXPECT_EQ(same.host_id, 77U);
  ASSERT_EQ(same.rails.size(), 2U);
  EXPECT_EQ(same.rails[1].address.to_string(), "[fd00::1]:5");
  EXPECT_EQ(same.rails[1].interface, "ib0");
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_THROW(tcp::decode(std::span(bytes).first(n)), Error) << n;
  auto bad = bytes;
  bad[16] = std::byte{9};  // no such family
  EXPECT_THROW(tcp::decode(bad), Error);
}

// Settings

constexpr FifoLayout kLayout{.n_lines = 16, .n_areas = 4, .area_bytes = 16 << 10};

// Ranks whose transports differ in a setting: what rank 0 is told when it dials.
std::string failure_with(const LocalConfig& config0, const LocalConfig& config1,
                         std::array<std::byte, 32> secret1) {
  std::array<MemoryBudget, 2> budgets;
  std::array<SharedBell, 2> bells{SharedBell::allocate(), SharedBell::allocate()};
  const auto make = [&](int rank, const LocalConfig& config, std::array<std::byte, 32> secret) {
    const auto r = static_cast<size_t>(rank);
    auto made = create_tcp({.comm_id = 7,
                            .rank = rank,
                            .budget = &budgets[r],
                            .bell = &bells[r],
                            .n_ranks = 2,
                            .secret = secret,
                            .config = &config});
    made->start();
    return made;
  };
  auto zero = make(0, config0, {});
  auto one = make(1, config1, secret1);
  const Peer peer{.rank = 1, .process = this_process(), .address = one->address()};
  auto connection = zero->connect({7, 0, 1, 0}, peer, kLayout);
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  Status status;
  bool ready = false;
  while (status.ok() && !ready && !deadline.expired()) {
    status = connection->ready(&ready);
    sleep_ns(kNsPerMs);
  }
  return ready ? "ready" : status.ok() ? "nothing" : status.reason;
}

TEST(Settings, Alike_Ready_Encrypted_Ready) {
  LocalConfig plain, sealed;
  sealed.encrypt = true;
  EXPECT_EQ(failure_with(plain, plain, {}), "ready");
  EXPECT_EQ(failure_with(sealed, sealed, {}), "ready");
}

TEST(Settings, EncryptOnOneRank_NamesTheVariable) {
  LocalConfig plain, sealed;
  sealed.encrypt = true;
  EXPECT_THAT(failure_with(plain, sealed, {}), HasSubstr("TUTTI_ENCRYPT"));
}

TEST(Settings, OtherSecret_NeverReady_SaysSoInTime) {
  LocalConfig plain;
  plain.net_timeout_ns = kNsPerSecond;
  std::array<std::byte, 32> other{};
  other[0] = std::byte{1};
  EXPECT_THAT(failure_with(plain, plain, other),
              HasSubstr("does not know this communicator's secret"));
}

}  // namespace
}  // namespace tutti::transport::testing
