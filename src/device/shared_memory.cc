// SPDX-License-Identifier: Apache-2.0
// The process-wide table of memory that peers can map: sealed memfds, found again by address.
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include "src/base/error.h"
#include "src/base/memory_budget.h"
#include "src/device/device.h"

namespace tutti::device {
namespace {

constexpr const char* kMemoryName = "tutti-memory";
constexpr size_t kHugePageBytes = size_t{2} << 20;

// Closes its file when the last user lets go; the memory itself is unmapped by free_shared, or by
// the last user when the process never frees it.
struct OwnedRegion : SharedRegion {
  FileDescriptor file;
  Mapping memory;                    // moves on to the region's successor
  bool detached = false;             // private memory, which no file shares
  std::vector<uint64_t> former_ids;  // of the same memory, before it was detached
};

// Who wants to hear of frees, in one process.
struct Listeners {
  std::mutex mutex;  // held while listeners run, which may take locks of their own
  std::map<uint64_t, std::pair<LossListener, void*>> by_id;
  Listeners* inherited = nullptr;  // of the parent process: kept, never used
};

// Lock order: Listeners::mutex, then whatever a listener takes (table_mutex included). table_mutex
// is a leaf: nothing is waited for while it is held (what with_shared() calls moves bytes).
struct Table {
  std::shared_mutex table_mutex;
  std::map<uintptr_t, std::shared_ptr<OwnedRegion>> regions;  // by base address
  uint64_t last_region_id = 0;                                // guarded by table_mutex
  std::atomic<uint64_t> generation{
      0};  // release by change() pairs with acquire in shared_generation()

  Listeners* listeners = new Listeners;  // changes only in a forked child, which has one thread
  // relaxed: a number; goes on in a forked child, where inherited transports may still remove
  // theirs
  std::atomic<uint64_t> last_listener_id{0};

