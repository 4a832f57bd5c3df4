// SPDX-License-Identifier: Apache-2.0
// What the paths of one carrier share: devices, memory, the set of descriptors, and the table by
// which completions find their path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "src/base/poll_set.h"
#include "transport/rdma/address.h"
#include "transport/rdma/device.h"
#include "transport/rdma/memory.h"
#include "transport/transport.h"

namespace tutti::transport::rdma {

class RdmaPath;
class Manager;
struct Lingering;

// What a key of the PollSet is of: the kind in the upper byte, below it an id.
enum class Watched : uint8_t { kListener, kCompletions, kAsync, kManager, kPath, kVisitor };
constexpr uint64_t watch_key(Watched kind, uint64_t id) noexcept {
  return static_cast<uint64_t>(kind) << 56 | id;
}

struct Core {
  Core(const TransportOptions& options, const RdmaConfig& settings);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  uint32_t new_id() noexcept { return ++last_id; }
  // Looks at the path at the end of this progress(), or in the next.
  void touch(uint32_t id) { touched.push_back(id); }
  size_t device_of(const Rail& rail) const noexcept;

  const TransportOptions options;
  const RdmaConfig config;
  PollSet polls;
  std::unique_ptr<Rails> rails;
  Memory memory;
  std::unique_ptr<Manager> manager;               // null: no rail needs rdma_cm
  std::unordered_map<uint32_t, RdmaPath*> paths;  // those that completions may come for
  std::unordered_map<uint32_t, std::unique_ptr<Lingering>> lingering;
  std::vector<uint32_t> touched;
  uint32_t last_id = 0;
  bool look_at_descriptors = true;
};

}  // namespace tutti::transport::rdma
