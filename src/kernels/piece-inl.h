// SPDX-License-Identifier: Apache-2.0
// Pieces: what is shorter than a vector, by loads and stores of exactly the bytes that are there.

#if defined(TUTTI_KERNELS_PIECE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_PIECE_INL_H_
#undef TUTTI_KERNELS_PIECE_INL_H_
#else
#define TUTTI_KERNELS_PIECE_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/fold-inl.h"
#include "src/kernels/reduce_copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Types that fold as themselves, and those of which a fold is worth doing once more for the bytes
// that two pieces share.
template <class F>
inline constexpr bool kInPieces = !kScalarTarget && F::kParts <= 2;

#if HWY_TARGET != HWY_SCALAR

// kBytes bytes at `from` (a power of two up to the vector's), repeated over the vector, so that no
// lane holds a value that the data did not.
template <size_t kBytes, class Tag>
HWY_INLINE hn::Vec<Tag> load_piece(Tag tag, const uint8_t* from) {
  constexpr size_t kVectorBytes = hn::MaxLanes(tag) * sizeof(hn::TFromD<Tag>);
  if constexpr (kBytes == kVectorBytes) {
    return load_words(tag, from);
  } else if constexpr (kBytes > 16) {
    const hn::Repartition<uint8_t, Tag> bytes;
    const hn::Half<decltype(bytes)> half;
    const auto low = hn::LoadU(half, from);
    return hn::BitCast(tag, hn::Combine(bytes, low, low));
  } else if constexpr (kBytes == 16) {
    return hn::BitCast(tag, hn::LoadDup128(hn::Repartition<uint8_t, Tag>(), from));
  } else {
    using Word = hwy::UnsignedFromSize<kBytes>;
    Word word;
    memcpy(&word, from, kBytes);
    return hn::BitCast(tag, hn::Set(hn::Repartition<Word, Tag>(), word));
  }
}

// The first kBytes bytes of the vector.
template <size_t kBytes, class Tag>
HWY_INLINE void store_piece(hn::Vec<Tag> words, Tag tag, uint8_t* to) {
  constexpr size_t kVectorBytes = hn::MaxLanes(tag) * sizeof(hn::TFromD<Tag>);
  if constexpr (kBytes == kVectorBytes) {
    store_words(words, tag, to);
  } else if constexpr (kBytes >= 16) {
    const hn::Half<Tag> half;
    store_piece<kBytes>(hn::LowerHalf(half, words), half, to);
  } else {
    using Word = hwy::UnsignedFromSize<kBytes>;
    const Word word = hn::GetLane(hn::BitCast(hn::Repartition<Word, Tag>(), words));
    memcpy(to, &word, kBytes);
  }
}

template <class F, size_t kBytes>
HWY_INLINE typename F::Words load_piece_of(const Source& source, size_t at) {
  return load_piece<kBytes>(typename F::WordTag(), static_cast<const uint8_t*>(source.data) + at);
}

template <class F, size_t kBytes>
HWY_INLINE typename F::Words fold_piece(const F& fold, const ReduceCopy& call, size_t at) {
  const Source* source = call.sources;
  const Source* const end = source + call.n_sources;
  auto block = fold.load(load_piece_of<F, kBytes>(*source, at), source->pre);
  while (++source != end) {
    fold.merge(block, fold.load(load_piece_of<F, kBytes>(*source, at), source->pre));
  }
  return fold.result(block);
}

// Two pieces as one vector, where both fit and a fold costs more than joining them: `front` in the
// first kSlot bytes, `back` in the next.
template <class F, size_t kBytes>
inline constexpr size_t kSlotBytes = kBytes > 8 ? F::kBlockBytes / 2 : 8;
template <class F, size_t kBytes>
inline constexpr bool kJoins =
    F::kParts > 1 && kBytes <= kSlotBytes<F, kBytes> && 2 * kSlotBytes<F, kBytes> <= F::kBlockBytes;

template <class F, size_t kBytes>
HWY_INLINE typename F::Words load_joined(const Source& source, size_t second) {
  const typename F::WordTag tag;
  const auto front = load_piece_of<F, kBytes>(source, 0);
  const auto back = load_piece_of<F, kBytes>(source, second);
  if constexpr (kBytes > 8) {
    return hn::ConcatUpperLower(tag, back, front);
  } else {
    const hn::Repartition<uint64_t, typename F::WordTag> slots;
    return hn::BitCast(tag, hn::OddEven(hn::BitCast(slots, back), hn::BitCast(slots, front)));
  }
}

template <class F, size_t kBytes>
HWY_INLINE void store_back(typename F::Words joined, uint8_t* to) {
  if constexpr (kBytes > 8) {
    const hn::Half<typename F::WordTag> half;
    store_piece<kBytes>(hn::UpperHalf(half, joined), half, to);
  } else {
    const hn::Repartition<uint64_t, typename F::WordTag> slots;
    const uint64_t back = hn::ExtractLane(hn::BitCast(slots, joined), 1);
    memcpy(to, &back, kBytes);  // the first bytes of the slot, on a little-endian machine
  }
}

