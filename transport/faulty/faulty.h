// SPDX-License-Identifier: Apache-2.0
// A decorator for tests: any transport with delayed messages, stalls, broken connections and ranks
// that fall.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "transport/transport.h"

namespace tutti::transport {

// What goes wrong, drawn from the seed, the connection and the number of the message: equal seeds
// give equal faults. Probabilities are per message.
struct Faults {
  uint64_t seed = 1;
  int64_t delay_ns = 0;  // each message becomes visible up to this much later
  double stall = 0.0;    // a message, and all behind it, comes stall_ns later
  int64_t stall_ns = 0;
  double drop = 0.0;  // the connection breaks instead of carrying the message
  double kill = 0.0;  // the sending process is killed instead of sending it
  bool any() const noexcept { return delay_ns > 0 || stall > 0 || drop > 0 || kill > 0; }
};

// "seed=7,delay=200us,stall=0.001:20ms,drop=0.0001,kill=0": names in any order, each optional.
// Throws InvalidArgument naming what is wrong.
Faults parse_faults(std::string_view text);

std::unique_ptr<Transport> make_faulty(std::unique_ptr<Transport> inner, const Faults& faults);

}  // namespace tutti::transport
