// SPDX-License-Identifier: Apache-2.0
// Frames over a socket, as the control thread reads them: first byte: how the bytes are cut into
// pieces; the rest is the stream. What comes out must be what a reader of the whole stream sees.
#include <memory>
#include <utility>

#include <sys/socket.h>

#include "src/bootstrap/channel.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace bootstrap;

constexpr size_t kHeaderBytes = 16;
constexpr int64_t kPatienceNs = 15 * kNsPerSecond;  // less than a fuzzer has

struct Seen {
  std::vector<Frame> frames;
  Signal ended;
};

// The frames in `stream`, up to one that is too long or not whole.
std::vector<Frame> expected_frames(std::string_view stream) {
  std::vector<Frame> frames;
  while (stream.size() >= kHeaderBytes) {
    Frame frame;
    frame.header = decode_as<FrameHeader>(as_bytes(stream.substr(0, kHeaderBytes)));
    stream.remove_prefix(kHeaderBytes);
    if (frame.header.bytes > stream.size()) break;
    const auto payload = as_bytes(stream.substr(0, frame.header.bytes));
    frame.payload.assign(payload.begin(), payload.end());
    stream.remove_prefix(frame.header.bytes);
    frames.push_back(std::move(frame));
  }
  return frames;
}

// Until the reader closes its end.
void send_pieces(Socket& socket, std::string_view stream, size_t step) {
  const Deadline patience = Deadline::after_ns(kPatienceNs);
  try {
    for (; !stream.empty(); stream.remove_prefix(std::min(step, stream.size())))
      socket.send_all(as_bytes(stream.substr(0, step)), patience);
  } catch (const Error& error) {
    require(error.code() == StatusCode::kRemoteError && !patience.expired(),
            "only the reader ends a connection");
  }
}

}  // namespace

void run(std::string_view input) {
  static const std::shared_ptr<ControlThread> control = ControlThread::shared();
  Input in(input);
  const size_t step = 1 + in.number<uint8_t>();
  int ends[2] = {-1, -1};
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0,
          "there are sockets");
  Socket sender{FileDescriptor(ends[0])};
  Seen seen;
  auto channel = std::make_unique<Channel>(control, Socket{FileDescriptor(ends[1])});
  run_on(*control, [&] {
    channel->on_end([&] {
      channel.reset();
      seen.ended.notify();
    });
    channel->expect_frames([&](Frame frame) { seen.frames.push_back(std::move(frame)); });
  });
  const std::vector<Frame> expected = expected_frames(in.rest());
  send_pieces(sender, in.rest(), step);
  sender = Socket();
  const Woken woken = seen.ended.wait({.deadline = Deadline::after_ns(kPatienceNs)});
  require(woken == Woken::kNotified, "the end of a connection is noticed");
  require(seen.frames.size() == expected.size(), "every whole frame comes out, and no other");
  for (size_t i = 0; i < expected.size(); ++i) {
    require(encode(seen.frames[i].header) == encode(expected[i].header), "headers are kept");
    require(seen.frames[i].payload == expected[i].payload, "payloads are kept");
  }
}

std::vector<std::string> seeds() {
  const auto header = [](FrameType type, uint64_t bytes) {
    return as_text(encode(FrameHeader{.type = type, .sequence = 1, .bytes = bytes}));
  };
  return {"\xff" + header(FrameType::kGo, 0) + header(FrameType::kUp, 5) + "hello" +
              header(FrameType::kBye, 0),
          '\0' + as_text(error_frame({.code = StatusCode::kRemoteError, .reason = "gone"})),
          "\x05" + header(FrameType::kDown, UINT64_MAX)};
}

}  // namespace tutti::fuzz
