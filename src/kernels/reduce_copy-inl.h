// SPDX-License-Identifier: Apache-2.0
// The loop over memory, and the choice of its instance by operation. One translation unit per group
// of dtypes includes it.

#if defined(TUTTI_KERNELS_REDUCE_COPY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_REDUCE_COPY_INL_H_
#undef TUTTI_KERNELS_REDUCE_COPY_INL_H_
#else
#define TUTTI_KERNELS_REDUCE_COPY_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "src/kernels/copy.h"
#include "src/kernels/fold-inl.h"
#include "src/kernels/piece-inl.h"
#include "src/kernels/reduce_copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four accumulator vectors in flight per iteration, whatever the codec's number of parts. Plain C++
// is compiled in its smallest form: it is there for old machines, not for speed.
template <class F>
inline constexpr size_t kUnroll = kScalarTarget || F::kParts > 4 ? 1 : 4 / F::kParts;

// How far ahead of the loads lines are asked for. A step that converts takes so long that loads of
// the next steps don't overlap with it by themselves; from DRAM this is worth a factor of 1.1
// (float32) to 2.5 (8-bit floats). Many sources are ahead less, or they push each other out of the
// first-level cache.
inline constexpr size_t kPrefetchBytes = 2048;
inline constexpr size_t kPrefetchBytesOfMany = 1024;

inline const uint8_t* source_at(const ReduceCopy& call, size_t i, size_t at) {
  return static_cast<const uint8_t*>(call.sources[i].data) + at;
}
inline uint8_t* sink_at(const ReduceCopy& call, size_t i, size_t at) {
  return static_cast<uint8_t*>(call.sinks[i].data) + at;
}

// A prefetch past the end of a buffer does nothing.
template <size_t kBytes>
HWY_INLINE void prefetch(const uint8_t* from) {
  constexpr size_t kLineBytes = 64;
  for (size_t at = 0; at < kBytes; at += kLineBytes) hwy::Prefetch(from + at);
}

template <class F, size_t kBlocks, size_t kAheadBytes>
HWY_INLINE void load_step(const F& fold, const uint8_t* from, bool pre, typename F::Block* block) {
  prefetch<kBlocks * F::kBlockBytes>(from + kAheadBytes);
  for (size_t b = 0; b < kBlocks; ++b) block[b] = fold.load(from + b * F::kBlockBytes, pre);
}

// Folds the kBlocks blocks of every source at byte `at` and stores them. All loads of a block
// precede all its stores, so a sink may be a source.
template <class F, size_t kBlocks>
HWY_INLINE void general_step(const F& fold, const ReduceCopy& call, size_t at) {
  constexpr size_t kBytes = F::kBlockBytes;
  const typename F::WordTag tag;
  typename F::Block block[kBlocks];
  load_step<F, kBlocks, kPrefetchBytesOfMany>(fold, source_at(call, 0, at), call.sources[0].pre,
                                              block);
  for (size_t i = 1; i < call.n_sources; ++i) {
    typename F::Block next[kBlocks];
    load_step<F, kBlocks, kPrefetchBytesOfMany>(fold, source_at(call, i, at), call.sources[i].pre,
                                                next);
    for (size_t b = 0; b < kBlocks; ++b) fold.merge(block[b], next[b]);
  }
  typename F::Words words[kBlocks];
  for (size_t b = 0; b < kBlocks; ++b) words[b] = fold.result(block[b]);
  for (size_t i = 0; i < call.n_sinks; ++i) {
    uint8_t* to = sink_at(call, i, at);
    if (!F::kIsLong && call.sinks[i].streaming && reinterpret_cast<uintptr_t>(to) % kBytes == 0) {
      for (size_t b = 0; b < kBlocks; ++b) stream_words(words[b], tag, to + b * kBytes);
    } else {
      for (size_t b = 0; b < kBlocks; ++b) store_words(words[b], tag, to + b * kBytes);
    }
  }
}

// The commonest shapes by far: a fixed number of sources and one sink, all addresses in registers.
template <class F, size_t kSources>
struct Operands {
  const uint8_t* from[kSources];
  bool pre[kSources];
  uint8_t* to;
};

