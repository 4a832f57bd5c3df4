// SPDX-License-Identifier: Apache-2.0
// Memory that devices may read and write: what is exposed to peers, what is lent for sending, and a
// cache of registrations of tuttiMemAlloc's memory for sending from where it lies.
//
// A registration pins pages, not addresses: when memory is freed and others appear at its address,
// the device goes on reading the old pages. So only memory whose end we are told of is cached:
// regions of tuttiMemAlloc, by their ids, which are never reused. Everything else goes through a
// path's own registered memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "src/device/device.h"
#include "transport/network/frame.h"
#include "transport/rdma/device.h"

namespace tutti::transport::rdma {

// Memory registered on the devices that have been asked to.
struct Registration {
  std::byte* base = nullptr;
  size_t bytes = 0;
  uint64_t region = 0;  // SharedRegion::id; 0: exposed or lent memory
  bool remote = false;  // peers may write to it
  int uses = 0;         // sends in flight that read it
  bool gone = false;    // to be given up when nothing uses it any more
  uint64_t last_use = 0;
  struct OnDevice {
    ibv_mr* mr = nullptr;
    bool refused = false;  // the device would not; not asked again
  };
  std::vector<OnDevice> devices;  // as Rails::devices
};

// What a MemoryKey holds here. Little endian.
struct WireKey {
  uint64_t base = 0;
  uint32_t magic = 0;
  uint32_t n_rails = 0;
  std::array<uint32_t, kMaxRails> rkeys{};  // by rail of the memory's owner
};
static_assert(sizeof(WireKey) == sizeof(network::MemoryKey));
// False for a key that no carrier of this kind has made.
bool read_key(const network::MemoryKey& key, WireKey* wire) noexcept;

class Memory {
 public:
  explicit Memory(Rails& rails);
  ~Memory();  // no queue pair may be left that uses a registration
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  network::MemoryKey expose(std::byte* base, size_t bytes);  // throws SystemError
  // Memory that is often sent from, and whose pages stay until the end: registered when a send
  // first reads it. False: no room to note it.
  bool lend(std::byte* base, size_t bytes) noexcept;
  // A registration on the device of all these bytes, kept until release(); null: send a copy.
  Registration* find(size_t device, const std::byte* data, size_t bytes) noexcept;
  void release(Registration* used) noexcept;

  size_t cached() const noexcept { return cache_.size(); }
  size_t refusals() const noexcept { return refusals_; }

 private:
  Registration* find_exposed(const std::byte* data, size_t bytes) noexcept;
  Registration* find_region(const std::byte* data, size_t bytes);
  bool on_device(Registration& registration, size_t device) noexcept;
  void forget(Registration& registration) noexcept;
  void drop_lost() noexcept;
  void make_room() noexcept;
  static void lose(void* self, uint64_t region, device::Loss loss);

  Rails& rails_;
  using Exposed = std::map<std::byte*, Registration>;  // by base
  Exposed exposed_;                                    // and lent
  std::map<uint64_t, Registration> cache_;             // by region
  uint64_t clock_ = 0;
  size_t refusals_ = 0;
  uint64_t listener_ = 0;

  std::mutex lost_mutex_;  // guards lost_; nothing else is locked under it
  std::vector<uint64_t> lost_;
  std::atomic<bool> any_lost_{false};  // release in lose() pairs with acquire in drop_lost()
};

// Registers `bytes` of a dma-buf (memory of another device) from `offset`, at the address `iova`.
// Throws SystemError when library, kernel or device can't: then data has to go through host memory.
Owned<ibv_mr> register_dmabuf(Device& device, int fd, uint64_t offset, size_t bytes, uint64_t iova);

// Registers host memory for local access and, with `remote`, for peers' writes; relaxed ordering
// where the device has it: what is written is looked at only after a completion that follows it.
// Null with errno when the device refuses.
ibv_mr* register_host(Device& device, std::byte* base, size_t bytes, bool remote) noexcept;

}  // namespace tutti::transport::rdma
