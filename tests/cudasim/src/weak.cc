// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/weak.h"

#include <algorithm>
#include <cstring>

#include "tests/cudasim/src/machine.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

constexpr uint64_t kGranule = 16;
// What the buffers of a thread, a block and a GPU hold at most.
constexpr size_t kMostOfLane = 16;
constexpr size_t kMostOfBlock = 64;
constexpr size_t kMostOfGpu = 128;
constexpr int kBlockLevel = 0;
constexpr int kGpuLevel = 1;

bool meets(const PendingStore& store, const uint8_t* host, uint32_t bytes) {
  return store.host < host + bytes && host < store.host + store.bytes;
}

uint64_t granule_of(const uint8_t* host) { return reinterpret_cast<uint64_t>(host) / kGranule; }

void write(const PendingStore& store) {
  uint32_t at = 0;
  for (; at + 8 <= store.bytes; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, &store.data[at], 8);
    __atomic_store_n(reinterpret_cast<uint64_t*>(store.host + at), word, __ATOMIC_RELEASE);
  }
  std::memcpy(store.host + at, &store.data[at], store.bytes - at);
}

}  // namespace

void StoreBuffer::count(const PendingStore& store, int change) {
  const uint64_t last = granule_of(store.host + store.bytes - 1);
  for (uint64_t granule = granule_of(store.host); granule <= last; ++granule) {
    uint16_t& counter = counts_[granule % counts_.size()];
    counter = static_cast<uint16_t>(counter + change);
  }
}

void StoreBuffer::add(const PendingStore& store) {
  count(store, 1);
  stores_.push_back(store);
}

void StoreBuffer::remove(size_t index) {
  count(stores_[index], -1);
  stores_.erase(stores_.begin() + static_cast<ptrdiff_t>(index));
}

bool StoreBuffer::may_meet(const uint8_t* host, uint32_t bytes) const {
  if (stores_.empty()) return false;
  const uint64_t last = granule_of(host + bytes - 1);
  for (uint64_t granule = granule_of(host); granule <= last; ++granule)
    if (counts_[granule % counts_.size()] != 0) return true;
  return false;
}

size_t StoreBuffer::oldest(const uint8_t* host, uint32_t bytes) const {
  if (!may_meet(host, bytes)) return stores_.size();
  return static_cast<size_t>(
      std::ranges::find_if(stores_, [&](const auto& store) { return meets(store, host, bytes); }) -
      stores_.begin());
}

size_t StoreBuffer::before(size_t index) const {
  while (true) {
    const size_t first = oldest(stores_[index].host, stores_[index].bytes);
    if (first == index) return index;
    index = first;
  }
}

WeakMemory::WeakMemory() : devices_(machine().gpus().size()), versions_(kVersions) {}

void WeakMemory::start(Lane& lane) {
  lane.weak = std::make_unique<WeakLane>();
  lane.weak->view.until.fill(++time_);
}

uint32_t WeakMemory::new_patience() {
  constexpr uint32_t kPatience[] = {0, 0, 1, 3, 10, 60};
  return kPatience[scheduler().random().below(std::size(kPatience))];
}

bool WeakMemory::stale_wanted() { return scheduler().random().below(3) == 0; }

uint64_t WeakMemory::seen(const Lane& lane, const uint8_t* host) {
  const uint64_t granule = granule_of(host);
  const WeakLane::Seen& slot = lane.weak->seen[granule % lane.weak->seen.size()];
  return slot.granule == granule ? slot.time : 0;
}

// What is pushed out of the table counts as if all were known up to then.
void WeakMemory::note(Lane& lane, const uint8_t* host) {
  const uint64_t granule = granule_of(host);
  WeakLane::Seen& slot = lane.weak->seen[granule % lane.weak->seen.size()];
  if (slot.granule != granule && slot.time != 0)
    for (uint64_t& until : lane.weak->view.until) until = std::max(until, slot.time);
  slot = {granule, ++time_};
}

