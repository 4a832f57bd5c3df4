// SPDX-License-Identifier: Apache-2.0
// The public handle types: addresses in tables that are never freed, so that a handle that was
// destroyed, or never was one, is recognised without reading foreign memory.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "src/base/liveness.h"
#include "src/comm/handle.h"
#include "src/comm/stream.h"
#include "src/comm/window.h"
#include "tutti/tutti.h"

namespace tutti::api {

// What a live handle stands for.
template <typename T>
struct Resource {
  T value;
};

// What messages say about one kind of handle.
struct HandleKind {
  const char* what;    // "communicator"
  const char* source;  // "tuttiCommInit*"
};
[[noreturn]] void refuse_null(const char* name, const HandleKind& kind);
[[noreturn]] void refuse_dead(const char* name, const void* handle, const HandleKind& kind);
[[noreturn]] void refuse_inherited(const char* name, const void* handle, const HandleKind& kind,
                                   int32_t owner);
[[noreturn]] void refuse_more(const HandleKind& kind, size_t most);

// The handles of one kind. Any thread, no locks. A slot is used again only after all others have
// had their turn, so a stale handle is noticed for long.
template <typename Slot>
class Handles {
 public:
  using Value = typename Slot::Value;
  using Owner = std::unique_ptr<Resource<Value>>;
  static constexpr size_t kMost = size_t{1} << 18;

  template <typename... Arguments>
  static Owner make(Arguments&&... arguments) {
    return Owner(new Resource<Value>{{std::forward<Arguments>(arguments)...}});
  }
  // Throws SystemError when kMost handles are live.
  static Slot* publish(Owner owner) {
    for (size_t tries = 0; tries < kMost; ++tries) {
      Slot& slot = slots_[next_.fetch_add(1, std::memory_order_relaxed) % kMost];
      if (slot.resource.load(std::memory_order_relaxed) != nullptr) continue;
      // Whoever else tries for this slot now is of this process too.
      slot.pid.store(own_pid(), std::memory_order_relaxed);
      Resource<Value>* expected = nullptr;
      // release pairs with the acquire in peek(): whoever sees the resource sees it whole.
      if (!slot.resource.compare_exchange_strong(expected, owner.get(), std::memory_order_release,
                                                 std::memory_order_relaxed)) {
        continue;
      }
      (void)owner.release();  // the slot has it now
      return &slot;
    }
    refuse_more(Slot::kKind, kMost);
  }

  // Throws InvalidArgument for what is no live handle, InvalidUsage for one of a parent process.
  // `name` is the argument's. Valid until take().
  static Value& find(Slot* handle, const char* name) { return checked(handle, name)->value; }
  // Ends the handle: from now on it is refused. Throws as find(); of two threads one wins.
  static Owner take(Slot* handle, const char* name) {
    Resource<Value>* resource = checked(handle, name);
    if (!handle->resource.compare_exchange_strong(resource, nullptr, std::memory_order_acquire,
                                                  std::memory_order_relaxed)) {
      refuse_dead(name, handle, Slot::kKind);
    }
    return Owner(resource);
  }
  // Null for what no live handle is; the process that made it may be another one.
  static Value* find_of_any_process(Slot* handle) noexcept {
    Resource<Value>* const resource = peek(handle);
    return resource == nullptr ? nullptr : &resource->value;
  }
  // Null for what find() would refuse.
  static Value* find_if_live(Slot* handle) noexcept {
    Value* const value = find_of_any_process(handle);
    const bool own = value != nullptr && handle->pid.load(std::memory_order_relaxed) == own_pid();
    return own ? value : nullptr;
  }

 private:
  static Resource<Value>* peek(Slot* handle) noexcept {
    const uintptr_t offset =
        reinterpret_cast<uintptr_t>(handle) - reinterpret_cast<uintptr_t>(slots_.data());
    // Turned right, so that what is no multiple of the size is too large as well.
    static_assert(std::has_single_bit(sizeof(Slot)));
    if (std::rotr(offset, std::countr_zero(sizeof(Slot))) >= kMost) return nullptr;
    return handle->resource.load(std::memory_order_acquire);  // pairs with publish()
  }
  static Resource<Value>* checked(Slot* handle, const char* name) {
    if (handle == nullptr) [[unlikely]]
      refuse_null(name, Slot::kKind);
    Resource<Value>* resource = peek(handle);
    if (resource == nullptr) [[unlikely]]
      refuse_dead(name, handle, Slot::kKind);
    // Read in the slot: another thread may be ending the handle, and the resource with it.
    const int32_t pid = handle->pid.load(std::memory_order_relaxed);
    if (pid != own_pid()) [[unlikely]]
      refuse_inherited(name, handle, Slot::kKind, pid);
    return resource;
  }

  static inline constinit std::array<Slot, kMost> slots_{};  // untouched pages cost nothing
  static inline constinit std::atomic<size_t> next_{0};      // relaxed: a number
};

// A window as its user holds it.
struct WindowRef {
  std::shared_ptr<comm::Window> window;  // shared: queued puts keep it
};

// What the slot of a kind of handle holds.
template <typename T>
struct HandleSlot {
  using Value = T;
  // Null unless the handle is live; release in publish(), acquire in peek().
  std::atomic<Resource<T>*> resource{nullptr};
  // Of the process that made it; relaxed, written before `resource` is.
  std::atomic<int32_t> pid{0};
};

}  // namespace tutti::api

struct tuttiComm final : tutti::api::HandleSlot<tutti::comm::Handle> {
  static constexpr tutti::api::HandleKind kKind{"communicator", "tuttiCommInit* or tuttiCommSplit"};
};
struct tuttiStream final : tutti::api::HandleSlot<tutti::comm::Stream> {
  static constexpr tutti::api::HandleKind kKind{"stream", "tuttiStreamCreate"};
};
struct tuttiWindow final : tutti::api::HandleSlot<tutti::api::WindowRef> {
  static constexpr tutti::api::HandleKind kKind{"window", "tuttiCommWindowRegister"};
};

namespace tutti::api {

// Null for the NULL stream.
inline comm::Stream* stream_of(tuttiStream_t stream) {
  return stream == nullptr ? nullptr : &Handles<tuttiStream>::find(stream, "stream");
}

}  // namespace tutti::api
