// SPDX-License-Identifier: Apache-2.0
// Finds a net plugin by the names under which existing ones are installed, and starts it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/nccl_net/plugin.h"

namespace tutti::transport::nccl_net {

struct LoadedPlugin {
  std::string file;
  std::unique_ptr<Plugin> plugin;
  std::vector<Device> devices;  // those that can use host memory, with their index
  std::vector<int> indices;
  std::vector<std::string> left_out;  // devices that can't, and why
};

// `name`: TUTTI_NET_PLUGIN; empty: NCCL_NET_PLUGIN, or the default. Throws Error when there is no
// plugin, none of a version that we speak, it does not start, or has no device for host memory.
LoadedPlugin load_plugin(const std::string& name, uint64_t comm_id);

}  // namespace tutti::transport::nccl_net
