// SPDX-License-Identifier: Apache-2.0
// Frames as bytes.
#include "perf/hosts/wire.h"

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::command {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kHeadBytes = 5;  // kind and rank, counted by the length
// Login scripts that print more than this before the greeting are no login scripts.
constexpr size_t kMaxNoiseBytes = size_t{1} << 20;

void put(std::string& into, uint32_t value) {
  for (int i = 0; i < 4; ++i) into += static_cast<char>(value >> (8 * i));
}

uint32_t get(std::string_view from) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<uint8_t>(from[i])} << (8 * i);
  return value;
}

}  // namespace

std::string encode(FrameKind kind, int32_t rank, std::string_view payload) {
  std::string bytes;
  bytes.reserve(kLengthBytes + kHeadBytes + payload.size());
  put(bytes, static_cast<uint32_t>(kHeadBytes + payload.size()));
  bytes += static_cast<char>(kind);
  put(bytes, static_cast<uint32_t>(rank));
  bytes += payload;
  return bytes;
}

std::optional<Frame> FrameReader::next() {
  const std::string_view rest = std::string_view(buffer_).substr(at_);
  if (rest.size() < kLengthBytes) return std::nullopt;
  const size_t length = get(rest);
  if (length < kHeadBytes || length > kMaxBytes) {
    throw Error(StatusCode::kRemoteError,
                fmt::format("expected a message of {} to {} bytes, got one of {}: something else "
                            "writes to the connection",
                            kHeadBytes, kMaxBytes, length));
  }
  if (rest.size() < kLengthBytes + length) {
    buffer_.erase(0, at_);
    at_ = 0;
    return std::nullopt;
  }
  Frame frame{.kind = static_cast<FrameKind>(rest[kLengthBytes]),
              .rank = static_cast<int32_t>(get(rest.substr(kLengthBytes + 1))),
              .payload = std::string(rest.substr(kLengthBytes + kHeadBytes, length - kHeadBytes))};
  at_ += kLengthBytes + length;
  return frame;
}

bool FrameReader::skip_to_greeting() {
  const size_t found = buffer_.find(kAgentGreeting);
  if (found != std::string::npos) {
    buffer_.erase(0, found + kAgentGreeting.size());
    return true;
  }
  if (buffer_.size() > kMaxNoiseBytes)
    throw Error(StatusCode::kRemoteError, "expected an agent of tutti, got a lot of other output");
  return false;
}

}  // namespace tutti::command
