// SPDX-License-Identifier: Apache-2.0
// The target of a measurement: an agent with a region, and what raw streams need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tutti::transfer_perf {

inline constexpr size_t kRegionBytes = 64 << 20;
inline constexpr int kDone = 7;  // the counter that ends the target

// What a target tells the initiator.
struct Invitation {
  std::string way;        // "mapped", "plain", "tcp"
  std::string addresses;  // IPv4, for the raw stream
  int raw_port = 0;
  int sockets = 0;
  int pid = 0;
  uint64_t memory = 0;  // where the region lies in the target's process
  std::vector<std::byte> blob;
};
std::string encode(const Invitation& invitation);
Invitation decode(const std::string& text);  // throws std::runtime_error

// Serves one initiator; `hand_out` gets the encoded invitation. Returns the exit status.
int serve(const std::string& way, void (*hand_out)(const std::string&, void*), void* context);

// Prints the library's message and ends the process when a call failed.
void require(int result, const char* call);

}  // namespace tutti::transfer_perf
