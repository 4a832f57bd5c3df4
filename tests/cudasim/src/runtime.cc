// SPDX-License-Identifier: Apache-2.0
// The functions that device primitives are made of (cudasim/kernel_abi.h).
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/scheduler.h"

#define CUDASIM_ENTRY extern "C" __attribute__((visibility("default")))
// Where the kernel calls from. The primitives are inlined into it.
#define CUDASIM_PLACE (scheduler().current().place = __builtin_return_address(0))

namespace cudasim {
namespace {

// As one access where that is possible, so that no other process sees half of it.
void read_memory(void* to, const uint8_t* host, uint32_t bytes) {
  switch (bytes) {
    case 1:
      *static_cast<uint8_t*>(to) = *host;
      return;
    case 2:
      __atomic_load(reinterpret_cast<const uint16_t*>(host), static_cast<uint16_t*>(to),
                    __ATOMIC_ACQUIRE);
      return;
    case 4:
      __atomic_load(reinterpret_cast<const uint32_t*>(host), static_cast<uint32_t*>(to),
                    __ATOMIC_ACQUIRE);
      return;
    case 8:
      __atomic_load(reinterpret_cast<const uint64_t*>(host), static_cast<uint64_t*>(to),
                    __ATOMIC_ACQUIRE);
      return;
    default:  // halves may be seen apart
      read_memory(to, host, 8);
      read_memory(static_cast<uint8_t*>(to) + 8, host + 8, 8);
  }
}

void write_memory(uint8_t* host, const void* from, uint32_t bytes) {
  switch (bytes) {
    case 1:
      *host = *static_cast<const uint8_t*>(from);
      return;
    case 2:
      __atomic_store(reinterpret_cast<uint16_t*>(host),
                     static_cast<uint16_t*>(const_cast<void*>(from)), __ATOMIC_RELEASE);
      return;
    case 4:
      __atomic_store(reinterpret_cast<uint32_t*>(host),
                     static_cast<uint32_t*>(const_cast<void*>(from)), __ATOMIC_RELEASE);
      return;
    case 8:
      __atomic_store(reinterpret_cast<uint64_t*>(host),
                     static_cast<uint64_t*>(const_cast<void*>(from)), __ATOMIC_RELEASE);
      return;
    default:
      write_memory(host, from, 8);
      write_memory(host + 8, static_cast<const uint8_t*>(from) + 8, 8);
  }
}

// Reads what is there for the lane, now.
void fetch(Lane& lane, const Target& target, void* to, uint32_t bytes, Access access) {
  WeakMemory* const weak = scheduler().weak();
  if (weak == nullptr || target.region == nullptr) return read_memory(to, target.host, bytes);
  weak->load(lane, target.host, static_cast<uint8_t*>(to), bytes, true);
  if (access.kind == Kind::kOrdered) weak->acquire(lane, access.scope);
}

// So many reads of the same value by weak loads, and nothing else, is a loop that the compiler may
// turn into one load and an endless loop.
constexpr uint32_t kMostWeakRepeats = 2'000;
constexpr uint32_t kYieldEvery = 64;

bool is_weak_repeat(Lane& lane, uint64_t address, const Target& target, const void* value,
                    uint32_t bytes) {
  Watch& last = lane.weak_watch;
  const bool same = last.address == address && last.bytes == bytes &&
                    std::memcmp(last.value.data(), value, bytes) == 0;
  if (!same) {
    last.address = address;
    last.host = target.host;
    last.bytes = bytes;
    std::memcpy(last.value.data(), value, bytes);
    lane.weak_repeats = 0;
    lane.did_something = true;
    return false;
  }
  if (++lane.weak_repeats > kMostWeakRepeats && config().strict)
    scheduler().fail(Result::kLaunchFailed,
                     fmt::format("spins on a weak load of {} bytes at 0x{:x}, which the compiler "
                                 "may take out of the loop: a volatile, relaxed or acquire load "
                                 "is needed",
                                 bytes, address));
  return lane.weak_repeats % kYieldEvery == 0;
}

void spin(Lane& lane) {
  lane.state = LaneState::kSpins;
  scheduler().leave();
  ++lane.turn;
  lane.looked_at_clock = false;
}

void check_sync(Lane& lane, const Target& target, uint64_t address, Access access) {
  if (!config().strict || target.region == nullptr || access.kind == Kind::kWeak) return;
  check_scope(lane, *target.region, address, access.scope);
}

}  // namespace
}  // namespace cudasim

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file defines C functions

