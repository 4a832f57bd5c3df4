// SPDX-License-Identifier: Apache-2.0
// Memory that collectives can share between processes, and the table that finds it again by
// pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "src/base/file.h"

namespace tutti::device {

// Memory from tuttiMemAlloc: a sealed memfd mapped into this process, which peers can map too.
struct SharedRegion {
  uint64_t id = 0;  // unique within the process, never reused
  std::byte* base = nullptr;
  size_t bytes = 0;  // rounded up to whole pages
  int fd = -1;       // owned by the table; valid as long as the shared_ptr is held
};

// Allocates zeroed, page-aligned memory (huge-page advised from 2 MiB) and enters it into the
// table. Throws SystemError.
void* allocate_shared(size_t bytes);
// Unmaps memory from allocate_shared, detached or not. Throws InvalidArgument for any other
// pointer. Callbacks of listeners run first.
void free_shared(void* base);

// The region that contains [data, data+bytes) completely; null when there is none. Takes a shared
// lock; callers cache the result (shared_generation() tells when a cached null or pointer is
// stale). Holding it keeps the file open, not the memory mapped.
std::shared_ptr<const SharedRegion> find_shared(const void* data, size_t bytes) noexcept;
bool with_shared_call(const std::byte* base, uint64_t id, void (*use)(void*),
                      void* context) noexcept;
// Calls `use` if the region that starts at `base` still is the one with this id, keeping it from
// being freed meanwhile; false when it is not. `use` must not allocate or free shared memory, nor
// wait.
template <typename Use>
bool with_shared(const std::byte* base, uint64_t id, Use use) noexcept {
  return with_shared_call(
      base, id, [](void* context) { (*static_cast<Use*>(context))(); }, &use);
}

// Takes the memory that contains `data` away from the peers: from now on nobody else reads or
// writes it, at the same address and with the same contents. Writes of this process's threads
// meanwhile are kept; a peer's is seen whole, in part or not at all. Peers that still have the
// region see its file, which this process has left. find_shared() does not know the memory until
// attach_shared(). Nothing happens when it is not shared. Throws SystemError when the kernel
// refuses.
void detach_shared(const void* data);
// Makes memory that detach_shared() has taken away a region again, with an id of its own and the
// same contents. No thread may write to it meanwhile. Nothing happens when it was not taken away.
// Throws SystemError.
void attach_shared(const void* data);

// Changes with every allocate_shared, free_shared, detach_shared and attach_shared.
uint64_t shared_generation() noexcept;

// What has become of a region.
enum class Loss : uint8_t { kFreed, kDetached };
// Called with the region's id after it has been removed from the table and before its memory is
// unmapped, on the thread that frees or detaches; transports drop what peers were told about it. A
// detached region is reported again when it is freed. A listener must not add or remove listeners.
// After remove_loss_listener() has returned it does not run and will not run again.
using LossListener = void (*)(void* context, uint64_t region_id, Loss loss);
uint64_t add_loss_listener(LossListener listener, void* context);
void remove_loss_listener(uint64_t id) noexcept;

}  // namespace tutti::device
