// SPDX-License-Identifier: Apache-2.0
// Addresses, streams, packets with descriptors, and deadlines of sockets.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "src/base/liveness.h"
#include "src/base/socket.h"
#include "src/base/wait.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kTestNs = 20 * kNsPerSecond;

Deadline soon() { return Deadline::after_ns(kTestNs); }
Deadline almost_now() { return Deadline::after_ns(20 * kNsPerMs); }

std::vector<std::byte> pattern(size_t bytes) {
  std::vector<std::byte> result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>(i * 7 + i / 251);
  return result;
}

SocketAddress fresh_name() {
  static int count = 0;
  return SocketAddress::parse("@tutti-test-" + std::to_string(this_process().process_uid) + "-" +
                              std::to_string(count++));
}

struct Pair {
  Socket near, far;
};
Pair connected(const SocketAddress& at, SocketKind kind) {
  Listener listener = Listener::bind(at, kind);
  Pair pair;
  pair.near = Socket::connect(listener.address(), kind, soon());
  auto far = listener.accept(soon());
  EXPECT_TRUE(far.has_value());
  pair.far = std::move(*far);
  return pair;
}
Pair packets() { return connected(fresh_name(), SocketKind::kSequencedPacket); }

std::optional<Received> receive_packet(Socket& socket, std::span<std::byte> into) {
  const Deadline deadline = soon();
  while (!deadline.expired()) {
    if (auto received = socket.try_receive_packet(into)) return received;
    sleep_ns(kNsPerMs / 10);
  }
  return std::nullopt;
}

TEST(SocketAddress, EveryForm_SurvivesARoundTrip) {
  for (const char* text : {"1.2.3.4:567", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:567",
                           "[fe80::1%7]:1", "[2001:db8::42]:65535", "@name", "@a/b c"}) {
    EXPECT_EQ(SocketAddress::parse(text).to_string(), text);
  }
  EXPECT_EQ(SocketAddress::parse("@" + std::string(63, 'x')).to_string().size(), 64u);
}

TEST(SocketAddress, Malformed_ThrowsInvalidArgumentWithTheText) {
  for (const std::string& text :
       {std::string(""), std::string("1.2.3.4"), std::string("1.2.3:4"), std::string("1.2.3.4:"),
        std::string("1.2.3.4:65536"), std::string("1.2.3.4:5x"), std::string("[::1]"),
        std::string("[::1]:x"), std::string("[::1"), std::string("[:::1]:5"),
        std::string("[fe80::1%no-such-if]:5"), std::string("host:5"), std::string("@"),
        "@" + std::string(64, 'x')}) {
    const auto error = error_of([&] { SocketAddress::parse(text); });
    ASSERT_TRUE(error.has_value()) << text;
    EXPECT_EQ(error->code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(error->what(), HasSubstr("'" + text + "'"));
  }
}

TEST(LocalAddresses, AnyInterface_PutsLoopbackLast) {
  const auto addresses = local_addresses("");
  ASSERT_FALSE(addresses.empty());
  bool loopback_seen = false;
  for (const SocketAddress& address : addresses) {
    const bool loopback =
        address.to_string().starts_with("127.") || address.to_string() == "[::1]:0";
    EXPECT_TRUE(loopback || !loopback_seen) << address.to_string();
    loopback_seen = loopback_seen || loopback;
  }
}

TEST(InterfaceChosen, ListsNamesAndExclusions_AreToldApart) {
  struct Case {
    const char* choice;
    const char* name;
    bool chosen;
  };
  constexpr Case kCases[] = {
      {"", "eth0", true},           {"eth", "eth0", true},      {"eth", "ib0", false},
      {"eth,ib", "ib0", true},      {"eth1", "eth10", true},    {"=eth1", "eth10", false},
      {"=eth1", "eth1", true},      {"ib,=eth1", "eth1", true}, {"^docker,lo", "lo", false},
      {"^docker,lo", "eth0", true}, {"^=eth1", "eth10", true},  {"^=eth1", "eth1", false},
      {"^", "eth0", true},          {",", "eth0", false},       {"eth,", "ib0", false},
  };
  for (const Case& c : kCases)
    EXPECT_EQ(interface_chosen(c.choice, c.name), c.chosen) << c.choice << " " << c.name;
}

TEST(LocalAddresses, PrefixOfNone_ThrowsNamingThePrefix) {
  const auto error = error_of([] { local_addresses("nosuchinterface"); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kSystemError);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("nosuchinterface"), HasSubstr("TUTTI_SOCKET_IFNAME")));
}

