// SPDX-License-Identifier: Apache-2.0
// The unique id's bytes and the proofs.
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/wire.h"

namespace tutti::bootstrap {
namespace {

UniqueIdFields example(const std::string& address) {
  UniqueIdFields fields{.address = SocketAddress::parse(address)};
  fill_random(fields.key);
  return fields;
}

TEST(UniqueId_EachAddressFamily, RoundTrips) {
  const std::string addresses[] = {"1.2.3.4:567", "[fd00::2]:65535", "@tutti-name",
                                   "@" + std::string(63, 'n')};
  for (const std::string& address : addresses) {
    const UniqueIdFields fields = example(address);
    const UniqueIdFields got = unpack(pack(fields));
    EXPECT_EQ(got.address.to_string(), address);
    EXPECT_EQ(got.key, fields.key);
  }
}

TEST(UniqueId_AnyByteChanged, IsRejected) {
  const UniqueId id = pack(example("1.2.3.4:567"));
  constexpr size_t kUsedBytes = 127;  // the last byte is fill
  for (size_t i = 0; i < kUsedBytes; ++i) {
    UniqueId damaged = id;
    damaged.bytes[i] ^= std::byte{0x10};
    EXPECT_THROW(unpack(damaged), Error) << "byte " << i;
  }
}

TEST(UniqueId_AllZero, NamesTheRemedy) {
  try {
    unpack(UniqueId{});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("not a Tutti unique id"), std::string::npos)
        << error.what();
  }
}

struct ProofCase {
  const char* changed;
  void (*change)(Key&, Transcript&, Side&, Bytes&);
};
class Proof : public testing::TestWithParam<ProofCase> {};

TEST_P(Proof, Changed_IsRejected) {
  Key key{};
  Transcript transcript{.role = Role::kRegister};
  Side side = Side::kVisitor;
  Bytes body(40, std::byte{3});
  fill_random(key);
  fill_random(transcript.host);
  fill_random(transcript.visitor);
  const Mac mac = prove(key, transcript, side, body);
  ASSERT_TRUE(verify(key, transcript, side, body, mac));
  GetParam().change(key, transcript, side, body);
  EXPECT_FALSE(verify(key, transcript, side, body, mac));
}

INSTANTIATE_TEST_SUITE_P(
    Each, Proof,
    testing::Values(
        ProofCase{"Key", [](Key& k, Transcript&, Side&, Bytes&) { k[31] ^= std::byte{1}; }},
        ProofCase{"Role", [](Key&, Transcript& t, Side&, Bytes&) { t.role = Role::kAttach; }},
        ProofCase{"Side", [](Key&, Transcript&, Side& s, Bytes&) { s = Side::kHost; }},
        ProofCase{"HostNonce",
                  [](Key&, Transcript& t, Side&, Bytes&) { t.host[0] ^= std::byte{1}; }},
        ProofCase{"VisitorNonce",
                  [](Key&, Transcript& t, Side&, Bytes&) { t.visitor[0] ^= std::byte{1}; }},
        ProofCase{"Body", [](Key&, Transcript&, Side&, Bytes& b) { b[39] ^= std::byte{1}; }}),
    [](const auto& info) { return info.param.changed; });

TEST(Proof_ShortMac, IsRejected) {
  const Key key{};
  const Transcript transcript;
  const Mac mac = prove(key, transcript, Side::kHost, {});
  EXPECT_FALSE(verify(key, transcript, Side::kHost, {}, std::span(mac).first(31)));
}

TEST(Registration_AllFields, RoundTrip) {
  Registration sent{.n_ranks = 9,
                    .wait_ns = INT64_MAX,
                    .peer = {.rank = 8, .pid = 77, .host = std::string(80, 'h')}};
  sent.identity = this_process();
  sent.address = SocketAddress::parse("@listener");
  const Bytes bytes = encode(sent);
  EXPECT_EQ(bytes.size(), wire_bytes<Registration>());
  const auto got = decode_as<Registration>(bytes);
  EXPECT_EQ(got.n_ranks, 9);
  EXPECT_EQ(got.wait_ns, INT64_MAX);
  EXPECT_EQ(got.peer.name(), "rank 8 (host " + std::string(63, 'h') + ", pid 77)");
  EXPECT_EQ(got.identity, sent.identity);
  EXPECT_EQ(got.address.to_string(), "@listener");
}

TEST(WireBytes_EachMessage, IsAsDocumented) {
  EXPECT_EQ(encode(SocketAddress{}).size(), 79U);
  EXPECT_EQ(wire_bytes<Registration>(), 199U);
  EXPECT_EQ(wire_bytes<Assignment>(), 167U);
  EXPECT_EQ(wire_bytes<Attachment>(), 84U);
  EXPECT_EQ(wire_bytes<Lookup>(), 12U);
  EXPECT_EQ(wire_bytes<Listing>(), 38U);
  EXPECT_EQ(wire_bytes<Failure>(), 1028U);
  EXPECT_EQ(wire_bytes<FrameHeader>(), 16U);
}

TEST(Table_NotOneEntryPerRank, IsRefused) {
  const auto table = [](std::initializer_list<int> ranks) {
    Encoder out;
    for (const int rank : ranks) append_entry(out, rank, {});
    return out.take();
  };
  EXPECT_EQ(parse_table(table({1, 0}), 2).size(), 2U);
  for (const auto& ranks : {std::initializer_list<int>{0}, {0, 0}, {0, 2}, {0, 1, 0}, {0, 1, 1}})
    EXPECT_THROW(parse_table(table(ranks), 2), Error);
  Bytes cut = table({0, 1});
  cut.pop_back();
  EXPECT_THROW(parse_table(cut, 2), Error);
}

TEST(Decoder_PastTheEnd, YieldsZerosAndIsNotOk) {
  const Bytes bytes(3);
  Decoder in(bytes);
  uint32_t value = 5;
  in.integer(value);
  EXPECT_EQ(value, 0U);
  EXPECT_FALSE(in.ok());
  EXPECT_TRUE(in.next(1).empty());
}

}  // namespace
}  // namespace tutti::bootstrap
