// SPDX-License-Identifier: Apache-2.0
// The device primitives as PTX, for nvcc. The contract is in primitives.h, which includes this.
//
// Every access is `asm volatile`, so the compiler keeps them in program order among themselves; the
// assembler then schedules weak ones freely, as their contract allows. Loads of data have no memory
// clobber: no other C++ object lies in the memory they read.
#pragma once

#include "src/kernels/cuda/small_float.h"

#define TUTTI_KERNEL(name, Args) extern "C" __global__ void name(const __grid_constant__ Args args)
#define TUTTI_KERNEL_BOUNDS(name, Args, max_threads, min_blocks)            \
  extern "C" __global__ void __launch_bounds__((max_threads), (min_blocks)) \
      name(const __grid_constant__ Args args)
#define TUTTI_SHARED(Type, name) __shared__ Type name

namespace tutti::gpu {

TUTTI_GPU void* shared_arena() {
  extern __shared__ Vec16 tutti_shared_arena[];
  return tutti_shared_arena;
}

TUTTI_GPU Uint3 thread_index() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
TUTTI_GPU Uint3 block_index() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
TUTTI_GPU uint32_t block_threads() { return blockDim.x; }
TUTTI_GPU uint32_t grid_blocks() { return gridDim.x; }
TUTTI_GPU uint32_t lane_id() { return threadIdx.x % kWarpThreads; }
TUTTI_GPU uint32_t warp_id() { return threadIdx.x / kWarpThreads; }

TUTTI_GPU void block_barrier() { __syncthreads(); }
TUTTI_GPU bool block_barrier_or(bool value) { return __syncthreads_or(value ? 1 : 0) != 0; }
TUTTI_GPU void warp_barrier(uint32_t mask) { __syncwarp(mask); }
template <class T>
TUTTI_GPU T shuffle(T value, uint32_t from_lane, uint32_t mask) {
  return __shfl_sync(mask, value, static_cast<int>(from_lane));
}
template <class T>
TUTTI_GPU T shuffle_down(T value, uint32_t delta, uint32_t mask) {
  return __shfl_down_sync(mask, value, delta);
}
template <class T>
TUTTI_GPU T shuffle_xor(T value, uint32_t lanes, uint32_t mask) {
  return __shfl_xor_sync(mask, value, static_cast<int>(lanes));
}
TUTTI_GPU uint32_t ballot(bool value, uint32_t mask) { return __ballot_sync(mask, value ? 1 : 0); }
TUTTI_GPU bool warp_any(bool value, uint32_t mask) { return __any_sync(mask, value ? 1 : 0) != 0; }
TUTTI_GPU bool warp_all(bool value, uint32_t mask) { return __all_sync(mask, value ? 1 : 0) != 0; }

namespace ptx {

TUTTI_GPU uint64_t global(const void* address) { return __cvta_generic_to_global(address); }
template <class T>
struct Tag {};

// One overload per width, so that the templates below are a line each. Bytes travel in 16-bit
// registers, which is what PTX has for them.
#define TUTTI_PTX_LOAD(name, instruction, clobber)                                \
  TUTTI_GPU uint8_t name(Tag<uint8_t>, const void* p) {                           \
    uint16_t v;                                                                   \
    asm volatile(instruction ".u8 %0, [%1];" : "=h"(v) : "l"(global(p))clobber);  \
    return static_cast<uint8_t>(v);                                               \
  }                                                                               \
  TUTTI_GPU uint16_t name(Tag<uint16_t>, const void* p) {                         \
    uint16_t v;                                                                   \
    asm volatile(instruction ".u16 %0, [%1];" : "=h"(v) : "l"(global(p))clobber); \
    return v;                                                                     \
  }                                                                               \
  TUTTI_GPU uint32_t name(Tag<uint32_t>, const void* p) {                         \
    uint32_t v;                                                                   \
    asm volatile(instruction ".u32 %0, [%1];" : "=r"(v) : "l"(global(p))clobber); \
    return v;                                                                     \
  }                                                                               \
  TUTTI_GPU uint64_t name(Tag<uint64_t>, const void* p) {                         \
    uint64_t v;                                                                   \
    asm volatile(instruction ".u64 %0, [%1];" : "=l"(v) : "l"(global(p))clobber); \
    return v;                                                                     \
  }                                                                               \
  TUTTI_GPU Vec8 name(Tag<Vec8>, const void* p) {                                 \
    Vec8 v;                                                                       \
    asm volatile(instruction ".v2.u32 {%0, %1}, [%2];"                            \
                 : "=r"(v.x), "=r"(v.y)                                           \
                 : "l"(global(p))clobber);                                        \
    return v;                                                                     \
  }                                                                               \
  TUTTI_GPU Vec16 name(Tag<Vec16>, const void* p) {                               \
    Vec16 v;                                                                      \
    asm volatile(instruction ".v4.u32 {%0, %1, %2, %3}, [%4];"                    \
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)                     \
                 : "l"(global(p))clobber);                                        \
    return v;                                                                     \
  }
#define TUTTI_PTX_STORE(name, instruction)                                                   \
  TUTTI_GPU void name(void* p, uint8_t v) {                                                  \
    asm volatile(instruction ".u8 [%0], %1;" ::"l"(global(p)), "h"(static_cast<uint16_t>(v)) \
                 : "memory");                                                                \
  }                                                                                          \
  TUTTI_GPU void name(void* p, uint16_t v) {                                                 \
    asm volatile(instruction ".u16 [%0], %1;" ::"l"(global(p)), "h"(v) : "memory");          \
  }                                                                                          \
  TUTTI_GPU void name(void* p, uint32_t v) {                                                 \
    asm volatile(instruction ".u32 [%0], %1;" ::"l"(global(p)), "r"(v) : "memory");          \
  }                                                                                          \
  TUTTI_GPU void name(void* p, uint64_t v) {                                                 \
    asm volatile(instruction ".u64 [%0], %1;" ::"l"(global(p)), "l"(v) : "memory");          \
  }                                                                                          \
  TUTTI_GPU void name(void* p, Vec8 v) {                                                     \
    asm volatile(instruction ".v2.u32 [%0], {%1, %2};" ::"l"(global(p)), "r"(v.x), "r"(v.y)  \
                 : "memory");                                                                \
  }                                                                                          \
  TUTTI_GPU void name(void* p, Vec16 v) {                                                    \
    asm volatile(instruction ".v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(global(p)), "r"(v.x),   \
                 "r"(v.y), "r"(v.z), "r"(v.w)                                                \
                 : "memory");                                                                \
  }
#define TUTTI_PTX_MEMORY : "memory"
TUTTI_PTX_LOAD(weak_load, "ld.global", )
TUTTI_PTX_LOAD(stream_load, "ld.global.L1::no_allocate", )
TUTTI_PTX_LOAD(volatile_load, "ld.volatile.global", TUTTI_PTX_MEMORY)
TUTTI_PTX_STORE(weak_store, "st.global")
TUTTI_PTX_STORE(stream_store, "st.global.L1::no_allocate")
TUTTI_PTX_STORE(volatile_store, "st.volatile.global")
#undef TUTTI_PTX_LOAD
#undef TUTTI_PTX_STORE

// Ordered accesses: one overload per scope and width.
template <Scope kScope>
struct In {};
#define TUTTI_PTX_ORDERED(scope, suffix, T, bits, reg)                                       \
  TUTTI_GPU T relaxed_load(In<scope>, const T* p) {                                          \
    T v;                                                                                     \
    asm volatile("ld.relaxed." suffix ".global.u" bits " %0, [%1];"                          \
                 : "=" reg(v)                                                                \
                 : "l"(global(p))                                                            \
                 : "memory");                                                                \
    return v;                                                                                \
  }                                                                                          \
  TUTTI_GPU T acquire_load(In<scope>, const T* p) {                                          \
    T v;                                                                                     \
    asm volatile("ld.acquire." suffix ".global.u" bits " %0, [%1];"                          \
                 : "=" reg(v)                                                                \
                 : "l"(global(p))                                                            \
                 : "memory");                                                                \
    return v;                                                                                \
  }                                                                                          \
  TUTTI_GPU void relaxed_store(In<scope>, T* p, T v) {                                       \
    asm volatile("st.relaxed." suffix ".global.u" bits " [%0], %1;" ::"l"(global(p)), reg(v) \
                 : "memory");                                                                \
  }                                                                                          \
  TUTTI_GPU void release_store(In<scope>, T* p, T v) {                                       \
    asm volatile("st.release." suffix ".global.u" bits " [%0], %1;" ::"l"(global(p)), reg(v) \
                 : "memory");                                                                \
  }                                                                                          \
  TUTTI_PTX_ATOMIC(scope, suffix, T, bits, reg, Order::kRelaxed, "relaxed")                  \
  TUTTI_PTX_ATOMIC(scope, suffix, T, bits, reg, Order::kAcqRel, "acq_rel")
#define TUTTI_PTX_ATOMIC(scope, suffix, T, bits, reg, order, name)                    \
  template <Order kOrder>                                                             \
  requires(kOrder == order) TUTTI_GPU T add(In<scope>, T* p, T v) {                   \
    T old;                                                                            \
    asm volatile("atom." name "." suffix ".global.add.u" bits " %0, [%1], %2;"        \
                 : "=" reg(old)                                                       \
                 : "l"(global(p)), reg(v)                                             \
                 : "memory");                                                         \
    return old;                                                                       \
  }                                                                                   \
  template <Order kOrder>                                                             \
  requires(kOrder == order) TUTTI_GPU T exchange(In<scope>, T* p, T v) {              \
    T old;                                                                            \
    asm volatile("atom." name "." suffix ".global.exch.b" bits " %0, [%1], %2;"       \
                 : "=" reg(old)                                                       \
                 : "l"(global(p)), reg(v)                                             \
                 : "memory");                                                         \
    return old;                                                                       \
  }                                                                                   \
  template <Order kOrder>                                                             \
  requires(kOrder == order) TUTTI_GPU T cas(In<scope>, T* p, T expected, T desired) { \
    T old;                                                                            \
    asm volatile("atom." name "." suffix ".global.cas.b" bits " %0, [%1], %2, %3;"    \
                 : "=" reg(old)                                                       \
                 : "l"(global(p)), reg(expected), reg(desired)                        \
                 : "memory");                                                         \
    return old;                                                                       \
  }
#define TUTTI_PTX_SCOPE(scope, suffix)                  \
  TUTTI_PTX_ORDERED(scope, suffix, uint32_t, "32", "r") \
  TUTTI_PTX_ORDERED(scope, suffix, uint64_t, "64", "l") \
  TUTTI_GPU void fence_of(In<scope>) { asm volatile("fence.acq_rel." suffix ";" ::: "memory"); }
TUTTI_PTX_SCOPE(Scope::kBlock, "cta")
TUTTI_PTX_SCOPE(Scope::kGpu, "gpu")
TUTTI_PTX_SCOPE(Scope::kSystem, "sys")
#undef TUTTI_PTX_SCOPE
#undef TUTTI_PTX_ORDERED
#undef TUTTI_PTX_ATOMIC
#undef TUTTI_PTX_MEMORY

}  // namespace ptx

template <class T>
TUTTI_GPU T load(const T* from) {
  return ptx::weak_load(ptx::Tag<T>(), from);
}
template <class T>
TUTTI_GPU void store(T* to, T value) {
  ptx::weak_store(to, value);
}
template <class T>
TUTTI_GPU T load_stream(const T* from) {
  return ptx::stream_load(ptx::Tag<T>(), from);
}
template <class T>
TUTTI_GPU void store_stream(T* to, T value) {
  ptx::stream_store(to, value);
}
template <class T>
TUTTI_GPU T load_volatile(const T* from) {
  return ptx::volatile_load(ptx::Tag<T>(), from);
}
template <class T>
TUTTI_GPU void store_volatile(T* to, T value) {
  ptx::volatile_store(to, value);
}

// One instruction of a converged warp moves a line as a whole.
TUTTI_GPU Vec16 load_line(const Vec16* from, bool active) {
  __syncwarp();
  return active ? ptx::volatile_load(ptx::Tag<Vec16>(), from) : Vec16{0, 0, 0, 0};
}
TUTTI_GPU void store_line(Vec16* to, Vec16 value, bool active) {
  __syncwarp();
  if (active) ptx::volatile_store(to, value);
}

template <Scope kScope, class T>
TUTTI_GPU T load_relaxed(const T* from) {
  return ptx::relaxed_load(ptx::In<kScope>(), from);
}
template <Scope kScope, class T>
TUTTI_GPU T load_acquire(const T* from) {
  return ptx::acquire_load(ptx::In<kScope>(), from);
}
template <Scope kScope, class T>
TUTTI_GPU void store_relaxed(T* to, T value) {
  ptx::relaxed_store(ptx::In<kScope>(), to, value);
}
template <Scope kScope, class T>
TUTTI_GPU void store_release(T* to, T value) {
  ptx::release_store(ptx::In<kScope>(), to, value);
}
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_add(T* at, T value) {
  return ptx::add<kOrder>(ptx::In<kScope>(), at, value);
}
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_exchange(T* at, T value) {
  return ptx::exchange<kOrder>(ptx::In<kScope>(), at, value);
}
template <Scope kScope, Order kOrder, class T>
TUTTI_GPU T atomic_cas(T* at, T expected, T desired) {
  return ptx::cas<kOrder>(ptx::In<kScope>(), at, expected, desired);
}
template <Scope kScope>
TUTTI_GPU void fence() {
  ptx::fence_of(ptx::In<kScope>());
}
TUTTI_GPU void fence_alias() { asm volatile("fence.proxy.alias;" ::: "memory"); }

// Below sm_90 there are no multicast objects, and the host never launches kernels that use them.
#if __CUDA_ARCH__ >= 900
#define TUTTI_PTX_MULTIMEM_V4(op, type, reg_type)                                                 \
  asm volatile("multimem.ld_reduce.relaxed.sys.global." op ".v4." type " {%0, %1, %2, %3}, [%4];" \
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)                                       \
               : "l"(ptx::global(at))                                                             \
               : "memory")
#define TUTTI_PTX_MULTIMEM_32(op, type, out, word)                               \
  asm volatile("multimem.ld_reduce.relaxed.sys.global." op "." type " %0, [%1];" \
               : "=r"(out)                                                       \
               : "l"(ptx::global(at) + 4 * (word))                               \
               : "memory")
#define TUTTI_PTX_MULTIMEM_64(op, type, low, high, word)                             \
  asm volatile("{\n.reg .b64 t;\nmultimem.ld_reduce.relaxed.sys.global." op "." type \
               " t, [%2];\nmov.b64 {%0, %1}, t;\n}"                                  \
               : "=r"(low), "=r"(high)                                               \
               : "l"(ptx::global(at) + 8 * (word))                                   \
               : "memory")
#define TUTTI_PTX_MULTIMEM_WORDS32(op, type) \
  do {                                       \
    TUTTI_PTX_MULTIMEM_32(op, type, v.x, 0); \
    TUTTI_PTX_MULTIMEM_32(op, type, v.y, 1); \
    TUTTI_PTX_MULTIMEM_32(op, type, v.z, 2); \
    TUTTI_PTX_MULTIMEM_32(op, type, v.w, 3); \
  } while (false)
#define TUTTI_PTX_MULTIMEM_WORDS64(op, type)      \
  do {                                            \
    TUTTI_PTX_MULTIMEM_64(op, type, v.x, v.y, 0); \
    TUTTI_PTX_MULTIMEM_64(op, type, v.z, v.w, 1); \
  } while (false)
#define TUTTI_PTX_MULTIMEM_ORDER(macro, type) \
  do {                                        \
    if constexpr (kOp == Op::kMin) {          \
      macro("min", type);                     \
    } else {                                  \
      macro("max", type);                     \
    }                                         \
  } while (false)
#define TUTTI_PTX_MULTIMEM_F16(op, type) TUTTI_PTX_MULTIMEM_V4(op, type, )

template <DType kType, Op kOp>
TUTTI_GPU Vec16 multimem_load_reduce(const Vec16* at) {
  static_assert(multimem_reduces(kType, kOp));
  Vec16 v;
  constexpr bool kSum = kOp == Op::kSum;
  if constexpr (kType == DType::kFloat32) {
    TUTTI_PTX_MULTIMEM_V4("add", "f32", );
  } else if constexpr (kType == DType::kFloat16 && kSum) {
    TUTTI_PTX_MULTIMEM_V4("add.acc::f32", "f16x2", );
  } else if constexpr (kType == DType::kBfloat16 && kSum) {
    TUTTI_PTX_MULTIMEM_V4("add.acc::f32", "bf16x2", );
  } else if constexpr (kType == DType::kFloat16) {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_F16, "f16x2");
  } else if constexpr (kType == DType::kBfloat16) {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_F16, "bf16x2");
  } else if constexpr (kType == DType::kFloat64) {
    TUTTI_PTX_MULTIMEM_WORDS64("add", "f64");
  } else if constexpr (kSum && size_of(kType) == 4) {
    TUTTI_PTX_MULTIMEM_WORDS32("add", "u32");
  } else if constexpr (kSum) {
    TUTTI_PTX_MULTIMEM_WORDS64("add", "u64");
  } else if constexpr (kType == DType::kInt32) {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_WORDS32, "s32");
  } else if constexpr (kType == DType::kUint32) {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_WORDS32, "u32");
  } else if constexpr (kType == DType::kInt64) {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_WORDS64, "s64");
  } else {
    TUTTI_PTX_MULTIMEM_ORDER(TUTTI_PTX_MULTIMEM_WORDS64, "u64");
  }
  return v;
}
#undef TUTTI_PTX_MULTIMEM_F16
#undef TUTTI_PTX_MULTIMEM_ORDER
#undef TUTTI_PTX_MULTIMEM_WORDS64
#undef TUTTI_PTX_MULTIMEM_WORDS32
#undef TUTTI_PTX_MULTIMEM_64
#undef TUTTI_PTX_MULTIMEM_32
#undef TUTTI_PTX_MULTIMEM_V4