void WeakMemory::overlay(const StoreBuffer& stores, const Lane& lane, const uint8_t* host,
                         uint8_t* to, uint32_t bytes, int level, bool may_be_stale) {
  if (!stores.may_meet(host, bytes)) return;
  for (const PendingStore& store : stores.stores()) {
    if (!meets(store, host, bytes)) continue;
    if (level >= 0 && may_be_stale && store.lane != &lane) {
      // Who is of the block knows it by the block's barriers, however far it has come since.
      const bool of_block = store.block == lane.owner->block->serial;
      const uint64_t visible = of_block ? store.seen_in_block : store.seen_in_gpu;
      const uint64_t until = lane.weak->view.until[of_block ? kBlockLevel : level];
      const bool known = visible <= std::max(until, seen(lane, host));
      if (!known && stale_wanted()) continue;
    }
    for (uint32_t i = 0; i < store.bytes; ++i)
      if (store.host + i >= host && store.host + i < host + bytes)
        to[store.host + i - host] = store.data[i];
  }
}

void WeakMemory::load(Lane& lane, const uint8_t* host, uint8_t* to, uint32_t bytes,
                      bool may_be_stale) {
  const Block& block = *lane.owner->block;
  const int device = block.grid->device();
  for (uint32_t i = 0; i < bytes; i += 8) {
    if (bytes - i >= 8) {
      const uint64_t word =
          __atomic_load_n(reinterpret_cast<const uint64_t*>(host + i), __ATOMIC_ACQUIRE);
      std::memcpy(to + i, &word, 8);
    } else {
      std::memcpy(to + i, host + i, bytes - i);
    }
  }
  const Version& version = versions_[granule_of(host) % kVersions];
  if (may_be_stale && granule_of(version.granule) == granule_of(host)) {
    const int level = version.block == block.serial ? 0 : version.device == device ? 1 : 2;
    const bool known =
        version.lane == &lane ||
        version.seen[level] <= std::max(lane.weak->view.until[level], seen(lane, host));
    if (!known && stale_wanted()) std::memcpy(to, &version.old[host - version.granule], bytes);
  }
  overlay(devices_[device], lane, host, to, bytes, kGpuLevel, may_be_stale);
  overlay(block.stores, lane, host, to, bytes, kBlockLevel, may_be_stale);
  overlay(lane.weak->stores, lane, host, to, bytes, -1, false);
  note(lane, host);
}

void WeakMemory::add(StoreBuffer& stores, PendingStore store) {
  store.patience = new_patience();
  stores.add(store);
}

void WeakMemory::store(Lane& lane, uint8_t* host, const uint8_t* from, uint32_t bytes) {
  Block& block = *lane.owner->block;
  PendingStore store{.host = host,
                     .bytes = bytes,
                     .device = block.grid->device(),
                     .block = block.serial,
                     .lane = &lane};
  std::memcpy(store.data.data(), from, bytes);
  add(lane.weak->stores, store);
  note(lane, host);
  if (lane.weak->stores.size() > kMostOfLane)
    to_block(lane.weak->stores, scheduler().random().below(kMostOfLane), block);
}

void WeakMemory::store_line(Lane& lane, uint8_t* host, const uint8_t* from,
                            std::atomic<uint32_t>* line_lock) {
  Block& block = *lane.owner->block;
  push_lane(lane);
  PendingStore store{.host = host,
                     .bytes = 128,
                     .device = block.grid->device(),
                     .block = block.serial,
                     .lane = &lane,
                     .line_lock = line_lock};
  store.seen_in_block = ++time_;
  std::memcpy(store.data.data(), from, store.bytes);
  add(block.stores, store);
  note(lane, host);
}

void WeakMemory::to_block(StoreBuffer& from, size_t index, Block& block) {
  index = from.before(index);
  from[index].seen_in_block = ++time_;
  add(block.stores, from[index]);
  from.remove(index);
  if (block.stores.size() > kMostOfBlock)
    to_gpu(block.stores, scheduler().random().below(kMostOfBlock));
}

void WeakMemory::to_gpu(StoreBuffer& from, size_t index) {
  index = from.before(index);
  from[index].seen_in_gpu = ++time_;
  StoreBuffer& gpu = devices_[from[index].device];
  add(gpu, from[index]);
  from.remove(index);
  if (gpu.size() > kMostOfGpu) to_memory(gpu, scheduler().random().below(kMostOfGpu));
}