CUDASIM_ENTRY void cudasim_load(const void* from, void* to, uint32_t bytes, Access access) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const auto address = reinterpret_cast<uint64_t>(from);
  const Target target = check_access(lane, from, bytes, false);
  if (bytes <= 8) check_sync(lane, target, address, access);
  fetch(lane, target, to, bytes, access);
  if (access.kind == Kind::kWeak) {
    if (!is_weak_repeat(lane, address, target, to, bytes)) return;
    lane.last_watch = &lane.weak_watch;
  } else {
    lane.weak_repeats = 0;
    if (!is_repeated(lane, address, target.host, static_cast<uint8_t*>(to), bytes)) return;
  }
  spin(lane);
  fetch(lane, check_access(lane, from, bytes, false), to, bytes, access);
  if (access.kind != Kind::kWeak)
    is_repeated(lane, address, target.host, static_cast<uint8_t*>(to), bytes);
}

CUDASIM_ENTRY void cudasim_store(void* to, const void* from, uint32_t bytes, Access access) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const Target target = check_access(lane, to, bytes, true);
  if (bytes <= 8) check_sync(lane, target, reinterpret_cast<uint64_t>(to), access);
  lane.did_something = true;
  WeakMemory* const weak = scheduler().weak();
  if (weak == nullptr || target.region == nullptr) return write_memory(target.host, from, bytes);
  if (access.kind == Kind::kOrdered) weak->release(lane, access.scope);
  if (bytes < 16) return weak->store(lane, target.host, static_cast<const uint8_t*>(from), bytes);
  // The halves may be seen one before the other.
  weak->store(lane, target.host, static_cast<const uint8_t*>(from), 8);
  weak->store(lane, target.host + 8, static_cast<const uint8_t*>(from) + 8, 8);
}

namespace {

template <class T>
uint64_t change(uint8_t* host, Atomic op, uint64_t operand, uint64_t expected) {
  auto* const word = reinterpret_cast<T*>(host);
  auto old = static_cast<T>(expected);
  switch (op) {
    case Atomic::kAdd:
      return __atomic_fetch_add(word, static_cast<T>(operand), __ATOMIC_SEQ_CST);
    case Atomic::kExchange:
      return __atomic_exchange_n(word, static_cast<T>(operand), __ATOMIC_SEQ_CST);
    case Atomic::kCas:
      __atomic_compare_exchange_n(word, &old, static_cast<T>(operand), false, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST);
      return old;
  }
  return 0;
}

}  // namespace

CUDASIM_ENTRY uint64_t cudasim_atomic(void* at, uint32_t bytes, Atomic op, uint64_t operand,
                                      uint64_t expected, Access access) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const auto address = reinterpret_cast<uint64_t>(at);
  const Target target = check_access(lane, at, bytes, true);
  check_sync(lane, target, address, access);
  lane.weak_repeats = 0;
  WeakMemory* const weak = target.region != nullptr ? scheduler().weak() : nullptr;
  if (weak != nullptr) {
    if (access.kind == Kind::kOrdered) weak->release(lane, access.scope);
    weak->settle(lane, target.host, bytes);
  }
  const uint64_t old = bytes == 4 ? change<uint32_t>(target.host, op, operand, expected)
                                  : change<uint64_t>(target.host, op, operand, expected);
  if (weak != nullptr) {
    weak->note(lane, target.host);
    if (access.kind == Kind::kOrdered) weak->acquire(lane, access.scope);
  }
  const bool changed = op == Atomic::kAdd        ? operand != 0
                       : op == Atomic::kExchange ? old != operand
                                                 : old == expected && operand != expected;
  if (changed) {
    lane.did_something = true;
    return old;
  }
  if (is_repeated(lane, address, target.host, reinterpret_cast<const uint8_t*>(&old), bytes))
    spin(lane);
  return old;
}

CUDASIM_ENTRY void cudasim_fence(Scope scope) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  if (scheduler().weak() == nullptr) return;
  scheduler().weak()->release(lane, scope);
  scheduler().weak()->acquire(lane, scope);
}

CUDASIM_ENTRY void cudasim_fence_alias() {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  if (scheduler().weak() == nullptr) return;
  scheduler().weak()->release(lane, Scope::kSystem);
  scheduler().weak()->acquire(lane, Scope::kSystem);
}

CUDASIM_ENTRY bool cudasim_block_barrier(bool value) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  lane.weak_repeats = 0;
  scheduler().arrive(lane, value);
  return lane.owner->block->any_result;
}

