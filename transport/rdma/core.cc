// SPDX-License-Identifier: Apache-2.0
// Making and ending what the paths share.
#include "transport/rdma/core.h"

#include <algorithm>

#include "src/base/error.h"
#include "transport/rdma/manager.h"
#include "transport/rdma/path.h"

namespace tutti::transport::rdma {
namespace {

// Addresses that peers can dial: loopback only when there is nothing else.
std::vector<SocketAddress> dialable(const std::string& interface_prefix) {
  std::vector<SocketAddress> all = local_addresses(interface_prefix);
  std::erase_if(all, [](const SocketAddress& a) { return a.scope_id != 0; });
  if (!std::ranges::all_of(all, is_loopback)) std::erase_if(all, is_loopback);
  if (all.size() > kMaxListeners) all.resize(kMaxListeners);
  return all;
}

}  // namespace

Core::Core(const TransportOptions& opts, const RdmaConfig& settings)
    : options(opts), config(settings), rails(open_rails(config)), memory(*rails) {
  const std::string prefix = opts.config == nullptr ? std::string() : opts.config->interface_prefix;
  rails->own_addresses = dialable(prefix);
  if (rails->own_addresses.empty())
    throw Error(StatusCode::kSystemError,
                "no IP address for the side channel by which RDMA queue pairs are connected");
  const bool managed = std::ranges::any_of(
      rails->rails, [](const Rail& r) { return r.address.fabric == Fabric::kIwarp; });
  if (managed) manager = std::make_unique<Manager>(*this);
  for (size_t d = 0; d < rails->devices.size(); ++d) {
    polls.add(rails->devices[d]->event_fd(), watch_key(Watched::kCompletions, d));
    polls.add(rails->devices[d]->async_fd(), watch_key(Watched::kAsync, d));
  }
}

Core::~Core() {
  lingering.clear();
  for (const auto& device : rails->devices) {
    polls.remove(device->event_fd());
    polls.remove(device->async_fd());
  }
}

size_t Core::device_of(const Rail& rail) const noexcept {
  size_t d = 0;
  while (rails->devices[d].get() != rail.device) ++d;
  return d;
}

}  // namespace tutti::transport::rdma
