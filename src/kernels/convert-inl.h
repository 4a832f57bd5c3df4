// SPDX-License-Identifier: Apache-2.0
// Codecs: how the bytes of one vector's worth of elements become accumulators, and how accumulators
// become bytes again.

// Per-target include guard, as Highway asks of every *-inl.h.
#if defined(TUTTI_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_CONVERT_INL_H_
#undef TUTTI_KERNELS_CONVERT_INL_H_
#else
#define TUTTI_KERNELS_CONVERT_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <hwy/highway.h>

#include "src/kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A codec has
//   Lane, Tag, Vec   the accumulator's lane type, Highway's descriptor of a full vector of them,
//   and that vector Word             lane type of the vector that is loaded and stored; one block
//   is one such vector kElementBytes    bytes of one element in memory kParts           accumulator
//   vectors per block decode(word, parts), finish(part), encode(parts) -> word
// `finish` replaces every NaN by the canonical one; encode expects finished parts. Which element
// sits in which lane of which part is the codec's own business: a fold is element-wise, so sources
// and sinks only have to agree. That is what makes the narrow codecs cheap: elements stay in the
// 32-bit lane they were loaded in, so nothing crosses lanes.

inline constexpr bool kScalarTarget =
    HWY_TARGET == HWY_SCALAR;  // one lane per vector, no byte view of it

template <class Tag>
HWY_INLINE hn::Vec<Tag> load_words(Tag tag, const uint8_t* from) {
  using T = hn::TFromD<Tag>;
  if constexpr (kScalarTarget) {
    T value;
    memcpy(&value, from, sizeof(value));
    return hn::Set(tag, value);
  } else {
    return hn::BitCast(tag, hn::LoadU(hn::Repartition<uint8_t, Tag>(), from));
  }
}

template <class Tag>
HWY_INLINE void store_words(hn::Vec<Tag> words, [[maybe_unused]] Tag tag, uint8_t* to) {
  if constexpr (kScalarTarget) {
    const hn::TFromD<Tag> value = hn::GetLane(words);
    memcpy(to, &value, sizeof(value));
  } else {
    const hn::Repartition<uint8_t, Tag> bytes;
    hn::StoreU(hn::BitCast(bytes, words), bytes, to);
  }
}

// `to` is aligned to a full vector. The caller ends with hwy::FlushStream().
template <class Tag>
HWY_INLINE void stream_words(hn::Vec<Tag> words, Tag tag, uint8_t* to) {
  if constexpr (kScalarTarget) {
    store_words(words, tag, to);
  } else {
    const hn::Repartition<uint8_t, Tag> bytes;
    hn::Stream(hn::BitCast(bytes, words), bytes, to);
  }
}

template <class Tag>
HWY_INLINE hn::Vec<Tag> canonical_nan(Tag tag) {
  using Bits = hwy::MakeUnsigned<hn::TFromD<Tag>>;
  constexpr Bits kNan =
      sizeof(Bits) == 4 ? Bits{0x7fc00000} : static_cast<Bits>(0x7ff8000000000000);
  return hn::BitCast(tag, hn::Set(hn::RebindToUnsigned<Tag>(), kNan));
}

// The codec that an operation on Codec's dtype uses: a cheaper one where it can't change the
// result.
template <class Codec, Op kOp>
struct CodecFor {
  using type = Codec;
};

// Types that fold as themselves: integers, float32, float64.
template <class T>
struct Native {
  using Lane = T;
  using Tag = hn::ScalableTag<Lane>;
  using Vec = hn::Vec<Tag>;
  using Word = T;
  static constexpr size_t kElementBytes = sizeof(T);
  static constexpr size_t kParts = 1;

  static HWY_INLINE void decode(Vec word, Vec* parts) { parts[0] = word; }
  static HWY_INLINE Vec encode(const Vec* parts) { return parts[0]; }
  static HWY_INLINE Vec finish(Vec part) {
    if constexpr (hwy::IsFloat<T>()) {
      return hn::IfThenElse(hn::IsNaN(part), canonical_nan(Tag()), part);
    } else {
      return part;
    }
  }
};

// Sum, Prod and PreMulSum of two's complement integers are those of unsigned ones: one instance
// serves both.
template <class T, Op kOp>
requires(std::is_integral_v<T>&& kOp != Op::kMin && kOp != Op::kMax &&
         kOp != Op::kAvg) struct CodecFor<Native<T>, kOp> {
  using type = Native<std::make_unsigned_t<T>>;
};

// What the narrow floats share: float32 accumulators, kParts elements in each 32-bit word.
template <size_t kBytes>
struct NarrowFloat {
  using Lane = float;
  using Tag = hn::ScalableTag<float>;
  using Vec = hn::Vec<Tag>;
  using Word = uint32_t;
  using WordTag = hn::ScalableTag<uint32_t>;
  using WordVec = hn::Vec<WordTag>;
  static constexpr size_t kElementBytes = kBytes;
  static constexpr size_t kParts = 4 / kBytes;

