// SPDX-License-Identifier: Apache-2.0
// Bytes that come out of a socket. An input is a flag byte (bit 0: the path expects sealed frames,
// bit 1: every second payload is thrown away) and pieces {length u16, bytes}, which arrive one by
// one. What is not sealed is what a plain reader of the same bytes finds.
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "transport/tcp/path.h"

namespace tutti::fuzz {
namespace {

using transport::network::Path;
using transport::tcp::FrameHeader;
using transport::tcp::FrameSink;
using transport::tcp::TcpPath;

constexpr size_t kMostPlaced = 16 << 10;

// Headers, and payloads where they were kept.
using Frames = std::vector<std::string>;

bool is_kept(bool every_second, size_t number, const FrameHeader& header) {
  return header.payload_bytes <= kMostPlaced && !(every_second && number % 2 == 1);
}

class Listener final : public FrameSink {
 public:
  explicit Listener(bool every_second) : every_second_(every_second) {}
  std::byte* place(const FrameHeader& header) noexcept override {
    require(header.payload_bytes != 0, "only payloads are placed");
    payload_.clear();
    if (!is_kept(every_second_, frames.size(), header)) return nullptr;
    payload_.resize(header.payload_bytes);
    return reinterpret_cast<std::byte*>(payload_.data());
  }
  void arrived(Path&, const FrameHeader& header, const std::byte* lent) noexcept override {
    require(!is_broken, "nothing arrives by a broken path");
    require(lent == nullptr, "payloads were placed");
    frames.push_back(as_text(std::as_bytes(std::span(&header, 1))) + payload_);
    payload_.clear();
  }
  void sent(Path&, uint64_t) noexcept override {}
  void broken(Path&, const std::string& why) noexcept override {
    require(!is_broken && !why.empty(), "a path breaks once, for a reason");
    is_broken = true;
  }
  Frames frames;
  bool is_broken = false;

 private:
  const bool every_second_;
  std::string payload_;
};

// Stops at what is too long.
Frames read_plainly(std::string_view stream, bool every_second, bool* too_long) {
  Frames frames;
  while (stream.size() >= sizeof(FrameHeader)) {
    FrameHeader header;
    std::memcpy(static_cast<void*>(&header), stream.data(), sizeof header);
    *too_long = header.payload_bytes > transport::tcp::kMaxPayload;
    if (*too_long || stream.size() - sizeof header < header.payload_bytes) break;
    const bool kept = is_kept(every_second, frames.size(), header);
    frames.emplace_back(stream.substr(0, sizeof header + (kept ? header.payload_bytes : 0)));
    stream.remove_prefix(sizeof header + header.payload_bytes);
  }
  return frames;
}

}  // namespace

void run(std::string_view input) {
  Input in(input);
  const auto flags = in.number<uint8_t>();
  const bool sealed = (flags & 1) != 0, every_second = (flags & 2) != 0;
  std::array<int, 2> ends{};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) == 0,
          "there are sockets");
  const FileDescriptor peer(ends[1]);
  Listener listener(every_second);
  TcpPath path(listener, {.fd = FileDescriptor(ends[0]), .interface = "x", .to = "y"}, 1000);
  if (sealed) (void)path.encrypt({}, {});
  std::string stream;
  while (!in.empty() && !listener.is_broken) {
    const std::string_view piece = in.text(in.number<uint16_t>());
    require(::send(peer.get(), piece.data(), piece.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(piece.size()),
            "a socket takes a piece");
    stream += piece;
    for (int i = 0; i < 8 && path.serve(); ++i) {
    }
  }
  if (sealed) {
    require(listener.frames.empty(), "nothing that was not sealed is taken");
    return;
  }
  bool too_long = false;
  require(listener.frames == read_plainly(stream, every_second, &too_long), "every frame arrives");
  require(listener.is_broken == too_long, "only what is too long breaks a path");
}

std::vector<std::string> seeds() {
  const auto frame = [](uint32_t payload_bytes, size_t there) {
    const FrameHeader header{.sequence = 1, .payload_bytes = payload_bytes};
    return as_text(std::as_bytes(std::span(&header, 1))) + std::string(there, 'p');
  };
  const auto piece = [](const std::string& bytes) {
    return std::string{static_cast<char>(bytes.size()), static_cast<char>(bytes.size() >> 8)} +
           bytes;
  };
  const std::string two = frame(0, 0) + frame(5000, 5000);
  return {std::string(1, '\0') + piece(two), "\2" + piece(two + two),
          "\2" + piece(two.substr(0, 70)) + piece(two.substr(70, 3000)) + piece(two.substr(3070)),
          std::string(1, '\0') + piece(frame(UINT32_MAX, 3)), "\1" + piece(frame(100, 100))};
}

}  // namespace tutti::fuzz
