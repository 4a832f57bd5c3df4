// Sets of descriptors, and TCP connections that nobody waits for.
#include <cerrno>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/poll_set.h"
#include "src/base/stream.h"

namespace tutti {
namespace {

constexpr std::array<std::byte, 3> kWords = {std::byte{1}, std::byte{2}, std::byte{3}};

template <typename Condition>
bool soon(Condition condition) {
  const Deadline deadline = Deadline::after_ns(5 * kNsPerSecond);
  while (!condition()) {
    if (deadline.expired()) return false;
  }
  return true;
}

TEST(Stream, Connection_CarriesBytesAndTellsItsEnd) {
  Listener listener = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
  PollSet set;
  set.add(listener.fd(), 77);
  std::array<uint64_t, 4> keys{};
  EXPECT_EQ(set.ready(keys), 0u);
  Socket visitor = start_connecting(listener.address());
  ASSERT_TRUE(soon([&] { return set.ready(keys) == 1; }));
  EXPECT_EQ(keys[0], 77u);
  std::optional<Socket> host = listener.try_accept();
  ASSERT_TRUE(host);
  int error = 0;
  ASSERT_TRUE(soon([&] { return is_connected(visitor, &error); })) << error;

  set.add(host->fd(), 5);
  std::array<std::byte, 8> into{};
  const StreamResult nothing = try_receive(*host, into);
  EXPECT_EQ(nothing.bytes, 0u);
  EXPECT_FALSE(nothing.failed());
  EXPECT_EQ(try_send(visitor, kWords).bytes, 3u);
  ASSERT_TRUE(soon([&] { return set.ready(keys) == 1 && keys[0] == 5; }));
  EXPECT_EQ(try_receive(*host, into).bytes, 3u);
  EXPECT_EQ(into[2], std::byte{3});
  EXPECT_EQ(set.ready(keys), 0u);
  set.set_writing(host->fd(), 6, true);
  EXPECT_EQ(set.ready(keys), 1u);
  EXPECT_EQ(keys[0], 6u);
  set.set_writing(host->fd(), 5, false);

  visitor = Socket();
  ASSERT_TRUE(soon([&] { return set.ready(keys) == 1; }));
  EXPECT_TRUE(try_receive(*host, into).closed);
  set.remove(host->fd());
  EXPECT_EQ(set.ready(keys), 0u);
}

TEST(Stream, NobodyListens_IsToldByErrno) {
  SocketAddress address;
  {
    Listener listener = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
    address = listener.address();
  }
  Socket visitor = start_connecting(address);
  int error = 0;
  ASSERT_TRUE(soon([&] {
    EXPECT_FALSE(is_connected(visitor, &error));
    return error != 0;
  }));
  EXPECT_EQ(error, ECONNREFUSED);
}

}  // namespace
}  // namespace tutti
