// SPDX-License-Identifier: Apache-2.0
// The device primitives: everything that kernels may ask of a GPU, as a contract with two
// implementations (docs/design/cuda.md).
//
// Kernels are written against this header alone, so that nvcc and g++ compile the same source:
// under nvcc the primitives are inline PTX (primitives_ptx.h, the only place that has any), under
// g++ they are those of the simulated GPU. A kernel never dereferences a pointer to global memory,
// never names threadIdx, __shared__ or __syncthreads, and calls nothing indirectly.
//
// Threads, blocks and warps are CUDA's; a warp is 32 threads with consecutive indices. `Scope` says
// among whom an access is ordered: the threads of a block, of a GPU, or of the system (all GPUs,
// the CPU and whatever else writes to the memory).
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/function.h"
#include "src/kernels/cuda/multimem.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::gpu {

inline constexpr uint32_t kWarpThreads = 32;
inline constexpr uint32_t kWholeWarp = 0xffffffffu;

struct Uint3 {
  uint32_t x, y, z;
};
// What the widest access of one thread moves, and half of it.
struct alignas(16) Vec16 {
  uint32_t x, y, z, w;
};
struct alignas(8) Vec8 {
  uint32_t x, y;
};
struct Float2 {
  float x, y;
};

enum class Scope : uint8_t { kBlock, kGpu, kSystem };
enum class Order : uint8_t { kRelaxed, kAcqRel };

// --- Kernels and shared memory: macros of the implementation
//
// TUTTI_KERNEL(name, Args) { ... args ... }
// TUTTI_KERNEL_BOUNDS(name, Args, max_threads, min_blocks) { ... }
//   Defines the kernel `name`, whose only parameter is `const Args& args`; Args is trivially
//   copyable. `max_threads` a launch may have per block, `min_blocks` that shall fit on one
//   multiprocessor. At namespace scope, outside of any namespace; names are unique in the program.
// TUTTI_SHARED(Type, name);
//   In a function: `name` is an object that the threads of a block share. Type is trivially default
//   constructible, and has no more than 16 as alignment. Its value is indeterminate when the kernel
//   starts; it may be used like a local variable, block_barrier() orders the accesses.

// The launch's dynamic shared memory, 16-byte aligned.
TUTTI_GPU void* shared_arena();

// --- Where the calling thread is

TUTTI_GPU Uint3 thread_index();
TUTTI_GPU Uint3 block_index();
TUTTI_GPU uint32_t block_threads();  // number of threads of the block (launches are 1-dimensional)
TUTTI_GPU uint32_t grid_blocks();
TUTTI_GPU uint32_t lane_id();  // within the warp
TUTTI_GPU uint32_t warp_id();  // within the block

// --- Barriers, votes, exchanges within a block

// All threads of the block that have not ended. Orders all accesses (to shared and global memory)
// before it before all those after it, at block scope; cumulative: what a thread has acquired
// before the barrier, every thread of the block has after it.
TUTTI_GPU void block_barrier();
// The same; true in all threads when `value` was true in any.
TUTTI_GPU bool block_barrier_or(bool value);
// The threads of the warp in `mask`, the caller among them, all with the same mask. Orders their
// accesses like block_barrier(), among themselves.
TUTTI_GPU void warp_barrier(uint32_t mask = kWholeWarp);
// Collective over `mask` as warp_barrier(), but orders no memory accesses. T: 4 or 8 bytes.
template <class T>
TUTTI_GPU T shuffle(T value, uint32_t from_lane, uint32_t mask = kWholeWarp);
template <class T>
TUTTI_GPU T shuffle_down(T value, uint32_t delta, uint32_t mask = kWholeWarp);
template <class T>
TUTTI_GPU T shuffle_xor(T value, uint32_t lanes, uint32_t mask = kWholeWarp);
TUTTI_GPU uint32_t ballot(bool value, uint32_t mask = kWholeWarp);
TUTTI_GPU bool warp_any(bool value, uint32_t mask = kWholeWarp);
TUTTI_GPU bool warp_all(bool value, uint32_t mask = kWholeWarp);

// --- Weak accesses to global memory: for data. Unordered but for barriers, fences, and acquire and
// release accesses; a race with another thread's access is an error. T: uint8_t, uint16_t,
// uint32_t, uint64_t, Vec8 or Vec16; the address is a multiple of its size.

template <class T>
TUTTI_GPU T load(const T* from);
template <class T>
TUTTI_GPU void store(T* to, T value);
// The same, with the hint that the line is not needed again by this multiprocessor.
template <class T>
TUTTI_GPU T load_stream(const T* from);
template <class T>
TUTTI_GPU void store_stream(T* to, T value);

// --- Volatile accesses to global memory: relaxed at system scope, never cached near the
// multiprocessor, in program order of one thread to one address. T as above. Of 8 aligned bytes
// either all or nothing is seen; the two halves of a Vec16 may be seen one before the other (LL
// relies on the first and expects the second).

template <class T>
TUTTI_GPU T load_volatile(const T* from);
template <class T>
TUTTI_GPU void store_volatile(T* to, T value);