CUDASIM_ENTRY uint64_t cudasim_warp(WarpOp op, uint32_t mask, uint64_t value, uint32_t from) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  lane.op = op;
  lane.line = LineOp::kNone;
  lane.mask = mask;
  lane.value = value;
  lane.from = from;
  scheduler().arrive_at_warp_op(lane);
  return lane.value;
}

namespace {

void meet_for_line(Lane& lane, LineOp op, const void* address, bool active) {
  lane.op = WarpOp::kBarrier;
  lane.line = op;
  lane.mask = ~0U;
  lane.line_address = reinterpret_cast<uint64_t>(address);
  lane.line_host = active ? check_access(lane, address, 16, op == LineOp::kStore).host : nullptr;
  scheduler().arrive_at_warp_op(lane);
  ++lane.turn;
  lane.looked_at_clock = false;
}

}  // namespace

CUDASIM_ENTRY void cudasim_load_line(const void* from, void* to, bool active) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  meet_for_line(lane, LineOp::kLoad, from, active);
  if (active) std::memcpy(to, lane.line_data.data(), 16);
}

CUDASIM_ENTRY void cudasim_store_line(void* to, const void* from, bool active) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  std::memcpy(lane.line_data.data(), from, 16);
  meet_for_line(lane, LineOp::kStore, to, active);
}

CUDASIM_ENTRY uint32_t cudasim_multimem_load(const void* from, void* to) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const Replicas replicas = check_multimem(lane, from, 16, false);
  auto* values = static_cast<uint8_t*>(to);
  WeakMemory* const weak = scheduler().weak();
  for (uint32_t i = 0; i < replicas.count; ++i, values += 16) {
    if (weak != nullptr) {
      weak->load(lane, replicas.host[i], values, 16, true);
    } else {
      read_memory(values, replicas.host[i], 16);
    }
  }
  lane.did_something = true;
  return replicas.count;
}

CUDASIM_ENTRY void cudasim_multimem_store(void* to, const void* from) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const Replicas replicas = check_multimem(lane, to, 16, true);
  WeakMemory* const weak = scheduler().weak();
  for (uint32_t i = 0; i < replicas.count; ++i) {
    if (weak != nullptr) {
      weak->store(lane, replicas.host[i], static_cast<const uint8_t*>(from), 16);
    } else {
      write_memory(replicas.host[i], from, 16);
    }
  }
  lane.did_something = true;
}

CUDASIM_ENTRY void cudasim_multimem_add(void* at, uint32_t value) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  const Replicas replicas = check_multimem(lane, at, 4, true);
  if (scheduler().weak() != nullptr) scheduler().weak()->release(lane, Scope::kSystem);
  for (uint32_t i = 0; i < replicas.count; ++i) {
    if (scheduler().weak() != nullptr) scheduler().weak()->settle(lane, replicas.host[i], 4);
    change<uint32_t>(replicas.host[i], Atomic::kAdd, value, 0);
    if (scheduler().weak() != nullptr) scheduler().weak()->note(lane, replicas.host[i]);
  }
  lane.did_something = true;
}

CUDASIM_ENTRY void* cudasim_shared(const void* key, uint64_t bytes, uint64_t align) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  Block& block = *lane.owner->block;
  void*& object = block.objects[key];
  if (object != nullptr) return object;
  const uint64_t from = round_up(block.arena_used, std::max<uint64_t>(align, 16));
  if (block.arena_base + from + bytes > block.arena.data() + block.arena.size())
    scheduler().fail(Result::kLaunchOutOfResources,
                     fmt::format("declares {} bytes of shared memory, beyond the 48 KiB that a "
                                 "block may declare",
                                 bytes));
  block.arena_used = from + bytes;
  return object = block.arena_base + from;
}

CUDASIM_ENTRY void cudasim_sleep(uint32_t ns) {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  if (ns == 0) return;
  constexpr uint32_t kLongest = 1'000'000;
  lane.wake_ns = now_ns() + std::min(ns, kLongest);
  lane.state = LaneState::kSleeps;
  scheduler().leave();
  ++lane.turn;
}

CUDASIM_ENTRY uint64_t cudasim_clock() {
  Lane& lane = scheduler().current();
  CUDASIM_PLACE;
  lane.looked_at_clock = true;
  return static_cast<uint64_t>(now_ns());
}

CUDASIM_ENTRY void cudasim_trap() {
  CUDASIM_PLACE;
  scheduler().fail(Result::kIllegalInstruction, "traps");
}
