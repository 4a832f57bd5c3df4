// SPDX-License-Identifier: Apache-2.0
// The device primitives (contract: src/kernels/cuda/primitives.h, which includes this) for g++ and
// the simulated GPU. Each is inlined into the kernel, so that reports name the kernel's own lines.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include <cudasim/kernel_abi.h>

#include "src/kernels/cuda/small_float.h"

#define CUDASIM_INLINE [[gnu::always_inline]] inline

#define TUTTI_KERNEL_BOUNDS(name, Args, max_threads, min_blocks)                              \
  static void name(const Args& args);                                                         \
  static void cudasim_run_##name(const void* args) { name(*static_cast<const Args*>(args)); } \
  static_assert(std::is_trivially_copyable_v<Args>);                                          \
  extern "C" __attribute__((visibility("default"), used))                                     \
  const ::cudasim::KernelDescriptor cudasim_kernel_##name = {                                 \
      ::cudasim::kKernelAbi, sizeof(Args), alignof(Args), (max_threads), cudasim_run_##name}; \
  static void name([[maybe_unused]] const Args& args)
#define TUTTI_KERNEL(name, Args) TUTTI_KERNEL_BOUNDS(name, Args, 0, 0)

#define TUTTI_SHARED(Type, name)                                                     \
  static const char cudasim_key_##name = 0;                                          \
  using CudasimShared_##name = Type;                                                 \
  CudasimShared_##name& name = *static_cast<CudasimShared_##name*>(::cudasim_shared( \
      &cudasim_key_##name, sizeof(CudasimShared_##name), alignof(CudasimShared_##name)))

namespace tutti::gpu {
namespace sim {

constexpr ::cudasim::Scope scope_of(Scope scope) { return static_cast<::cudasim::Scope>(scope); }
inline constexpr ::cudasim::Access kWeak{::cudasim::Kind::kWeak, ::cudasim::Scope::kSystem};
inline constexpr ::cudasim::Access kVolatile{::cudasim::Kind::kVolatile, ::cudasim::Scope::kSystem};
constexpr ::cudasim::Access access_of(bool ordered, Scope scope) {
  return {ordered ? ::cudasim::Kind::kOrdered : ::cudasim::Kind::kRelaxed, scope_of(scope)};
}

template <class T>
CUDASIM_INLINE T load(const T* from, ::cudasim::Access access) {
  T value;
  ::cudasim_load(from, &value, sizeof(T), access);
  return value;
}
template <class T>
CUDASIM_INLINE void store(T* to, T value, ::cudasim::Access access) {
  ::cudasim_store(to, &value, sizeof(T), access);
}
template <class T>
CUDASIM_INLINE T exchange(T value, uint32_t from_lane, uint32_t mask) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  return std::bit_cast<T>(static_cast<Bits>(
      ::cudasim_warp(::cudasim::WarpOp::kShuffle, mask, std::bit_cast<Bits>(value), from_lane)));
}

}  // namespace sim

CUDASIM_INLINE void* shared_arena() { return ::cudasim_thread->shared_arena; }
CUDASIM_INLINE Uint3 thread_index() {
  const auto& at = ::cudasim_thread->thread;
  return {at[0], at[1], at[2]};
}
CUDASIM_INLINE Uint3 block_index() {
  const auto& at = ::cudasim_thread->block;
  return {at[0], at[1], at[2]};
}
CUDASIM_INLINE uint32_t block_threads() { return ::cudasim_thread->block_threads; }
CUDASIM_INLINE uint32_t grid_blocks() { return ::cudasim_thread->grid_blocks; }
CUDASIM_INLINE uint32_t lane_id() { return ::cudasim_thread->lane; }
CUDASIM_INLINE uint32_t warp_id() { return ::cudasim_thread->warp; }