// Whole lines of 128 bytes, for LL128. All 32 lanes of a warp call it together, each for the 16
// bytes at `lane_id() % 8` of a 128-byte aligned line, eight consecutive lanes for one line; a lane
// group whose lanes pass `active` false (all eight alike) accesses nothing (a load returns zeros).
// Volatile as above, and a line is seen whole or not at all: a reader that finds the new value of
// any part of a line that one store_line wrote finds the new value of every part. This holds over
// NVLink and within a GPU, not over PCIe.
TUTTI_GPU Vec16 load_line(const Vec16* from, bool active = true);
TUTTI_GPU void store_line(Vec16* to, Vec16 value, bool active = true);

// --- Ordered accesses to words of global memory (T: uint32_t or uint64_t), at the given scope.

template <Scope kScope, class T>
TUTTI_GPU T load_relaxed(const T* from);
template <Scope kScope, class T>
TUTTI_GPU T load_acquire(const T* from);
template <Scope kScope, class T>
TUTTI_GPU void store_relaxed(T* to, T value);
template <Scope kScope, class T>
TUTTI_GPU void store_release(T* to, T value);
// Return the value before. kAcqRel is both an acquire load and a release store.
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_add(T* at, T value);
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_exchange(T* at, T value);
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_cas(T* at, T expected, T desired);
// Acquire-release fence: with a relaxed (or volatile) store after it a release, with a relaxed load
// before it an acquire. Of the calling thread; cumulative like block_barrier().
template <Scope kScope>
TUTTI_GPU void fence();
// Between accesses to the same memory at different addresses, as a multicast object's and a
// device's own mapping of it: without it the one may miss what the other did, whatever else orders
// them. By the thread that has synchronised, before (writer) and after (reader) it does.
TUTTI_GPU void fence_alias();

// --- Multicast objects (NVLS, from sm_90). `at` is an address within the multicast mapping,
// 16-byte aligned; every device of the object's team takes part with the same offset of what it has
// bound.

// The fold of every device's 16 bytes, as elements of kType. A relaxed load of each at system
// scope. The order of the fold is the hardware's; sums of 16-bit floats are accumulated in float32
// at least and rounded once. (The simulated GPU folds in the order in which devices were added, as
// src/kernels does.)
template <DType kType, Op kOp>
TUTTI_GPU Vec16 multimem_load_reduce(const Vec16* at);
// Stores to every device: a relaxed store to each at system scope.
TUTTI_GPU void multimem_store(Vec16* at, Vec16 value);
// Adds to the word of every device; release at system scope, returns nothing.
TUTTI_GPU void multimem_add_release(uint32_t* at, uint32_t value);

// --- Conversions of two elements at once; the first element is in the low half. Decoding is exact
// (a NaN yields a NaN, any). Encoding is that of src/kernels/reduce_copy.h: rounds once to nearest
// even, NaN becomes the canonical NaN (0x7e00, 0x7fc0, 0x7f, 0x7e), finite values that are too
// large become infinity in float16 and bfloat16, the largest finite value in the 8-bit floats;
// infinity stays infinity in e5m2 and becomes NaN in e4m3. Subnormals are kept.

TUTTI_GPU Float2 decode_float16x2(uint32_t bits);
TUTTI_GPU Float2 decode_bfloat16x2(uint32_t bits);
TUTTI_GPU Float2 decode_e4m3x2(uint16_t bits);
TUTTI_GPU Float2 decode_e5m2x2(uint16_t bits);
TUTTI_GPU uint32_t encode_float16x2(Float2 value);
TUTTI_GPU uint32_t encode_bfloat16x2(Float2 value);
TUTTI_GPU uint16_t encode_e4m3x2(Float2 value);
TUTTI_GPU uint16_t encode_e5m2x2(Float2 value);

// IEEE 754-2019 minimum and maximum: NaN (any) if an operand is NaN, -0 below +0.
TUTTI_GPU float minimum(float a, float b);
TUTTI_GPU float maximum(float a, float b);

// --- Time and the end

TUTTI_GPU void nano_sleep(uint32_t ns);  // at most about so long; 0 returns at once
TUTTI_GPU uint64_t clock_ns();           // rises; the same clock for all blocks of a GPU
// kLongPolls, a uint32_t: polls of one thread that take a few milliseconds.
[[noreturn]] TUTTI_GPU void trap();  // ends the kernel with an error of the whole context

}  // namespace tutti::gpu

// At the head of the body of a loop that moves data: a string literal and two integer constants for
// the static proof (scripts/cuda_static_proof.py), which says what they mean.
#ifdef __CUDACC__
#define TUTTI_PROOF_LOOP(kind, a, b) \
  asm volatile("// tutti-loop: " kind " %0 %1" ::"n"(static_cast<int>(a)), "n"(static_cast<int>(b)))
#else
#define TUTTI_PROOF_LOOP(kind, a, b) static_assert(true)
#endif

#ifdef __CUDACC__
#include "src/kernels/cuda/primitives_ptx.h"
#else
#include <cudasim/primitives_host.h>
#endif