template <class F, size_t kSources, bool kStreaming>
HWY_INLINE void fixed_step(const F& fold, const Operands<F, kSources>& operands, size_t at) {
  constexpr size_t kAheadBytes = kSources > 4 ? kPrefetchBytesOfMany : kPrefetchBytes;
  constexpr size_t kBlocks = kUnroll<F>;
  const typename F::WordTag tag;
  typename F::Block block[kBlocks];
  load_step<F, kBlocks, kAheadBytes>(fold, operands.from[0] + at, operands.pre[0], block);
  for (size_t i = 1; i < kSources; ++i) {
    typename F::Block next[kBlocks];
    load_step<F, kBlocks, kAheadBytes>(fold, operands.from[i] + at, operands.pre[i], next);
    for (size_t b = 0; b < kBlocks; ++b) fold.merge(block[b], next[b]);
  }
  for (size_t b = 0; b < kBlocks; ++b) {
    const auto words = fold.result(block[b]);
    if constexpr (kStreaming) {
      stream_words(words, tag, operands.to + at + b * F::kBlockBytes);
    } else {
      store_words(words, tag, operands.to + at + b * F::kBlockBytes);
    }
  }
}

template <class F, size_t kSources, bool kStreaming>
HWY_INLINE size_t fixed_steps(const F& fold, const ReduceCopy& call, size_t at, size_t end) {
  constexpr size_t kStep = kUnroll<F> * F::kBlockBytes;
  Operands<F, kSources> operands;
  for (size_t i = 0; i < kSources; ++i) {
    operands.from[i] = source_at(call, i, 0);
    operands.pre[i] = call.sources[i].pre;
  }
  operands.to = sink_at(call, 0, 0);
  for (; end - at >= kStep; at += kStep) {
    fixed_step<F, kSources, kStreaming>(fold, operands, at);
  }
  return at;
}

// Whole steps in [at, end), where the shape is a common one; returns where they end.
template <class F, bool kStreaming>
HWY_INLINE size_t common_steps(const F& fold, const ReduceCopy& call, size_t at, size_t end) {
  if (call.n_sources == 2) return fixed_steps<F, 2, kStreaming>(fold, call, at, end);
  if constexpr (F::kIsShort) {
    if (call.n_sources == 8) return fixed_steps<F, 8, kStreaming>(fold, call, at, end);
    if (call.n_sources == 4) return fixed_steps<F, 4, kStreaming>(fold, call, at, end);
  }
  return at;
}

// Bytes before the first streaming sink reaches a vector boundary; 0 when no sink wants to stream,
// or none can.
inline size_t bytes_to_boundary(const ReduceCopy& call, size_t vector_bytes, size_t element_bytes) {
  for (size_t i = 0; i < call.n_sinks; ++i) {
    const auto address = reinterpret_cast<uintptr_t>(call.sinks[i].data);
    if (call.sinks[i].streaming && address % element_bytes == 0)
      return (0 - address) % vector_bytes;
  }
  return 0;
}

template <class F>
HWY_NOINLINE void fold_large(const ReduceCopy& call, size_t end) noexcept {
  const F fold(call);
  constexpr size_t kBytes = F::kBlockBytes;
  size_t at = std::min(end, bytes_to_boundary(call, kBytes, F::kElementBytes));
  if (at != 0) fold_small<typename F::Small>(call, 0, at);
  if constexpr (!kScalarTarget) {
    constexpr size_t kStep = kUnroll<F> * kBytes;
    const auto sink = reinterpret_cast<uintptr_t>(sink_at(call, 0, at));
    if (call.n_sinks == 1) {
      at = !F::kIsLong && call.sinks[0].streaming && sink % kBytes == 0
               ? common_steps<F, !F::kIsLong>(fold, call, at, end)
               : common_steps<F, false>(fold, call, at, end);
    }
    for (; end - at >= kStep; at += kStep) general_step<F, kUnroll<F>>(fold, call, at);
  }
  for (; end - at >= kBytes; at += kBytes) general_step<F, 1>(fold, call, at);
  if (at != end) fold_small<typename F::Small>(call, at, end - at);
  if (call.sinks[0].streaming || call.n_sinks > 1) hwy::FlushStream();
}