  // With table_mutex held: the only writer, so no read-modify-write is needed.
  void change() {
    generation.store(generation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
};

Table& table();

// A forked child inherits the memory, so it keeps the table, whose lock is held across fork():
// being a leaf, it can be waited for whatever other locks fork() holds. Listeners belong to the
// parent's transports. Their lock is not waited for, because a listener that runs meanwhile may
// itself wait for a lock that fork() holds; the child starts with fresh ones.
Table* make_table() {
  auto* made = new Table;
  ::pthread_atfork([] { table().table_mutex.lock(); }, [] { table().table_mutex.unlock(); },
                   [] {
                     Table& t = table();
                     // A writer's lock can't be released by another thread id than took it, and
                     // the child's differs: start afresh.
                     std::construct_at(&t.table_mutex);
                     auto* fresh = new Listeners;
                     fresh->inherited = t.listeners;
                     t.listeners = fresh;
                   });
  return made;
}

// Never destroyed: communicators in static storage may free memory after this file's statics would
// have gone.
Table& table() {
  static Table& instance = *make_table();
  return instance;
}

// With table_mutex held: the region that contains the byte; null when there is none.
std::shared_ptr<OwnedRegion>* find_locked(Table& t, const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  const auto next = t.regions.upper_bound(address);
  if (next == t.regions.begin()) return nullptr;
  std::shared_ptr<OwnedRegion>& region = std::prev(next)->second;
  return address - reinterpret_cast<uintptr_t>(region->base) < region->bytes ? &region : nullptr;
}

void tell(uint64_t region_id, Loss loss) {
  Table& t = table();
  const std::lock_guard lock(t.listeners->mutex);
  for (const auto& [id, listener] : t.listeners->by_id)
    listener.first(listener.second, region_id, loss);
}

// Gives every page a private copy by writing to it what it holds.
void copy_pages(std::byte* base, size_t bytes) noexcept {
#ifdef MADV_POPULATE_WRITE
  if (::madvise(base, bytes, MADV_POPULATE_WRITE) == 0) return;
#endif
  for (size_t at = 0; at < bytes; at += kPageBytes) {
    // Relaxed: the exchange need only be a write that can't overtake another thread's.
    const std::atomic_ref<uint8_t> first(*reinterpret_cast<uint8_t*>(base + at));
    uint8_t value = first.load(std::memory_order_relaxed);
    while (!first.compare_exchange_weak(value, value, std::memory_order_relaxed)) {
    }
  }
}

// With table_mutex held: the same memory under a new id.
std::shared_ptr<OwnedRegion> succeed_locked(Table& t, std::shared_ptr<OwnedRegion>& region) {
  auto next = std::make_shared<OwnedRegion>();
  next->bytes = region->bytes;
  next->base = region->base;
  next->former_ids = region->former_ids;
  next->former_ids.push_back(region->id);
  next->memory = std::move(region->memory);
  next->id = ++t.last_region_id;
  std::swap(next, region);
  t.change();
  return next;
}

void map_over(std::byte* base, size_t bytes, int sharing, int fd) {
  if (::mmap(base, bytes, PROT_READ | PROT_WRITE, sharing | MAP_FIXED, fd, 0) != MAP_FAILED) return;
  throw system_error(
      "can't replace the pages of " + std::to_string(bytes) + " bytes of tuttiMemAlloc", errno);
}

std::shared_ptr<OwnedRegion> take_region(void* base) {
  Table& t = table();
  const std::unique_lock lock(t.table_mutex);
  const auto found = t.regions.find(reinterpret_cast<uintptr_t>(base));
  if (found == t.regions.end()) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("ptr is {}; it must be the start of memory from tuttiMemAlloc that has "
                            "not been freed yet",
                            base));
  }
  std::shared_ptr<OwnedRegion> region = std::move(found->second);
  t.regions.erase(found);
  t.change();
  return region;
}

}  // namespace

void* allocate_shared(size_t bytes) {
  if (bytes == 0) bytes = 1;
  if (bytes > SIZE_MAX - kPageBytes) {
    throw Error(StatusCode::kInvalidArgument, "tuttiMemAlloc: " + std::to_string(bytes) +
                                                  " bytes is more than an address space holds");
  }
  auto region = std::make_shared<OwnedRegion>();
  region->bytes = whole_pages(bytes);
  region->file = create_sealed_memfd(kMemoryName, region->bytes);
  region->memory = Mapping(region->file.get(), region->bytes);
  region->fd = region->file.get();
  region->base = region->memory.data();
  // Advice only: without huge pages for shared memory the kernel refuses it, and small pages do.
  if (region->bytes >= kHugePageBytes) (void)madvise(region->base, region->bytes, MADV_HUGEPAGE);

  Table& t = table();
  const std::unique_lock lock(t.table_mutex);
  region->id = ++t.last_region_id;
  std::byte* base = region->base;
  t.regions.emplace(reinterpret_cast<uintptr_t>(base), std::move(region));
  t.change();
  return base;
}

void free_shared(void* base) {
  const std::shared_ptr<OwnedRegion> region = take_region(base);
  for (const uint64_t former : region->former_ids) tell(former, Loss::kFreed);
  if (!region->detached) tell(region->id, Loss::kFreed);
  region->memory.reset();
}

// Pages that nobody has written since the private mapping was made are still the file's, so each is
// written once. No write of this process is lost: before the exchange of mappings it went to the
// file, from which the copy is made; afterwards it makes the copy.
void detach_shared(const void* data) {
  Table& t = table();
  std::shared_ptr<OwnedRegion> former;
  {
    const std::unique_lock lock(t.table_mutex);
    std::shared_ptr<OwnedRegion>* const region = find_locked(t, data);
    if (region == nullptr || (*region)->detached) return;
    map_over((*region)->base, (*region)->bytes, MAP_PRIVATE, (*region)->fd);
    copy_pages((*region)->base, (*region)->bytes);
    former = succeed_locked(t, *region);
    (*region)->detached = true;
  }
  tell(former->id, Loss::kDetached);
}

void attach_shared(const void* data) {
  Table& t = table();
  const std::unique_lock lock(t.table_mutex);
  std::shared_ptr<OwnedRegion>* const region = find_locked(t, data);
  if (region == nullptr || !(*region)->detached) return;
  FileDescriptor file = create_sealed_memfd(kMemoryName, (*region)->bytes);
  {
    const Mapping fresh(file.get(), (*region)->bytes);
    std::memcpy(fresh.data(), (*region)->base, (*region)->bytes);
  }
  map_over((*region)->base, (*region)->bytes, MAP_SHARED, file.get());
  succeed_locked(t, *region);
  (*region)->file = std::move(file);
  (*region)->fd = (*region)->file.get();
  (*region)->former_ids.pop_back();  // peers never saw the private one
}

std::shared_ptr<const SharedRegion> find_shared(const void* data, size_t bytes) noexcept {
  Table& t = table();
  const auto address = reinterpret_cast<uintptr_t>(data);
  const std::shared_lock lock(t.table_mutex);
  const std::shared_ptr<OwnedRegion>* const region = find_locked(t, data);
  if (region == nullptr || (*region)->detached) return nullptr;
  const size_t offset = address - reinterpret_cast<uintptr_t>((*region)->base);
  return bytes > (*region)->bytes - offset ? nullptr : *region;
}

bool with_shared_call(const std::byte* base, uint64_t id, void (*use)(void*),
                      void* context) noexcept {
  Table& t = table();
  const std::shared_lock lock(t.table_mutex);
  const auto found = t.regions.find(reinterpret_cast<uintptr_t>(base));
  if (found == t.regions.end() || found->second->id != id) return false;
  use(context);
  return true;
}

uint64_t shared_generation() noexcept { return table().generation.load(std::memory_order_acquire); }

uint64_t add_loss_listener(LossListener listener, void* context) {
  Table& t = table();
  const uint64_t id = t.last_listener_id.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::lock_guard lock(t.listeners->mutex);
  t.listeners->by_id.emplace(id, std::pair{listener, context});
  return id;
}

void remove_loss_listener(uint64_t id) noexcept {
  Table& t = table();
  const std::lock_guard lock(t.listeners->mutex);
  t.listeners->by_id.erase(id);
}

}  // namespace tutti::device
