// SPDX-License-Identifier: Apache-2.0
// Where the ranks of several hosts meet: an address of rank 0's host that the others really reach,
// and a range of ports there that is free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/socket.h"

namespace tutti::command {

// What rank 0's host offers. An address counts as reached only where the token comes back: the same
// private address (of a container bridge, say) may exist on every host.
struct MeetingOffer {
  uint16_t port = 0;
  std::string token;
  std::vector<std::string> addresses;  // numeric, the likeliest first
};

// Holds the port on rank 0's host and tells visitors the token, until the ranks start.
class MeetingPlace {
 public:
  // `interface_prefix` keeps only the addresses of such interfaces; `port` 0: a free one. Throws
  // SystemError.
  MeetingPlace(const std::string& interface_prefix, int port);
  const MeetingOffer& offer() const { return offer_; }
  int fd() const { return listener_.fd(); }  // readable: call answer
  void answer();

 private:
  MeetingOffer offer_;
  Listener listener_;
};

// Goes to the place from another host: "" when the token was there, else why not.
std::string visit(const std::string& address, uint16_t port, const std::string& token,
                  Deadline deadline);

}  // namespace tutti::command
