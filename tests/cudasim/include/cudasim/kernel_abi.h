// SPDX-License-Identifier: Apache-2.0
// What kernels compiled by g++ and the simulated driver that runs them share: how a companion
// object describes its kernels, and the functions that the device primitives are made of.
#pragma once

#include <cstdint>

namespace cudasim {

inline constexpr uint32_t kKernelAbi = 1;

// A companion object exports one as `cudasim_kernel_NAME` for each kernel NAME.
struct KernelDescriptor {
  uint32_t abi;  // kKernelAbi
  uint32_t args_bytes;
  uint32_t args_align;
  uint32_t max_threads;  // per block; 0: what the device can
  void (*run)(const void* args);
};

// Where the thread that runs now is. The simulator's own struct begins with it.
struct Thread {
  uint32_t thread[3];
  uint32_t block[3];
  uint32_t block_threads;
  uint32_t grid_blocks;
  uint32_t lane;
  uint32_t warp;
  void* shared_arena;  // dynamic shared memory
};

enum class Scope : uint32_t { kBlock, kGpu, kSystem };
enum class Kind : uint32_t {
  kWeak,
  kVolatile,  // relaxed at system scope
  kRelaxed,
  kOrdered,  // an acquire load, a release store, or both
};
struct Access {
  Kind kind;
  Scope scope;
};
enum class Atomic : uint32_t { kAdd, kExchange, kCas };
enum class WarpOp : uint32_t { kBarrier, kShuffle, kBallot };
inline constexpr uint32_t kMaxReplicas = 64;

}  // namespace cudasim

// Implemented by the simulated libcuda.so.1; only the thread of a running kernel may call them.
// `bytes` is 1, 2, 4, 8 or 16 in loads and stores, 4 or 8 in atomics.
#pragma GCC visibility push(default)
extern "C" {
extern cudasim::Thread* cudasim_thread;
void cudasim_load(const void* from, void* to, uint32_t bytes, cudasim::Access access);
void cudasim_store(void* to, const void* from, uint32_t bytes, cudasim::Access access);
// Returns the old value.
uint64_t cudasim_atomic(void* at, uint32_t bytes, cudasim::Atomic op, uint64_t operand,
                        uint64_t expected, cudasim::Access access);
void cudasim_fence(cudasim::Scope scope);
void cudasim_fence_alias();
bool cudasim_block_barrier(bool value);
// kShuffle: the value of lane `from`; kBallot: the bits of the lanes whose value is not 0.
uint64_t cudasim_warp(cudasim::WarpOp op, uint32_t mask, uint64_t value, uint32_t from);
// A lane's 16 bytes of a line of 128 that a warp moves as a whole.
void cudasim_load_line(const void* from, void* to, bool active);
void cudasim_store_line(void* to, const void* from, bool active);
// The 16 bytes of each device in the order in which they were added; returns how many.
uint32_t cudasim_multimem_load(const void* from, void* to);
void cudasim_multimem_store(void* to, const void* from);
void cudasim_multimem_add(void* at, uint32_t value);
// An object that the threads of a block share, told from others by `key`.
void* cudasim_shared(const void* key, uint64_t bytes, uint64_t align);
void cudasim_sleep(uint32_t ns);
uint64_t cudasim_clock();
[[noreturn]] void cudasim_trap();
}
#pragma GCC visibility pop
