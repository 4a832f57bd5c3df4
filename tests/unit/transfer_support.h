// SPDX-License-Identifier: Apache-2.0
// Agents with memory, and what tests do with them.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/wait.h"
#include "src/device/device.h"
#include "src/transfer/agent.h"

namespace tutti::transfer::testing {

inline constexpr int64_t kPatienceNs = 20 * kNsPerSecond;
inline Deadline soon() { return Deadline::after_ns(kPatienceNs); }

// How bytes get from one agent to the other.
enum class Way : uint8_t {
  kMapped,  // memory of tuttiMemAlloc on one host
  kPulled,  // other memory on one host
  kTcp,     // sockets
};
inline const char* name_of(Way way) {
  return way == Way::kMapped ? "mapped" : way == Way::kPulled ? "pulled" : "tcp";
}

inline AgentOptions options_for(Way way, const std::string& name) {
  AgentOptions options{.name = name, .config = config_from_environment()};
  options.config.local.net_timeout_ns = 3 * kNsPerSecond;
  std::strcpy(options.config.agreed.transport, way == Way::kTcp ? "tcp" : "");
  return options;
}

// Memory of the kind that goes that way.
class Memory {
 public:
  Memory(Way way, size_t bytes) : bytes_(bytes), shared_(way == Way::kMapped) {
    data_ =
        shared_ ? static_cast<std::byte*>(device::allocate_shared(bytes)) : new std::byte[bytes]();
  }
  ~Memory() {
    if (shared_) {
      device::free_shared(data_);
    } else {
      delete[] data_;
    }
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  size_t bytes_;
  bool shared_;
};

inline std::vector<std::byte> pattern(size_t bytes, unsigned seed) {
  std::vector<std::byte> data(bytes);
  uint32_t state = seed * 2654435761U + 1;
  for (std::byte& b : data) {
    state = state * 1664525U + 1013904223U;
    b = static_cast<std::byte>(state >> 24);
  }
  return data;
}

inline bool all_are(const std::byte* data, size_t bytes, std::byte value) {
  for (size_t i = 0; i < bytes; ++i) {
    if (data[i] != value) return false;
  }
  return true;
}

// Runs it to its end and says how it ended: "" is success.
inline std::string outcome(Agent& agent, const std::shared_ptr<Request>& request) {
  if (!agent.wait(*request, soon())) return "has not ended";
  if (request->code == StatusCode::kOk) return "";
  return std::to_string(static_cast<int>(request->code)) + ": " + request->why;
}

template <typename Call>
std::string refusal(Call call, StatusCode code = StatusCode::kInvalidArgument) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "not refused";
}

}  // namespace tutti::transfer::testing
