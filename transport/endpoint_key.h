// SPDX-License-Identifier: Apache-2.0
// Names one rank of one communicator in tables that a process has once.
#pragma once

#include <compare>
#include <cstdint>

#include "transport/transport.h"

namespace tutti::transport {

struct EndpointKey {
  uint64_t comm_id = 0;
  int32_t rank = -1;
  auto operator<=>(const EndpointKey&) const = default;
};

constexpr EndpointKey source_of(const ConnectionId& id) noexcept {
  return {id.comm_id, id.source_rank};
}
constexpr EndpointKey sink_of(const ConnectionId& id) noexcept {
  return {id.comm_id, id.sink_rank};
}

}  // namespace tutti::transport