void WeakMemory::keep_version(const PendingStore& store) {
  const uint64_t now = ++time_;
  const uint64_t last = granule_of(store.host + store.bytes - 1);
  for (uint64_t granule = granule_of(store.host); granule <= last; ++granule) {
    Version& version = versions_[granule % kVersions];
    version.granule = reinterpret_cast<uint8_t*>(granule * kGranule);
    std::memcpy(version.old.data(), version.granule, kGranule);
    version.device = store.device;
    version.block = store.block;
    version.lane = store.lane;
    version.seen = {store.seen_in_block, store.seen_in_gpu, now};
  }
}

void WeakMemory::to_memory(StoreBuffer& from, size_t index) {
  index = from.before(index);
  keep_version(from[index]);
  if (from[index].line_lock != nullptr) {
    const PidLock lock(*from[index].line_lock);
    write(from[index]);
  } else {
    write(from[index]);
  }
  from.remove(index);
}

void WeakMemory::push_lane(Lane& lane) {
  while (!lane.weak->stores.empty()) to_block(lane.weak->stores, 0, *lane.owner->block);
}
void WeakMemory::push_block(Block& block) {
  while (!block.stores.empty()) to_gpu(block.stores, 0);
}
void WeakMemory::push_gpu(int device) {
  while (!devices_[device].empty()) to_memory(devices_[device], 0);
}

void WeakMemory::settle(Lane& lane, const uint8_t* host, uint32_t bytes) {
  Block& block = *lane.owner->block;
  StoreBuffer& gpu = devices_[block.grid->device()];
  StoreBuffer& own = lane.weak->stores;
  for (size_t i = 0; (i = own.oldest(host, bytes)) < own.size();) to_block(own, i, block);
  for (size_t i = 0; (i = block.stores.oldest(host, bytes)) < block.stores.size();)
    to_gpu(block.stores, i);
  for (size_t i = 0; (i = gpu.oldest(host, bytes)) < gpu.size();) to_memory(gpu, i);
}

void WeakMemory::release(Lane& lane, Scope scope) {
  push_lane(lane);
  if (scope == Scope::kBlock) return;
  push_block(*lane.owner->block);
  if (scope == Scope::kSystem) push_gpu(lane.owner->block->grid->device());
}

void WeakMemory::acquire(Lane& lane, Scope scope) {
  const uint64_t now = ++time_;
  for (uint32_t level = 0; level <= static_cast<uint32_t>(scope); ++level)
    lane.weak->view.until[level] = now;
}

void WeakMemory::meet(const std::vector<Lane*>& lanes) {
  View all;
  for (Lane* const lane : lanes) {
    push_lane(*lane);
    for (size_t level = 0; level < all.until.size(); ++level)
      all.until[level] = std::max(all.until[level], lane->weak->view.until[level]);
  }
  all.until[kBlockLevel] = ++time_;
  for (Lane* const lane : lanes) lane->weak->view = all;
}

void WeakMemory::lane_ends(Lane& lane) { push_lane(lane); }
void WeakMemory::block_ends(Block& block) { push_block(block); }
void WeakMemory::grid_ends(int device) { push_gpu(device); }

bool WeakMemory::pass(Block& block) {
  bool moved = false;
  const auto pass_buffer = [&moved](StoreBuffer& stores, auto&& move) {
    for (size_t i = 0; i < stores.size();) {
      if (stores[i].patience > 0) {
        --stores[i++].patience;
        continue;
      }
      moved = true;
      move(i);
    }
  };
  pass_buffer(block.stores, [&](size_t i) { to_gpu(block.stores, i); });
  for (const auto& lane : block.lanes)
    if (!lane->weak->stores.empty())
      pass_buffer(lane->weak->stores, [&](size_t i) { to_block(lane->weak->stores, i, block); });
  return moved;
}

bool WeakMemory::pass_devices() {
  bool moved = false;
  for (StoreBuffer& stores : devices_) {
    for (size_t i = 0; i < stores.size();) {
      if (stores[i].patience > 0) {
        --stores[i++].patience;
        continue;
      }
      moved = true;
      to_memory(stores, i);
    }
  }
  return moved;
}

}  // namespace cudasim
