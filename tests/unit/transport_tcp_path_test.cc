// SPDX-License-Identifier: Apache-2.0
// One socket's frames: what is held back and what is left over.
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "transport/tcp/path.h"

namespace tutti::transport::tcp {
namespace {

class Sink final : public FrameSink {
 public:
  std::byte* place(const FrameHeader& header) noexcept override {
    if (!keeps) return nullptr;
    payload.resize(header.payload_bytes);
    return payload.data();
  }
  void arrived(network::Path&, const FrameHeader& header, const std::byte*) noexcept override {
    numbers.push_back(header.number);
  }
  void sent(network::Path&, uint64_t token) noexcept override { tokens.push_back(token); }
  void broken(network::Path&, const std::string& text) noexcept override { why = text; }
  bool keeps = true;
  std::vector<std::byte> payload;
  std::vector<uint64_t> numbers, tokens;
  std::string why;
};

class TcpPaths : public ::testing::Test {
 protected:
  TcpPaths() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
    peer_ = FileDescriptor(ends[1]);
    path_ = std::make_unique<TcpPath>(
        sink_,
        TcpPath::Place{.fd = FileDescriptor(ends[0]), .rail = 0, .interface = "x", .to = "y"},
        1000);
  }
  void write(const void* data, size_t bytes) {
    EXPECT_EQ(::write(peer_.get(), data, bytes), static_cast<ssize_t>(bytes));
  }
  bool readable() const {
    pollfd ready{.fd = path_->fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 0) == 1;
  }

  Sink sink_;
  FileDescriptor peer_;
  std::unique_ptr<TcpPath> path_;
};

// Once a socket has given all it has, nobody is woken for it: what is read must be looked at. A
// payload that is thrown away is read in pieces of 4 KiB, 16 in one go.
TEST_F(TcpPaths, LastBytesComeWithTheLastRead_FrameArrives) {
  sink_.keeps = false;
  for (const uint32_t bytes : {16U * 4096U, 16U * 4096U + 1, 32U * 4096U, 15U * 4096U, 4096U}) {
    std::vector<std::byte> stream(bytes);
    const FrameHeader header{.payload_bytes = bytes - static_cast<uint32_t>(sizeof header),
                             .number = bytes};
    std::memcpy(stream.data(), &header, sizeof header);
    write(stream.data(), stream.size());
    while (readable()) (void)path_->serve();
    ASSERT_FALSE(sink_.numbers.empty()) << bytes;
    EXPECT_EQ(sink_.numbers.back(), bytes);
  }
  EXPECT_EQ(sink_.numbers.size(), 5U);
  EXPECT_EQ(sink_.why, "");
}

TEST_F(TcpPaths, MoreFollow_AllAreThereAfterPush) {
  Sink other;
  TcpPath back(other, {.fd = std::move(peer_), .rail = 0, .interface = "x", .to = "y"}, 1000);
  std::vector<std::byte> payload(1000, std::byte{7});
  for (uint64_t i = 1; i <= 20; ++i) {
    EXPECT_TRUE(path_->send({.header = {.payload_bytes = 1000, .number = i},
                             .payload = payload.data(),
                             .token = i,
                             .more = true}));
  }
  path_->push();
  for (int i = 0; i < 10; ++i) (void)back.serve();
  EXPECT_EQ(other.numbers.size(), 20U);
  EXPECT_EQ(other.payload, payload);
  EXPECT_EQ(sink_.tokens.size(), 20U);
}

}  // namespace
}  // namespace tutti::transport::tcp