template <class F, class Large = F>
HWY_INLINE void fold_all(const ReduceCopy& call) noexcept {
  const size_t bytes = call.count * F::kElementBytes;
  if (bytes <= kSmallBytes<F>) {
    if constexpr (kInPieces<F>) {
      if (call.n_sources == 2 && call.n_sinks == 1) return fold_small_two_to_one<F>(call, bytes);
    }
    return fold_small<F>(call, 0, bytes);
  }
  fold_large<Large>(call, bytes);
}

// True when PreMulSum has a source to multiply, or Avg something to divide.
template <Op kOp>
bool is_scaled(const ReduceCopy& call) {
  if constexpr (kOp == Op::kAvg) {
    return call.post && call.scaling->post_divisor > 1;
  } else if constexpr (kOp == Op::kPreMulSum) {
    return std::any_of(call.sources, call.sources + call.n_sources,
                       [](const Source& s) { return s.pre; });
  } else {
    return false;
  }
}

template <class Codec, Op kOp>
void reduce(const ReduceCopy& call) noexcept {
  using F = Fold<typename CodecFor<Codec, kOp>::type, kOp>;
  const bool scaled = is_scaled<kOp>(call);
  if (call.n_sources == 1 && !scaled) return copy_to_sinks(call, call.count * F::kElementBytes);
  if constexpr (kOp == Op::kAvg || kOp == Op::kPreMulSum) {
    if (!scaled) return fold_all<Fold<typename CodecFor<Codec, Op::kSum>::type, Op::kSum>>(call);
  }
  fold_all<F, typename LargeFold<Codec, kOp>::type>(call);
}

// The row of one dtype: its kernels in the order of the operations' values.
template <class Codec>
ReduceCopyFn kernel(Op op) {
  static constexpr std::array<ReduceCopyFn, kOpCount> kRow = {
#define X(id, value, name) &reduce<Codec, Op::id>,
      TUTTI_OP_ROWS(X)
#undef X
      & reduce<Codec, Op::kPreMulSum>};
  return kRow[static_cast<size_t>(op)];
}

template <class F>
HWY_INLINE ReduceCopy pair_call(const Source* sources, const Sink* sink, size_t bytes) {
  return {.sources = sources,
          .n_sources = 2,
          .sinks = sink,
          .n_sinks = 1,
          .count = bytes / F::kElementBytes};
}

// What is not all in pieces; apart, so that the other has no call in memory.
template <class Codec, Op kOp>
HWY_NOINLINE void fold_other_pair(const void* left, const void* right, void* to,
                                  size_t bytes) noexcept {
  using F = Fold<typename CodecFor<Codec, kOp>::type, kOp>;
  const Source sources[] = {{left}, {right}};
  const Sink sink{to};
  fold_all<F, typename LargeFold<Codec, kOp>::type>(pair_call<F>(sources, &sink, bytes));
}

template <class Codec, Op kOp>
void fold_pair(const void* left, const void* right, void* to, size_t bytes) noexcept {
  using F = Fold<typename CodecFor<Codec, kOp>::type, kOp>;
  if constexpr (kInPieces<F> && kSmallBytes<F> >= kPairBytes) {
    const Source sources[] = {{left}, {right}};
    const Sink sink{to};
    const ReduceCopy call = pair_call<F>(sources, &sink, bytes);
    all_pieces<F, true>(F(call), call, 0, bytes);
  } else {
    fold_other_pair<Codec, kOp>(left, right, to, bytes);
  }
}

// As kernel().
template <class Codec>
FoldPairFn pair_kernel(Op op) {
  switch (op) {
    case Op::kSum:
      return &fold_pair<Codec, Op::kSum>;
    case Op::kProd:
      return &fold_pair<Codec, Op::kProd>;
    case Op::kMax:
      return &fold_pair<Codec, Op::kMax>;
    case Op::kMin:
      return &fold_pair<Codec, Op::kMin>;
    case Op::kAvg:
    case Op::kPreMulSum:
      break;
  }
  return nullptr;
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
