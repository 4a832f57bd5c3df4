// SPDX-License-Identifier: Apache-2.0
// What `tutti run` and its agents on other hosts say to each other over the remote shell's standard
// input and output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tutti::command {

// An agent's first line. What a host's login scripts print before it is skipped.
inline constexpr std::string_view kAgentGreeting = "tutti agent ready\n";

// The order of a job: hello, set_up, ready, [check, checked]..., go, started for each rank; then
// output, signals and exits; the launcher's end of input ends the agent.
enum class FrameKind : uint8_t {
  // From the agent.
  kHello = 1,  // JSON: version
  kReady,      // JSON: what rank 0's host offers to meet at (MeetingOffer), {} from others
  kChecked,    // "" when the address was reached, else why not
  kRefused,    // JSON: status, text. The host can't run its ranks
  kStarted,    // rank; JSON: pid
  kOut,        // rank; bytes of its standard output
  kErr,        // rank; bytes of its standard error
  kExited,     // rank; JSON: signal (0: it exited), status
  kTaken,      // decimal number of bytes that rank 0 has read of its standard input
  kPong,
  // From the launcher.
  kSetUp = 64,  // AgentOrders
  kCheck,       // JSON: address, port, token
  kGo,          // JSON list of further variables, the meeting place among them
  kSignal,      // rank is the signal's number, for all ranks
  kStop,        // end them: SIGTERM, and after a while SIGKILL
  kInput,       // bytes for rank 0's standard input
  kInputEnd,
  kPing,
};

// On the wire: u32 little-endian length of what follows, u8 kind, i32 little-endian rank, payload.
struct Frame {
  FrameKind kind{};
  int32_t rank = 0;
  std::string payload;
};

std::string encode(FrameKind kind, int32_t rank = 0, std::string_view payload = {});

// Cuts a stream into frames.
class FrameReader {
 public:
  static constexpr size_t kMaxBytes = size_t{16} << 20;  // of a frame

  void add(std::string_view bytes) { buffer_ += bytes; }
  // nullopt: not yet. Throws RemoteError when what came is no frame.
  std::optional<Frame> next();
  // Throws away what comes before the agent's greeting; false while it has not come.
  bool skip_to_greeting();

 private:
  std::string buffer_;
  size_t at_ = 0;  // where the next frame begins
};

}  // namespace tutti::command
