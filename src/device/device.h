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
// Unmaps memory from allocate_shared. Throws InvalidArgument for any other pointer. Callbacks of
// listeners run first.
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

// Changes with every allocate_shared and free_shared.
uint64_t shared_generation() noexcept;

// Called with the region's id after it has been removed from the table and before its memory is
// unmapped, on the thread that frees; transports drop what peers were told about it. A listener
// must not add or remove listeners. After remove_free_listener() has returned it does not run and
// will not run again.
using FreeListener = void (*)(void* context, uint64_t region_id);
uint64_t add_free_listener(FreeListener listener, void* context);
void remove_free_listener(uint64_t id) noexcept;

}  // namespace tutti::device