TUTTI_GPU void multimem_store(Vec16* at, Vec16 value) {
  asm volatile(
      "multimem.st.relaxed.sys.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(ptx::global(at)),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
      : "memory");
}
TUTTI_GPU void multimem_add_release(uint32_t* at, uint32_t value) {
  asm volatile("multimem.red.release.sys.global.add.u32 [%0], %1;" ::"l"(ptx::global(at)),
               "r"(value)
               : "memory");
}
#else
template <DType kType, Op kOp>
TUTTI_GPU Vec16 multimem_load_reduce(const Vec16*) {
  static_assert(multimem_reduces(kType, kOp));
  trap();
}
TUTTI_GPU void multimem_store(Vec16*, Vec16) { trap(); }
TUTTI_GPU void multimem_add_release(uint32_t*, uint32_t) { trap(); }
#endif

// PTX's own NaN is 0x7fff; where a half may be NaN it is replaced.
TUTTI_GPU Float2 decode_float16x2(uint32_t bits) {
  Float2 v;
  asm("{\n.reg .f16 a, b;\nmov.b32 {a, b}, %2;\ncvt.f32.f16 %0, a;\ncvt.f32.f16 %1, b;\n}"
      : "=f"(v.x), "=f"(v.y)
      : "r"(bits));
  return v;
}
TUTTI_GPU uint32_t encode_float16x2(Float2 value) {
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(value.y), "f"(value.x));
  if (value.x != value.x) bits = (bits & 0xffff0000u) | 0x7e00u;
  if (value.y != value.y) bits = (bits & 0xffffu) | 0x7e000000u;
  return bits;
}
TUTTI_GPU Float2 decode_bfloat16x2(uint32_t bits) {
  return {__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u)};
}
TUTTI_GPU uint32_t encode_bfloat16x2(Float2 value) {
  uint32_t bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(value.y), "f"(value.x));
  if (value.x != value.x) bits = (bits & 0xffff0000u) | 0x7fc0u;
  if (value.y != value.y) bits = (bits & 0xffffu) | 0x7fc00000u;
  return bits;
}

