// SPDX-License-Identifier: Apache-2.0
// The process's registrations of connection memory, with how many use each.
#include "src/exec/cuda/host_share.h"

#include <map>
#include <mutex>

namespace tutti::exec {
namespace {

struct Shared {
  cuda::HostRegistration registration;
  int users = 0;
};
// The mutex also covers the driver's calls: memory is not registered by one thread while another
// ends its registration.
struct Table {
  std::mutex mutex;
  std::map<std::byte*, Shared> shared;
};
// Never ended: objects may live in threads that run until the process ends.
Table& table() {
  static Table* const kTable = new Table;
  return *kTable;
}

}  // namespace

HostShare::HostShare(std::byte* base, size_t bytes) : base_(base) {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  auto found = all.shared.find(base);
  if (found == all.shared.end()) {
    found = all.shared.emplace(base, Shared{cuda::HostRegistration(base, bytes)}).first;
  }
  ++found->second.users;
  device_ = found->second.registration.device();
}

HostShare::~HostShare() {
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const auto found = all.shared.find(base_);
  if (--found->second.users == 0) all.shared.erase(found);
}

}  // namespace tutti::exec