CUDASIM_INLINE void block_barrier() { ::cudasim_block_barrier(false); }
CUDASIM_INLINE bool block_barrier_or(bool value) { return ::cudasim_block_barrier(value); }
CUDASIM_INLINE void warp_barrier(uint32_t mask) {
  ::cudasim_warp(::cudasim::WarpOp::kBarrier, mask, 0, 0);
}
template <class T>
CUDASIM_INLINE T shuffle(T value, uint32_t from_lane, uint32_t mask) {
  return sim::exchange(value, from_lane % kWarpThreads, mask);
}
// Beyond the last lane a thread gets its own value.
template <class T>
CUDASIM_INLINE T shuffle_down(T value, uint32_t delta, uint32_t mask) {
  const uint32_t lane = lane_id();
  return sim::exchange(value, lane + delta < kWarpThreads ? lane + delta : lane, mask);
}
template <class T>
CUDASIM_INLINE T shuffle_xor(T value, uint32_t lanes, uint32_t mask) {
  return sim::exchange(value, (lane_id() ^ lanes) % kWarpThreads, mask);
}
CUDASIM_INLINE uint32_t ballot(bool value, uint32_t mask) {
  return static_cast<uint32_t>(::cudasim_warp(::cudasim::WarpOp::kBallot, mask, value ? 1 : 0, 0));
}
CUDASIM_INLINE bool warp_any(bool value, uint32_t mask) { return ballot(value, mask) != 0; }
CUDASIM_INLINE bool warp_all(bool value, uint32_t mask) { return ballot(!value, mask) == 0; }

template <class T>
CUDASIM_INLINE T load(const T* from) {
  return sim::load(from, sim::kWeak);
}
template <class T>
CUDASIM_INLINE void store(T* to, T value) {
  sim::store(to, value, sim::kWeak);
}
template <class T>
CUDASIM_INLINE T load_stream(const T* from) {
  return sim::load(from, sim::kWeak);
}
template <class T>
CUDASIM_INLINE void store_stream(T* to, T value) {
  sim::store(to, value, sim::kWeak);
}
template <class T>
CUDASIM_INLINE T load_volatile(const T* from) {
  return sim::load(from, sim::kVolatile);
}
template <class T>
CUDASIM_INLINE void store_volatile(T* to, T value) {
  sim::store(to, value, sim::kVolatile);
}
CUDASIM_INLINE Vec16 load_line(const Vec16* from, bool active) {
  Vec16 value{0, 0, 0, 0};
  ::cudasim_load_line(from, &value, active);
  return value;
}
CUDASIM_INLINE void store_line(Vec16* to, Vec16 value, bool active) {
  ::cudasim_store_line(to, &value, active);
}

template <Scope kScope, class T>
CUDASIM_INLINE T load_relaxed(const T* from) {
  return sim::load(from, sim::access_of(false, kScope));
}
template <Scope kScope, class T>
CUDASIM_INLINE T load_acquire(const T* from) {
  return sim::load(from, sim::access_of(true, kScope));
}
template <Scope kScope, class T>
CUDASIM_INLINE void store_relaxed(T* to, T value) {
  sim::store(to, value, sim::access_of(false, kScope));
}
template <Scope kScope, class T>
CUDASIM_INLINE void store_release(T* to, T value) {
  sim::store(to, value, sim::access_of(true, kScope));
}
template <Scope kScope, Order kOrder, class T>
CUDASIM_INLINE T atomic_add(T* at, T value) {
  return static_cast<T>(::cudasim_atomic(at, sizeof(T), ::cudasim::Atomic::kAdd, value, 0,
                                         sim::access_of(kOrder == Order::kAcqRel, kScope)));
}
template <Scope kScope, Order kOrder, class T>
CUDASIM_INLINE T atomic_exchange(T* at, T value) {
  return static_cast<T>(::cudasim_atomic(at, sizeof(T), ::cudasim::Atomic::kExchange, value, 0,
                                         sim::access_of(kOrder == Order::kAcqRel, kScope)));
}
template <Scope kScope, Order kOrder, class T>
CUDASIM_INLINE T atomic_cas(T* at, T expected, T desired) {
  return static_cast<T>(::cudasim_atomic(at, sizeof(T), ::cudasim::Atomic::kCas, desired, expected,
                                         sim::access_of(kOrder == Order::kAcqRel, kScope)));
}
template <Scope kScope>
CUDASIM_INLINE void fence() {
  ::cudasim_fence(sim::scope_of(kScope));
}
CUDASIM_INLINE void fence_alias() { ::cudasim_fence_alias(); }

CUDASIM_INLINE void nano_sleep(uint32_t ns) { ::cudasim_sleep(ns); }
CUDASIM_INLINE uint64_t clock_ns() { return ::cudasim_clock(); }
inline constexpr uint32_t kLongPolls = 1u << 7;  // idle threads are let in every 50 us at most
[[noreturn]] CUDASIM_INLINE void trap() { ::cudasim_trap(); }

}  // namespace tutti::gpu

#include <cudasim/numbers_host.h>
