// SPDX-License-Identifier: Apache-2.0
// The ends of connections in the GPU's memory, which all programs of a communicator share.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <utility>

#include "src/exec/cuda/block_pool.h"
#include "src/exec/cuda/device_program.h"
#include "src/exec/cuda/host_share.h"
#include "transport/transport.h"

namespace tutti::exec {

// What carries the connection's messages in launches whose inline protocol is `wanted`: that, or
// kSimple where the connection has no ring. The same at both ends.
DeviceProtocol protocol_of(const transport::DeviceFifo& fifo, DeviceProtocol wanted) noexcept;

// One per connection and protocol: their counts of messages go on from launch to launch.
// Connections outlive the object, and so do the registrations of their memory that it makes.
class DeviceEndpoints {
 public:
  // The GPU's context is current where endpoints are made. After find(), DeviceBlocks's
  // finish_writes().
  explicit DeviceEndpoints(DeviceBlocks& memory) : memory_(memory) {}
  cuda::DevicePtr find(const transport::SendConnection& connection, int peer,
                       DeviceProtocol protocol);
  cuda::DevicePtr find(const transport::RecvConnection& connection, int peer,
                       DeviceProtocol protocol);

 private:
  using Key = std::pair<const void*, DeviceProtocol>;
  template <class Connection>
  cuda::DevicePtr find_or_make(const Connection& connection, int peer, DeviceProtocol protocol,
                               bool is_sender, uint64_t count);
  template <class View>
  DeviceEndpoint shared_with_host(const View& view);

  DeviceBlocks& memory_;
  std::map<Key, cuda::DevicePtr> known_;
  std::map<const void*, HostShare> shares_;  // by the base of the connection's memory
};

}  // namespace tutti::exec