// From sm_89 the hardware converts the 8-bit floats. With saturation, as we want it of finite
// values; infinity and NaN are put right afterwards.
#if __CUDA_ARCH__ >= 890
TUTTI_GPU Float2 decode_e4m3x2(uint16_t bits) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(bits));
  return decode_float16x2(halves);
}
TUTTI_GPU Float2 decode_e5m2x2(uint16_t bits) {
  uint32_t halves;
  asm("cvt.rn.f16x2.e5m2x2 %0, %1;" : "=r"(halves) : "h"(bits));
  return decode_float16x2(halves);
}
TUTTI_GPU uint16_t encode_e4m3x2(Float2 value) {
  uint16_t bits;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(bits) : "f"(value.y), "f"(value.x));
  uint32_t out = bits;
  if (is_special(value.x)) out = (out & 0xff00u) | 0x7fu;
  if (is_special(value.y)) out = (out & 0xffu) | 0x7f00u;
  return static_cast<uint16_t>(out);
}
TUTTI_GPU uint16_t encode_e5m2x2(Float2 value) {
  uint16_t bits;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(bits) : "f"(value.y), "f"(value.x));
  uint32_t out = bits;
  if (is_special(value.x)) out = (out & 0xff00u) | special_e5m2(value.x);
  if (is_special(value.y)) out = (out & 0xffu) | special_e5m2(value.y) << 8;
  return static_cast<uint16_t>(out);
}
#else
// As float16, e4m3's bits have 2^-8 of its value, and its NaN would be 480.
TUTTI_GPU Float2 decode_e4m3x2(uint16_t bits) {
  const uint32_t apart = (bits & 0xff00u) << 8 | (bits & 0xffu);
  Float2 v = decode_float16x2((apart & 0x00800080u) << 8 | (apart & 0x007f007fu) << 7);
  const float nan = __uint_as_float(0x7fc00000u);
  v.x *= 256.0f;
  v.y *= 256.0f;
  return {fabsf(v.x) == 480.0f ? nan : v.x, fabsf(v.y) == 480.0f ? nan : v.y};
}
TUTTI_GPU Float2 decode_e5m2x2(uint16_t bits) {
  return decode_float16x2((bits & 0xff00u) << 16 | (bits & 0xffu) << 8);
}
TUTTI_GPU uint16_t encode_e4m3x2(Float2 value) {
  return static_cast<uint16_t>(SmallE4m3::encode(value.x) | SmallE4m3::encode(value.y) << 8);
}
TUTTI_GPU uint16_t encode_e5m2x2(Float2 value) {
  return static_cast<uint16_t>(SmallE5m2::encode(value.x) | SmallE5m2::encode(value.y) << 8);
}
#endif

// min.NaN and max.NaN order -0 below +0.
TUTTI_GPU float minimum(float a, float b) {
  float v;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
}
TUTTI_GPU float maximum(float a, float b) {
  float v;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
  return v;
}

TUTTI_GPU void nano_sleep(uint32_t ns) { asm volatile("nanosleep.u32 %0;" ::"r"(ns) : "memory"); }
TUTTI_GPU uint64_t clock_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
  return now;
}
inline constexpr uint32_t kLongPolls = 1u << 12;
[[noreturn]] TUTTI_GPU void trap() {
  asm volatile("trap;");
  __builtin_unreachable();
}

}  // namespace tutti::gpu