  static HWY_INLINE Vec finish(Vec part) {
    return hn::IfThenElse(hn::IsNaN(part), canonical_nan(Tag()), part);
  }
};

// The high half of a float32.
struct Bfloat16 : NarrowFloat<2> {
  static HWY_INLINE void decode(WordVec word, Vec* parts) {
    parts[0] = hn::BitCast(Tag(), hn::ShiftLeft<16>(word));
    parts[1] = hn::BitCast(Tag(), hn::And(word, hn::Set(WordTag(), 0xffff0000u)));
  }
  static HWY_INLINE WordVec encode(const Vec* parts) {
    const WordVec high = hn::And(round(parts[1]), hn::Set(WordTag(), 0xffff0000u));
    return hn::Or(hn::ShiftRight<16>(round(parts[0])), high);
  }

 private:
  // Adds half a unit of the last kept place, less one bit unless the kept part is odd: ties go to
  // even. The carry runs into the exponent, so what is too large becomes infinity. The canonical
  // NaN stays itself.
  static HWY_INLINE WordVec round(Vec part) {
    const WordTag tag;
    const WordVec bits = hn::BitCast(tag, part);
    const WordVec odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(tag, 1u));
    return hn::Add(bits, hn::Add(odd, hn::Set(tag, 0x7fffu)));
  }
};

// IEEE-like formats with kExponent and kMantissa bits, by integer arithmetic in 32-bit lanes. With
// kInfinity the top exponent holds infinity and NaN; without it only the all-ones pattern is NaN
// and infinity becomes NaN (OCP e4m3). With kSaturate a finite value that is too large becomes the
// largest finite one, else infinity.
template <int kExponent, int kMantissa, bool kInfinity, bool kSaturate>
struct SmallFloat : NarrowFloat<(1 + kExponent + kMantissa) / 8> {
  using Base = NarrowFloat<(1 + kExponent + kMantissa) / 8>;
  using Base::kParts;
  using typename Base::Tag;
  using typename Base::Vec;
  using typename Base::WordTag;
  using typename Base::WordVec;

  static HWY_INLINE void decode(WordVec word, Vec* parts) {
    parts[0] = decode_top(hn::ShiftLeft<32 - kBits>(word));
    if constexpr (kParts == 4) {
      parts[1] = decode_top(hn::ShiftLeft<16>(word));
      parts[2] = decode_top(hn::ShiftLeft<8>(word));
    }
    parts[kParts - 1] = decode_top(word);
  }

  static HWY_INLINE WordVec encode(const Vec* parts) {
    WordVec word = encode_at<0>(parts[0]);
    word = hn::Or(word, encode_at<kBits>(parts[1]));
    if constexpr (kParts == 4) {
      word = hn::Or(word, encode_at<2 * kBits>(parts[2]));
      word = hn::Or(word, encode_at<3 * kBits>(parts[3]));
    }
    return word;
  }

  static HWY_INLINE Vec finish(Vec part) {
    if constexpr (kInfinity) {
      return Base::finish(part);
    } else {
      return part;  // encode gives every NaN, and infinity, the one code there is
    }
  }

 private:
  static constexpr int kBits = 1 + kExponent + kMantissa;
  static constexpr int kDropped = 23 - kMantissa;  // float32 mantissa bits that the format lacks
  static constexpr uint32_t kBias = (1u << (kExponent - 1)) - 1;
  static constexpr uint32_t kRebias = (127 - kBias) << 23;
  static constexpr uint32_t kMinNormal =
      kRebias + (1u << 23);  // float32 bits of the smallest normal number
  static constexpr uint32_t kFloatInfinity = 0x7f800000;
  static constexpr uint32_t kMagnitude = (1u << (kBits - 1)) - 1;  // all bits but the sign

  // Magnitudes from the cap on encode as the cap does: the largest finite number, or 2^(top
  // exponent), which is infinity.
  static constexpr uint32_t kMaxCode =
      (kInfinity ? ((1u << kExponent) - 1) << kMantissa : kMagnitude) - (kSaturate ? 1 : 0);
  static constexpr uint32_t kCap = (kMaxCode << kDropped) + kRebias;