TEST(Resolve, NumericAndLocalNames_GiveAddressAndPort) {
  EXPECT_EQ(resolve("127.0.0.9", 17).to_string(), "127.0.0.9:17");
  EXPECT_EQ(resolve("::1", 17).to_string(), "[::1]:17");
  const SocketAddress local = resolve("localhost", 5);
  EXPECT_TRUE(is_loopback(local)) << local.to_string();
  EXPECT_EQ(local.port, 5);
}

TEST(Resolve, NoSuchHost_ThrowsInvalidArgumentNamingIt) {
  const auto error = error_of([] { resolve("no such host", 1); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(error->what(), HasSubstr("'no such host' can't be resolved"));
}

TEST(LocalAddress, OfAConnection_IsWhatThePeerSees) {
  Listener listener = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
  const Socket socket = Socket::connect(listener.address(), SocketKind::kStream, soon());
  const auto far = listener.accept(soon());
  ASSERT_TRUE(far.has_value());
  EXPECT_EQ(far->local_address().to_string(), listener.address().to_string());
  EXPECT_TRUE(is_loopback(socket.local_address()));
  EXPECT_NE(socket.local_address().port, 0);
  EXPECT_EQ(error_of([] { (void)Socket().local_address(); })->code(), StatusCode::kSystemError);
}

class Stream : public testing::TestWithParam<const char*> {
 protected:
  static SocketAddress address() {
    return std::string(GetParam()) == "@" ? fresh_name() : SocketAddress::parse(GetParam());
  }
};

TEST_P(Stream, LargeMessageBothWays_ArrivesWhole) {
  Pair pair = connected(address(), SocketKind::kStream);
  const std::vector<std::byte> sent = pattern(3 << 20);  // more than the kernel buffers
  std::thread echo([&] {
    const auto message = pair.far.receive_message(sent.size(), soon());
    pair.far.send_message(message, soon());
    pair.far.send_message({}, soon());
  });
  pair.near.send_message(sent, soon());
  EXPECT_EQ(pair.near.receive_message(sent.size(), soon()), sent);
  EXPECT_TRUE(pair.near.receive_message(0, soon()).empty());
  echo.join();
}

TEST_P(Stream, NothingComes_ThrowsRemoteErrorAtTheDeadline) {
  Pair pair = connected(address(), SocketKind::kStream);
  std::byte bytes[8];
  pair.far.send_all(pattern(3), soon());
  const int64_t start = now_ns();
  const auto error = error_of([&] { pair.near.receive_all(bytes, almost_now()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(),
              AllOf(HasSubstr("8 bytes"), HasSubstr("3 came"), HasSubstr("after 0.0")));
  EXPECT_LT(now_ns() - start, kTestNs);
}

TEST_P(Stream, NobodyReads_ThrowsRemoteErrorAtTheDeadline) {
  Pair pair = connected(address(), SocketKind::kStream);
  const auto big = pattern(32 << 20);
  const auto error = error_of([&] { pair.near.send_all(big, almost_now()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(), HasSubstr("sending"));
}

TEST_P(Stream, PeerCloses_ThrowsRemoteErrorWithoutASignal) {
  Pair pair = connected(address(), SocketKind::kStream);
  pair.far = Socket();
  std::byte bytes[8];
  const auto error = error_of([&] { pair.near.receive_all(bytes, soon()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(), HasSubstr("closed"));
  const auto big = pattern(1 << 20);
  const auto send_error = error_of([&] {
    for (int i = 0; i < 64; ++i) pair.near.send_all(big, soon());
  });
  ASSERT_TRUE(send_error.has_value());
  EXPECT_EQ(send_error->code(), StatusCode::kRemoteError);
}

TEST_P(Stream, AnnouncedLengthAboveTheLimit_ThrowsRemoteError) {
  Pair pair = connected(address(), SocketKind::kStream);
  pair.near.send_message(pattern(101), soon());
  const auto error = error_of([&] { pair.far.receive_message(100, soon()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("101"), HasSubstr("100")));
}

TEST_P(Stream, Descriptors_AreNotInherited) {
  Pair pair = connected(address(), SocketKind::kStream);
  EXPECT_NE(::fcntl(pair.near.fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(pair.far.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

bool have_ipv6() {
  return !error_of([] {
            Listener::bind(SocketAddress::parse("[::1]:0"), SocketKind::kStream);
          }).has_value();
}
INSTANTIATE_TEST_SUITE_P(Socket, Stream,
                         have_ipv6() ? testing::Values("127.0.0.1:0", "@", "[::1]:0")
                                     : testing::Values("127.0.0.1:0", "@", "127.0.0.2:0"),
                         [](const auto& info) { return "Address" + std::to_string(info.index); });

TEST(Connect, ListenerComesLater_Succeeds) {
  const SocketAddress at = fresh_name();
  std::thread late([&] {
    sleep_ns(30 * kNsPerMs);
    Listener listener = Listener::bind(at, SocketKind::kStream);
    auto socket = listener.accept(soon());
    ASSERT_TRUE(socket.has_value());
    socket->send_message(pattern(5), soon());
  });
  Socket socket = Socket::connect(at, SocketKind::kStream, soon());
  EXPECT_EQ(socket.receive_message(5, soon()), pattern(5));
  late.join();
}

TEST(Connect, NobodyListens_ThrowsRemoteErrorAtTheDeadline) {
  SocketAddress free_port;
  {
    const Listener listener =
        Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
    free_port = listener.address();
  }
  for (const SocketAddress& address : {fresh_name(), free_port}) {
    const auto error =
        error_of([&] { Socket::connect(address, SocketKind::kStream, almost_now()); });
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), StatusCode::kRemoteError);
    EXPECT_THAT(error->what(), AllOf(HasSubstr(address.to_string()), HasSubstr("refused"),
                                     HasSubstr("after 0.0")));
  }
}

TEST(Connect, NoAddressOrWrongKind_ThrowsInvalidArgument) {
  const auto none = error_of([] { Socket::connect({}, SocketKind::kStream, soon()); });
  ASSERT_TRUE(none.has_value());
  EXPECT_EQ(none->code(), StatusCode::kInvalidArgument);
  const auto wrong = error_of([] {
    Socket::connect(SocketAddress::parse("127.0.0.1:9"), SocketKind::kSequencedPacket, soon());
  });
  ASSERT_TRUE(wrong.has_value());
  EXPECT_EQ(wrong->code(), StatusCode::kInvalidArgument);
}

TEST(Listener, AddressTaken_ThrowsSystemErrorNamingIt) {
  for (const SocketAddress& at : {fresh_name(), SocketAddress::parse("127.0.0.1:0")}) {
    const Listener first = Listener::bind(at, SocketKind::kStream);
    EXPECT_EQ(first.address().family, at.family);
    const auto error = error_of([&] { Listener::bind(first.address(), SocketKind::kStream); });
    ASSERT_TRUE(error.has_value());
    EXPECT_EQ(error->code(), StatusCode::kSystemError);
    EXPECT_THAT(error->what(),
                AllOf(HasSubstr(first.address().to_string()), HasSubstr("EADDRINUSE")));
  }
}

TEST(Listener, NobodyConnects_AcceptsNothing) {
  Listener listener = Listener::bind(fresh_name(), SocketKind::kStream);
  EXPECT_FALSE(listener.try_accept().has_value());
  const Deadline deadline = almost_now();
  EXPECT_FALSE(listener.accept(deadline).has_value());
  EXPECT_TRUE(deadline.expired());
}

TEST(Packet, WithDescriptors_BringsThemAlong) {
  Pair pair = packets();
  const FileDescriptor a = create_sealed_memfd("tutti-a", 4096);
  const FileDescriptor b = create_sealed_memfd("tutti-b", 8192);
  const int both[] = {a.get(), b.get()};
  ASSERT_TRUE(pair.near.try_send_packet(pattern(10), both));
  ASSERT_TRUE(pair.near.try_send_packet(pattern(20), std::span(both).first(1)));
  ASSERT_TRUE(pair.near.try_send_packet(pattern(30)));
  std::byte into[64];
  for (const size_t bytes : {10u, 20u, 30u}) {
    const auto received = receive_packet(pair.far, into);
    ASSERT_TRUE(received.has_value());
    ASSERT_EQ(received->bytes, bytes);
    EXPECT_EQ(std::memcmp(into, pattern(bytes).data(), bytes), 0);
    EXPECT_EQ(static_cast<bool>(received->descriptors[0]), bytes <= 20);
    EXPECT_EQ(static_cast<bool>(received->descriptors[1]), bytes == 10);
    if (bytes == 10) {
      EXPECT_EQ(file_bytes(received->descriptors[0].get()), 4096u);
      EXPECT_EQ(file_bytes(received->descriptors[1].get()), 8192u);
      EXPECT_TRUE(is_sealed_against_shrinking(received->descriptors[0].get()));
      EXPECT_NE(::fcntl(received->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
    }
  }
}

TEST(Packet, MoreDescriptorsThanTwo_ClosesTheRest) {
  Pair pair = packets();
  const FileDescriptor file = create_sealed_memfd("tutti-a", 4096);
  const int many[] = {file.get(), file.get(), file.get(), file.get()};
  const int next_before = ::dup(STDERR_FILENO);
  ::close(next_before);
  char byte = 1;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof many)] = {};
  msghdr message{
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof many), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  std::memcpy(CMSG_DATA(header), many, sizeof many);
  ASSERT_EQ(::sendmsg(pair.near.fd(), &message, 0), 1);
  {
    std::byte into[8];
    const auto received = receive_packet(pair.far, into);
    ASSERT_TRUE(received.has_value());
    EXPECT_TRUE(received->descriptors[0]);
    EXPECT_TRUE(received->descriptors[1]);
  }
  const FileDescriptor next_after{::dup(STDERR_FILENO)};
  EXPECT_EQ(next_after.get(), next_before) << "a descriptor has leaked";
}

TEST(Packet, NothingThere_IsNullopt) {
  Pair pair = packets();
  std::byte into[8];
  EXPECT_FALSE(pair.near.try_receive_packet(into).has_value());
}

TEST(Packet, BufferFull_ReturnsFalseAndSendsNothing) {
  Pair pair = packets();
  const auto bytes = pattern(1000);
  size_t sent = 0;
  while (pair.near.try_send_packet(bytes)) {
    ++sent;
    ASSERT_LT(sent, 1'000'000u);
  }
  std::byte into[1024];
  size_t received = 0;
  while (auto packet = pair.far.try_receive_packet(into)) {
    EXPECT_EQ(packet->bytes, bytes.size());
    ++received;
  }
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(pair.near.try_send_packet(bytes));
}

TEST(Packet, PeerCloses_ReceivesNoBytesAndCantSend) {
  Pair pair = packets();
  ASSERT_TRUE(
      pair.near.try_send_packet(pattern(4)));  // left unread: the close resets the connection
  pair.far = Socket();
  std::byte into[8];
  const auto received = receive_packet(pair.near, into);
  ASSERT_TRUE(received.has_value());
  EXPECT_EQ(received->bytes, 0u);
  const auto error = error_of([&] { (void)pair.near.try_send_packet(pattern(4)); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
}

TEST(Packet, LongerThanTheBuffer_ThrowsRemoteError) {
  Pair pair = packets();
  ASSERT_TRUE(pair.near.try_send_packet(pattern(9)));
  std::byte into[8];
  const auto error = error_of([&] { (void)receive_packet(pair.far, into); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
}

TEST(Packet, EmptyOrThreeDescriptors_ThrowsInvalidArgument) {
  Pair pair = packets();
  const int three[] = {0, 1, 2};
  EXPECT_TRUE(error_of([&] { (void)pair.near.try_send_packet({}); }).has_value());
  EXPECT_TRUE(error_of([&] { (void)pair.near.try_send_packet(pattern(1), three); }).has_value());
}

TEST(Credentials, OfAUnixPeer_AreThoseOfItsProcess) {
  Pair pair = packets();
  const Socket::Credentials credentials = pair.far.peer_credentials();
  EXPECT_EQ(credentials.uid, ::getuid());
  EXPECT_EQ(credentials.pid, ::getpid());
}

TEST(Credentials, OfATcpPeer_ThrowInvalidUsage) {
  Pair pair = connected(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
  const auto error = error_of([&] { (void)pair.near.peer_credentials(); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kInvalidUsage);
}

}  // namespace
}  // namespace tutti
