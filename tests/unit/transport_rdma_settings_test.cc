// The rdma transport's decisions that need no device: devices, GIDs, rails, addresses, proofs.
#include <algorithm>
#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "transport/rdma/address.h"
#include "transport/rdma/rdma.h"
#include "transport/rdma/settings.h"

namespace tutti::transport::rdma {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Gid ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  Gid gid{};
  gid[10] = gid[11] = std::byte{0xff};
  gid[12] = std::byte{a}, gid[13] = std::byte{b}, gid[14] = std::byte{c}, gid[15] = std::byte{d};
  return gid;
}

Gid ipv6(uint8_t first, uint8_t second, uint8_t last) {
  Gid gid{};
  gid[0] = std::byte{first}, gid[1] = std::byte{second}, gid[15] = std::byte{last};
  return gid;
}

TEST(RdmaDevices, List_Matches_ByPrefixAndPort) {
  const DeviceFilter all("");
  EXPECT_TRUE(all.wants("mlx5_0", 1));
  const DeviceFilter some("mlx5_0:2,rxe");
  EXPECT_FALSE(some.wants("mlx5_0", 1));
  EXPECT_TRUE(some.wants("mlx5_0", 2));
  EXPECT_TRUE(some.wants("rxe7", 1));
  EXPECT_FALSE(some.wants("siw0", 1));
  const DeviceFilter others("^mlx5_1,siw");
  EXPECT_TRUE(others.wants("mlx5_0", 1));
  EXPECT_FALSE(others.wants("mlx5_1", 1));
  EXPECT_FALSE(others.wants("mlx5_10", 1));
  const DeviceFilter whole("=mlx5_1:1,siw");
  EXPECT_TRUE(whole.wants("mlx5_1", 1));
  EXPECT_FALSE(whole.wants("mlx5_1", 2));
  EXPECT_FALSE(whole.wants("mlx5_10", 1));
  EXPECT_TRUE(whole.wants("siw0", 1));
}

TEST(RdmaDevices, MalformedList_IsNamed) {
  for (const char* const text :
       {"^", "=", "=:1", ":1", "a,,b", "mlx5_0:", "mlx5_0:0", "mlx5_0:x", "a:256"}) {
    try {
      const DeviceFilter filter(text);
      ADD_FAILURE() << "accepted '" << text << "'";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(std::string("TUTTI_RDMA_DEVICES='") + text + "'"));
    }
  }
}

TEST(RdmaGid, Ethernet_PrefersRoceV2OverIpv4ThenGlobalIpv6) {
  const std::vector<GidEntry> table = {{0, ipv6(0xfe, 0x80, 1), GidType::kRoceV1},
                                       {1, ipv6(0xfe, 0x80, 1), GidType::kRoceV2},
                                       {2, ipv4(10, 0, 0, 1), GidType::kRoceV1},
                                       {3, ipv6(0x20, 0x01, 1), GidType::kRoceV2},
                                       {5, ipv4(10, 0, 0, 1), GidType::kRoceV2}};
  const std::span<const GidEntry> all(table);
  std::string why;
  EXPECT_EQ(choose_gid(all, true, -1, &why)->index, 5);
  EXPECT_EQ(choose_gid(all.first(4), true, -1, &why)->index, 3);
  EXPECT_EQ(choose_gid(all.first(2), true, -1, &why)->index, 1);
  EXPECT_EQ(choose_gid(all.first(1), true, -1, &why), nullptr);
  EXPECT_THAT(why, HasSubstr("no RoCE v2 GID"));
  EXPECT_THAT(why, HasSubstr("0: fe80:0000:0000:0000:0000:0000:0000:0001 (RoCE v1)"));
  EXPECT_EQ(choose_gid(all, true, 2, &why)->index, 2);
  EXPECT_EQ(choose_gid(all, true, 4, &why), nullptr);
  EXPECT_THAT(why, HasSubstr("TUTTI_RDMA_GID_INDEX=4 is not in"));
  EXPECT_EQ(choose_gid(all, false, -1, &why)->index, 0);
  EXPECT_EQ(choose_gid({}, false, -1, &why), nullptr);
  EXPECT_THAT(why, HasSubstr("subnet manager"));
}