// Folds two pieces of kBytes bytes, at `first` and at `second`; they may overlap or be the same.
// Everything is loaded before anything is stored, so a sink may be a source.
template <class F, size_t kBytes>
HWY_INLINE void two_pieces(const F& fold, const ReduceCopy& call, size_t first, size_t second) {
  const typename F::WordTag tag;
  const auto front = fold_piece<F, kBytes>(fold, call, first);
  auto back = front;
  if (second != first) back = fold_piece<F, kBytes>(fold, call, second);
  const Sink* const end = call.sinks + call.n_sinks;
  for (const Sink* sink = call.sinks; sink != end; ++sink) {
    auto* to = static_cast<uint8_t*>(sink->data);
    store_piece<kBytes>(front, tag, to + first);
    store_piece<kBytes>(back, tag, to + second);
  }
}

// The same for two sources and one sink, without a branch: the path of a small message.
template <class F, size_t kBytes>
HWY_INLINE void two_pieces_two_to_one(const F& fold, const ReduceCopy& call, size_t second) {
  const typename F::WordTag tag;
  const Source& left = call.sources[0];
  const Source& right = call.sources[1];
  if constexpr (kJoins<F, kBytes>) {
    auto both = fold.load(load_joined<F, kBytes>(left, second), left.pre);
    fold.merge(both, fold.load(load_joined<F, kBytes>(right, second), right.pre));
    auto* const sink = static_cast<uint8_t*>(call.sinks[0].data);
    const auto words = fold.result(both);
    store_piece<kBytes>(words, tag, sink);
    return store_back<F, kBytes>(words, sink + second);
  }
  auto front = fold.load(load_piece_of<F, kBytes>(left, 0), left.pre);
  auto back = fold.load(load_piece_of<F, kBytes>(left, second), left.pre);
  fold.merge(front, fold.load(load_piece_of<F, kBytes>(right, 0), right.pre));
  fold.merge(back, fold.load(load_piece_of<F, kBytes>(right, second), right.pre));
  auto* to = static_cast<uint8_t*>(call.sinks[0].data);
  const auto back_words = fold.result(back);
  store_piece<kBytes>(fold.result(front), tag, to + 0);
  store_piece<kBytes>(back_words, tag, to + second);
}

// `bytes` from `at` on, at least kLeast and less than 2 * kMost: the largest power of two that
// fits, at the front and at the back. kTwoToOne: `at` is 0.
template <class F, size_t kMost, size_t kLeast, bool kTwoToOne>
HWY_INLINE void pieces(const F& fold, const ReduceCopy& call, size_t at, size_t bytes) {
  if constexpr (kMost > kLeast && kMost > F::kElementBytes) {
    if (bytes < kMost) return pieces<F, kMost / 2, kLeast, kTwoToOne>(fold, call, at, bytes);
  }
  if constexpr (kTwoToOne) {
    two_pieces_two_to_one<F, kMost>(fold, call, bytes - kMost);
  } else {
    two_pieces<F, kMost>(fold, call, at, at + bytes - kMost);
  }
}

template <class F, bool kTwoToOne>
HWY_INLINE void all_pieces(const F& fold, const ReduceCopy& call, size_t at, size_t bytes) {
  if (bytes < 16) return pieces<F, 8, 1, kTwoToOne>(fold, call, at, bytes);
  pieces<F, F::kBlockBytes, 16, kTwoToOne>(fold, call, at, bytes);
}

#endif

// At most one vector of whole elements, by way of a padded copy: for vectors of one lane, which
// have no pieces, and for folds so long that it costs little beside them.
template <class F>
HWY_INLINE void padded_step(const F& fold, const ReduceCopy& call, size_t at, size_t bytes) {
  static_assert(F::kBlockBytes <= kSmallCopyBytes);
  uint8_t padded[kSmallCopyBytes] = {};
  const auto load = [&](const Source& source) HWY_ATTR {
    copy_bytes(padded, static_cast<const uint8_t*>(source.data) + at, bytes, false);
    return fold.load(padded, source.pre);
  };
  auto block = load(call.sources[0]);
  for (size_t i = 1; i < call.n_sources; ++i) fold.merge(block, load(call.sources[i]));
  store_words(fold.result(block), typename F::WordTag(), padded);
  for (size_t i = 0; i < call.n_sinks; ++i) {
    copy_bytes(static_cast<uint8_t*>(call.sinks[i].data) + at, padded, bytes, false);
  }
}

// What fold_small takes at most.
template <class F>
inline constexpr size_t kSmallBytes = kInPieces<F> ? 2 * F::kBlockBytes - 1 : F::kBlockBytes;

// `bytes` from `at` on: whole elements, none to kSmallBytes. A small call is nothing else, a large
// one begins and ends with it.
template <class F>
HWY_NOINLINE void fold_small(const ReduceCopy& call, size_t at, size_t bytes) noexcept {
  if (bytes == 0) return;
  if constexpr (kInPieces<F>) {
    all_pieces<F, false>(F(call), call, at, bytes);
  } else {
    padded_step(F(call), call, at, bytes);
  }
}

// The same for a call of two sources and one sink, from its beginning.
template <class F>
HWY_NOINLINE void fold_small_two_to_one(const ReduceCopy& call, size_t bytes) noexcept {
  if (bytes != 0) all_pieces<F, true>(F(call), call, 0, bytes);
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