  // The element is in the top bits of each lane; what is below it is ignored.
  static HWY_INLINE Vec decode_top(WordVec top) {
    const WordTag tag;
    const Tag ftag;
    constexpr uint32_t kTopMagnitude = kMagnitude << (32 - kBits);
    // Exponent and mantissa moved to where float32 has them; the exponent still has the format's
    // own bias.
    const WordVec magnitude =
        hn::ShiftRight<8 - kExponent>(hn::And(top, hn::Set(tag, kTopMagnitude)));
    const WordVec normal = hn::Add(magnitude, hn::Set(tag, kRebias));
    // Exponent 0 means mantissa * 2^(1 - bias - kMantissa): give it exponent 1 and subtract the
    // implied leading one. Exact, and no operand is a subnormal float32.
    const WordVec min_normal = hn::Set(tag, kMinNormal);
    const Vec subnormal =
        hn::Sub(hn::BitCast(ftag, hn::Add(magnitude, min_normal)), hn::BitCast(ftag, min_normal));
    const WordVec finite = hn::IfThenElse(hn::Lt(magnitude, hn::Set(tag, 1u << 23)),
                                          hn::BitCast(tag, subnormal), normal);
    // The top exponent (or e4m3's single NaN) becomes float32's top exponent.
    constexpr uint32_t kSpecial = (kInfinity ? ((1u << kExponent) - 1) << kMantissa : kMagnitude)
                                  << kDropped;
    const WordVec special = hn::Or(normal, hn::Set(tag, kFloatInfinity));
    const WordVec bits = hn::IfThenElse(hn::Lt(magnitude, hn::Set(tag, kSpecial)), finite, special);
    return hn::BitCast(ftag, hn::Or(bits, hn::And(top, hn::Set(tag, 0x80000000u))));
  }

  // The code of each lane, shifted left by kShift.
  template <int kShift>
  static HWY_INLINE WordVec encode_at(Vec part) {
    const WordTag tag;
    const Tag ftag;
    const WordVec bits = hn::BitCast(tag, part);
    const WordVec magnitude = hn::And(bits, hn::Set(tag, 0x7fffffffu));
    const WordVec capped = hn::Min(magnitude, hn::Set(tag, kCap));
    // Normal: add half a unit of the last kept place, less one bit unless the kept part is odd; the
    // carry may run into the exponent. Subnormal: adding a power of two whose last place is the
    // format's leaves the rounded mantissa in the lowest bits of the sum.
    const WordVec odd = hn::And(hn::ShiftRight<kDropped>(capped), hn::Set(tag, 1u));
    constexpr uint32_t kHalf = (1u << (kDropped - 1)) - 1;
    const WordVec normal =
        hn::ShiftRight<kDropped>(hn::Add(hn::Add(capped, odd), hn::Set(tag, kHalf - kRebias)));
    const WordVec aligner = hn::Set(tag, kMinNormal + (static_cast<uint32_t>(kDropped) << 23));
    const Vec aligned = hn::Add(hn::BitCast(ftag, capped), hn::BitCast(ftag, aligner));
    const WordVec subnormal = hn::Sub(hn::BitCast(tag, aligned), aligner);
    const WordVec finite =
        hn::IfThenElse(hn::Lt(capped, hn::Set(tag, kMinNormal)), subnormal, normal);
    // Infinity and the canonical NaN keep their top bits; without infinity both are the all-ones
    // NaN.
    const auto is_finite = hn::Lt(magnitude, hn::Set(tag, kFloatInfinity));
    constexpr uint32_t kSign = 1u << (kBits - 1 + kShift);
    const WordVec sign = hn::And(hn::ShiftRight<32 - kBits - kShift>(bits), hn::Set(tag, kSign));
    if constexpr (kInfinity) {
      const WordVec special = hn::And(hn::ShiftRight<kDropped>(bits), hn::Set(tag, kMagnitude));
      return hn::Or(hn::ShiftLeft<kShift>(hn::IfThenElse(is_finite, finite, special)), sign);
    } else {
      const WordVec code = hn::Or(hn::ShiftLeft<kShift>(finite), sign);
      return hn::IfThenElse(is_finite, code, hn::Set(tag, kMagnitude << kShift));
    }
  }
};

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
// By the machine's own conversions, which round to nearest even and keep subnormals (the test tries
// every value).
struct Float16 : NarrowFloat<2> {
  using HalfTag = hn::Rebind<hwy::float16_t, Tag>;
  // NEON has no halves of float16 vectors: they are taken and joined as bits.
  using BitsTag = hn::RebindToUnsigned<HalfTag>;
  using BothTag = hn::Twice<BitsTag>;

  static HWY_INLINE void decode(WordVec word, Vec* parts) {
    const auto both = hn::BitCast(BothTag(), word);
    parts[0] = widen(hn::LowerHalf(BitsTag(), both));
    parts[1] = widen(hn::UpperHalf(BitsTag(), both));
  }
  static HWY_INLINE WordVec encode(const Vec* parts) {
    return hn::BitCast(WordTag(), hn::Combine(BothTag(), narrow(parts[1]), narrow(parts[0])));
  }

 private:
  static HWY_INLINE Vec widen(hn::Vec<BitsTag> bits) {
    return hn::PromoteTo(Tag(), hn::BitCast(HalfTag(), bits));
  }
  static HWY_INLINE hn::Vec<BitsTag> narrow(Vec part) {
    return hn::BitCast(BitsTag(), hn::DemoteTo(HalfTag(), part));
  }
};
#else
using Float16 = SmallFloat<5, 10, true, false>;
#endif

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
