// SPDX-License-Identifier: Apache-2.0
// What GPU addresses mean in this process.
//
// Device memory has addresses of a window that the host can't access (PROT_NONE): a tag that makes
// a host that dereferences them fault. At a fixed distance behind the window each piece is mapped
// for the simulator itself. Host memory that was allocated or registered has its own addresses. A
// piece of the window is used for one allocation only, so that use after free is recognised.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/cudasim/src/backing.h"
#include "tests/cudasim/src/failure.h"

namespace cudasim {

inline constexpr uint64_t kWindow = 0x200000000000;
inline constexpr uint64_t kWindowBytes = uint64_t{1} << 40;
inline constexpr uint64_t kShadow = kWindowBytes;  // distance of the simulator's own mapping
inline constexpr uint64_t kGranularity = 2 << 20;  // of VMM

enum class RegionKind : uint8_t {
  kDevice,      // cuMemAlloc
  kMapped,      // cuMemMap
  kImported,    // cuIpcOpenMemHandle
  kManaged,     // cuMemAllocManaged
  kHost,        // cuMemHostAlloc
  kRegistered,  // cuMemHostRegister
  kMulticast,   // cuMemMap of a multicast object
};

struct Region {
  uint64_t base = 0;
  uint64_t bytes = 0;       // what may be accessed
  uint8_t* host = nullptr;  // where `base` is for the simulator; of multicast: none
  RegionKind kind = RegionKind::kDevice;
  int owner = -1;  // GPU; -1: host
  uint64_t id = 0;
  // Bits of GPUs that may access it. Written under the space's mutex, read by the engine.
  std::atomic<uint64_t> readers{0};
  std::atomic<uint64_t> writers{0};
  std::atomic<bool> freed{false};
  std::shared_ptr<Backing> backing;
  uint64_t backing_offset = 0;
  uint64_t allocation_handle = 0;  // kMapped, kMulticast
  unsigned flags = 0;              // of host memory, as given

  bool contains(uint64_t address, uint64_t count) const {
    return address - base < bytes && count <= bytes - (address - base);
  }
  bool is_host() const { return owner < 0; }
  Shared* shared() const { return backing ? &backing->shared() : nullptr; }
};

class Space {
 public:
  Space();

  // All may throw Failure, take the mutex, and may be called by any thread.
  Region& allocate(RegionKind kind, int owner, uint64_t bytes, std::shared_ptr<Backing> backing);
  uint64_t reserve(uint64_t bytes, uint64_t alignment);
  void unreserve(uint64_t address, uint64_t bytes);
  Region& map(uint64_t address, uint64_t bytes, uint64_t offset, uint64_t handle,
              std::shared_ptr<Backing> backing);
  Region& add_host(RegionKind kind, void* at, uint64_t bytes, unsigned flags);
  // The simulator's mapping stays until collect(): the engine may be using it.
  void free(Region& region);
  void collect();

  // The region that has the address, freed or not; nullptr when there never was one.
  Region* find(uint64_t address);
  // One that is in use and has all these bytes; throws kInvalidValue.
  Region& live(uint64_t address, uint64_t bytes = 1);
  Region& starting_at(uint64_t address, RegionKind kind);
  std::vector<Region*> in_range(uint64_t address, uint64_t bytes);
  // "at 0x..: 4096 bytes of device 0 by cuMemAlloc (allocation 3)".
  std::string describe(const Region& region) const;
  // What is nearest to an address that is in no region.
  std::string describe_around(uint64_t address);
  // Grows whenever a region changes, for caches.
  const std::atomic<uint64_t>& generation() const { return generation_; }
  uint64_t used_bytes(int owner);
  // The GPUs that may access `owner`'s memory of cuMemAlloc and IPC.
  void set_peers(int owner, uint64_t gpus);
  uint64_t peers(int owner);

 private:
  Region& insert(std::unique_ptr<Region> region);
  void changed() { generation_.fetch_add(1, std::memory_order_release); }  // read by the engine
  uint64_t take(uint64_t bytes, uint64_t alignment);

  std::mutex mutex_;
  std::map<uint64_t, Region*> regions_;      // by base
  std::deque<std::unique_ptr<Region>> all_;  // never shrinks: reports may name what is gone
  std::map<uint64_t, uint64_t> reserved_;    // address to bytes
  std::vector<Region*> retired_;
  std::vector<uint64_t> peers_;
  uint64_t cursor_ = 0;
  std::atomic<uint64_t> generation_{1};
};

Space& space();

}  // namespace cudasim
