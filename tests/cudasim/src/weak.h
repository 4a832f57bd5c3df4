// SPDX-License-Identifier: Apache-2.0
// Weak mode: a memory that is as weak as a GPU's may be.
//
// A store goes into the buffer of its thread, and from there, at random times and in any order but
// that of stores to the same bytes, to the buffer of the block, then of the GPU, then to memory. A
// fence or release pushes everything that the thread has stored, or may know of, past the level of
// its scope. A load may return what a word held before its newest change, unless the thread has
// read or written that word since, or has synchronised since the change became visible at the level
// that it shares with who made it: the three times of a View.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <cudasim/kernel_abi.h>

namespace cudasim {

struct Lane;
struct Block;

struct PendingStore {
  uint8_t* host;
  uint32_t bytes;     // up to 16, or a line of 128
  uint32_t patience;  // rounds that it stays where it is
  int device;
  uint64_t block;  // serial
  const Lane* lane;
  std::atomic<uint32_t>* line_lock = nullptr;  // held while a line goes to memory
  uint64_t seen_in_block = 0;                  // when it became visible there
  uint64_t seen_in_gpu = 0;
  std::array<uint8_t, 128> data;
};

// In the order in which they came. Most look-ups find nothing: counts of hashed places say so at
// once.
class StoreBuffer {
 public:
  bool empty() const { return stores_.empty(); }
  size_t size() const { return stores_.size(); }
  PendingStore& operator[](size_t index) { return stores_[index]; }
  const std::vector<PendingStore>& stores() const { return stores_; }
  void add(const PendingStore& store);
  void remove(size_t index);
  bool may_meet(const uint8_t* host, uint32_t bytes) const;
  // The oldest that writes any of these bytes; size() when there is none.
  size_t oldest(const uint8_t* host, uint32_t bytes) const;
  // The one that must leave first for that one to leave: stores to the same bytes keep their order.
  size_t before(size_t index) const;

 private:
  void count(const PendingStore& store, int change);
  std::vector<PendingStore> stores_;
  std::array<uint16_t, 256> counts_{};  // by granule
};

// Up to when everything that others have made visible is known: in the block, the GPU, the system.
struct View {
  std::array<uint64_t, 3> until{};
};

struct WeakLane {
  StoreBuffer stores;
  View view;
  struct Seen {
    uint64_t granule = 0;
    uint64_t time = 0;
  };
  std::array<Seen, 32> seen{};  // what it has read or written itself
};

class WeakMemory {
 public:
  WeakMemory();

  void start(Lane& lane);
  void load(Lane& lane, const uint8_t* host, uint8_t* to, uint32_t bytes, bool may_be_stale);
  void store(Lane& lane, uint8_t* host, const uint8_t* from, uint32_t bytes);
  // A line that a warp stores as a whole.
  void store_line(Lane& lane, uint8_t* host, const uint8_t* from, std::atomic<uint32_t>* line_lock);
  // Makes what is pending for these bytes, as far as the lane can know of it, reach memory.
  void settle(Lane& lane, const uint8_t* host, uint32_t bytes);
  void release(Lane& lane, Scope scope);
  void acquire(Lane& lane, Scope scope);
  // The lanes know from now on what each of them did and knew.
  void meet(const std::vector<Lane*>& lanes);
  void lane_ends(Lane& lane);
  void block_ends(Block& block);
  void grid_ends(int device);
  // Time passes: some of what is pending moves on. Return whether anything did.
  bool pass(Block& block);
  bool pass_devices();
  // The lane has read or written the newest value.
  void note(Lane& lane, const uint8_t* host);

 private:
  struct Version {  // what a granule held before its newest change
    uint8_t* granule = nullptr;
    std::array<uint8_t, 16> old{};
    int device = 0;
    uint64_t block = 0;
    const Lane* lane = nullptr;      // who made the change
    std::array<uint64_t, 3> seen{};  // when the change became visible in the block, GPU, system
  };
  static constexpr uint64_t kVersions = 1 << 14;

  void to_block(StoreBuffer& from, std::size_t index, Block& block);
  void to_gpu(StoreBuffer& from, std::size_t index);
  void to_memory(StoreBuffer& from, std::size_t index);
  void push_lane(Lane& lane);
  void push_block(Block& block);
  void push_gpu(int device);
  void keep_version(const PendingStore& store);
  void overlay(const StoreBuffer& stores, const Lane& lane, const uint8_t* host, uint8_t* to,
               uint32_t bytes, int level, bool may_be_stale);
  static bool stale_wanted();
  static uint32_t new_patience();
  static uint64_t seen(const Lane& lane, const uint8_t* host);
  void add(StoreBuffer& stores, PendingStore store);

  std::vector<StoreBuffer> devices_;
  std::vector<Version> versions_;
  uint64_t time_ = 1;
};

}  // namespace cudasim