TEST(RdmaRate, WidthTimesSpeed) {
  EXPECT_DOUBLE_EQ(gbits_per_second(2, 64), 200);   // 4x HDR
  EXPECT_DOUBLE_EQ(gbits_per_second(2, 128), 400);  // 4x NDR
  EXPECT_DOUBLE_EQ(gbits_per_second(1, 1), 2);
  EXPECT_DOUBLE_EQ(gbits_per_second(3, 64), 0);
}

RailAddress rail(const char* device, Gid gid, Fabric fabric = Fabric::kRoce) {
  return {.device = device, .port = 1, .fabric = fabric, .gid = gid};
}

TEST(RdmaRails, Pairs_BySubnetThenNameThenPlace) {
  const std::vector<RailAddress> a = {rail("m0", ipv4(10, 1, 0, 1)), rail("m1", ipv4(10, 2, 0, 1))};
  const std::vector<RailAddress> b = {rail("x0", ipv4(10, 2, 0, 2)), rail("x1", ipv4(10, 1, 0, 2)),
                                      rail("x2", ipv4(172, 16, 0, 2))};
  EXPECT_THAT(pair_rails(a, b), ElementsAre(RailPair{0, 1}, RailPair{1, 0}));
  EXPECT_EQ(pair_rails(b, a).size(), 2u);
  const Gid same = ipv6(0xfe, 0x80, 0);
  const std::vector<RailAddress> c = {rail("m0", same), rail("m1", same)};
  const std::vector<RailAddress> d = {rail("m1", same), rail("m0", same)};
  EXPECT_THAT(pair_rails(c, d), ElementsAre(RailPair{0, 1}, RailPair{1, 0}));
  const std::vector<RailAddress> e = {rail("p", same), rail("q", same)};
  EXPECT_THAT(pair_rails(c, e), ElementsAre(RailPair{0, 0}, RailPair{1, 1}));
}

TEST(RdmaRails, OtherFabrics_AreNotPaired) {
  const std::vector<RailAddress> roce = {rail("m0", ipv4(10, 1, 0, 1))};
  const std::vector<RailAddress> iwarp = {rail("s0", ipv4(10, 1, 0, 2), Fabric::kIwarp)};
  EXPECT_TRUE(pair_rails(roce, iwarp).empty());
  const std::vector<RailAddress> v6 = {rail("m0", ipv6(0x20, 1, 2))};
  EXPECT_TRUE(pair_rails(roce, v6).empty());
  const std::vector<RailAddress> ib1 = {rail("i", ipv6(0xfe, 0x80, 1), Fabric::kInfiniBand)};
  const std::vector<RailAddress> ib2 = {rail("i", ipv6(0xfe, 0x81, 2), Fabric::kInfiniBand)};
  EXPECT_FALSE(pair_rails(ib1, ib1).empty());
  EXPECT_TRUE(pair_rails(ib1, ib2).empty());
}

CarrierAddress some_address() {
  CarrierAddress address{.queue_pairs = 3};
  address.listeners = {SocketAddress::parse("10.0.0.1:1234"), SocketAddress::parse("[2001::1]:77")};
  address.rails = {rail("mlx5_0", ipv4(10, 1, 0, 1)),
                   rail("siw0", ipv4(10, 2, 0, 1), Fabric::kIwarp)};
  address.rails[0].lid = 12;
  address.rails[0].megabits = 200000;
  address.rails[1].cm_port = 4711;
  return address;
}

TEST(RdmaAddress, RoundTrip) {
  const CarrierAddress address = some_address();
  CarrierAddress back;
  std::string why;
  ASSERT_TRUE(decode(encode(address), &back, &why)) << why;
  EXPECT_EQ(back.queue_pairs, 3);
  ASSERT_EQ(back.listeners.size(), 2u);
  EXPECT_EQ(back.listeners[0].to_string(), "10.0.0.1:1234");
  EXPECT_EQ(back.listeners[1].to_string(), "[2001::1]:77");
  ASSERT_EQ(back.rails.size(), 2u);
  EXPECT_EQ(back.rails[0].device, "mlx5_0");
  EXPECT_EQ(back.rails[0].gid, address.rails[0].gid);
  EXPECT_EQ(back.rails[0].lid, 12);
  EXPECT_EQ(back.rails[0].megabits, 200000u);
  EXPECT_EQ(back.rails[1].fabric, Fabric::kIwarp);
  EXPECT_EQ(back.rails[1].cm_port, 4711);
  EXPECT_EQ(encode(back), encode(address));
}

