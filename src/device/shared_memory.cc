// SPDX-License-Identifier: Apache-2.0
// The process-wide table of memory that peers can map: sealed memfds, found again by address.
#include <pthread.h>

#include <atomic>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include "src/base/error.h"
#include "src/device/device.h"

namespace tutti::device {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = size_t{2} << 20;

// Closes its file when the last user lets go; the memory itself is unmapped by free_shared, or by
// the last user when the process never frees it.
struct OwnedRegion : SharedRegion {
  FileDescriptor file;
  Mapping memory;
};

// Who wants to hear of frees, in one process.
struct Listeners {
  std::mutex mutex;  // held while listeners run, which may take locks of their own
  std::map<uint64_t, std::pair<FreeListener, void*>> by_id;
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
  region->bytes = (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  region->file = create_sealed_memfd("tutti-memory", region->bytes);
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
  {
    Table& t = table();
    const std::lock_guard lock(t.listeners->mutex);
    for (const auto& [id, listener] : t.listeners->by_id)
      listener.first(listener.second, region->id);
  }
  region->memory.reset();
}

std::shared_ptr<const SharedRegion> find_shared(const void* data, size_t bytes) noexcept {
  Table& t = table();
  const auto address = reinterpret_cast<uintptr_t>(data);
  const std::shared_lock lock(t.table_mutex);
  auto next = t.regions.upper_bound(address);
  if (next == t.regions.begin()) return nullptr;
  const std::shared_ptr<OwnedRegion>& region = std::prev(next)->second;
  const size_t offset = address - reinterpret_cast<uintptr_t>(region->base);
  if (offset >= region->bytes || bytes > region->bytes - offset) return nullptr;
  return region;
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

uint64_t add_free_listener(FreeListener listener, void* context) {
  Table& t = table();
  const uint64_t id = t.last_listener_id.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::lock_guard lock(t.listeners->mutex);
  t.listeners->by_id.emplace(id, std::pair{listener, context});
  return id;
}

void remove_free_listener(uint64_t id) noexcept {
  Table& t = table();
  const std::lock_guard lock(t.listeners->mutex);
  t.listeners->by_id.erase(id);
}

}  // namespace tutti::device