TEST(RdmaAddress, Malformed_IsRefusedWithAReason) {
  const std::vector<std::byte> good = encode(some_address());
  CarrierAddress back;
  for (size_t bytes = 0; bytes < good.size(); ++bytes) {
    std::string why;
    EXPECT_FALSE(decode(std::span(good).first(bytes), &back, &why)) << bytes;
    EXPECT_FALSE(why.empty());
  }
  std::vector<std::byte> longer = good;
  longer.push_back({});
  std::string why;
  EXPECT_FALSE(decode(longer, &back, &why));
  // Whatever is accepted is what encode() would have written.
  std::mt19937 random(7);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> bytes = good;
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (decode(bytes, &back, &why)) {
      EXPECT_EQ(encode(back).size(), bytes.size());
    } else {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

TEST(RdmaAddress, Nearest_ComesFirst) {
  const std::vector<SocketAddress> theirs = {SocketAddress::parse("192.168.0.1:1"),
                                             SocketAddress::parse("[2001::1]:1"),
                                             SocketAddress::parse("10.1.2.3:1")};
  const std::vector<SocketAddress> ours = {SocketAddress::parse("10.1.9.9:5")};
  const auto sorted = by_nearness(theirs, ours);
  EXPECT_EQ(sorted[0].to_string(), "10.1.2.3:1");
  EXPECT_EQ(sorted[1].to_string(), "192.168.0.1:1");
}

TEST(RdmaProof, AnythingChanged_DoesNotProve) {
  Secret secret{};
  secret[3] = std::byte{9};
  const Nonce host = random_nonce(), visitor = random_nonce();
  QueuePairFacts facts;
  facts.queue_pair = 77;
  const Mac mac = prove(secret, Speaker::kVisitor, host, visitor, facts);
  EXPECT_TRUE(proves(mac, secret, Speaker::kVisitor, host, visitor, facts));
  EXPECT_FALSE(proves(mac, secret, Speaker::kHost, host, visitor, facts));
  EXPECT_FALSE(proves(mac, secret, Speaker::kVisitor, visitor, host, facts));
  EXPECT_FALSE(proves(mac, Secret{}, Speaker::kVisitor, host, visitor, facts));
  facts.queue_pair = 78;
  EXPECT_FALSE(proves(mac, secret, Speaker::kVisitor, host, visitor, facts));
}

TEST(RdmaProof, ImplausibleFacts_AreNamed) {
  QueuePairFacts facts;
  facts.mtu = 5;
  facts.receives = 64;
  facts.receive_bytes = 4096;
  std::string why;
  EXPECT_TRUE(plausible(facts, &why)) << why;
  for (const auto& spoil : std::initializer_list<void (*)(QueuePairFacts&)>{
           [](QueuePairFacts& f) { f.mtu = 6; }, [](QueuePairFacts& f) { f.mtu = 0; },
           [](QueuePairFacts& f) { f.receives = 1; },
           [](QueuePairFacts& f) { f.receive_bytes = 64; },
           [](QueuePairFacts& f) { f.receive_bytes = 2 << 20; },
           [](QueuePairFacts& f) { f.own_rail = 12; }, [](QueuePairFacts& f) { f.peer_rail = 99; },
           [](QueuePairFacts& f) { std::memset(f.reason, 'x', sizeof f.reason); }}) {
    QueuePairFacts bad = facts;
    spoil(bad);
    why.clear();
    EXPECT_FALSE(plausible(bad, &why));
    EXPECT_FALSE(why.empty());
  }
  facts.refused = 1;
  std::strcpy(facts.reason, "its port is DOWN");
  EXPECT_FALSE(plausible(facts, &why));
  EXPECT_EQ(why, "its port is DOWN");
}

}  // namespace
}  // namespace tutti::transport::rdma
