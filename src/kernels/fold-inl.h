// SPDX-License-Identifier: Apache-2.0
// Folds: how two accumulators become one, and what happens to an input before the first fold and to
// the result after the last.

#if defined(TUTTI_KERNELS_FOLD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_FOLD_INL_H_
#undef TUTTI_KERNELS_FOLD_INL_H_
#else
#define TUTTI_KERNELS_FOLD_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/divider.h"
#include "src/kernels/reduce_copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Tag>
HWY_INLINE hn::Vec<Tag> multiply(Tag tag, hn::Vec<Tag> a, hn::Vec<Tag> b) {
  if constexpr (sizeof(hn::TFromD<Tag>) > 1 || kScalarTarget) {
    return hn::Mul(a, b);
  } else {  // no instruction set multiplies bytes: even and odd bytes as 16-bit products, of which
            // the low byte counts
    const hn::Repartition<uint16_t, Tag> wide;
    const auto a16 = hn::BitCast(wide, a);
    const auto b16 = hn::BitCast(wide, b);
    const auto low = hn::Set(wide, uint16_t{0x00ff});
    const auto even = hn::And(hn::Mul(a16, b16), low);
    const auto odd = hn::Mul(hn::AndNot(low, a16), hn::ShiftRight<8>(b16));
    return hn::BitCast(tag, hn::Or(even, odd));
  }
}

// IEEE 754-2019 minimum: NaN if either is NaN, and -0 below +0. One of the two orders below yields
// each operand that an instruction set may answer with for a tie of zeros or for NaN, so the
// bitwise or has the sign of -0 and stays a NaN; for all else both orders agree.
template <class V>
HWY_INLINE V float_min(V a, V b) {
  if constexpr (kScalarTarget) {  // its Min ignores a NaN
    return hn::Or(hn::IfThenElse(hn::Lt(a, b), a, b), hn::IfThenElse(hn::Lt(b, a), b, a));
  } else {
    return hn::Or(hn::Min(a, b), hn::Min(b, a));
  }
}

// Truncating division of every lane by the same positive number.
template <class T>
class LaneDivider {
 public:
  using Tag = hn::ScalableTag<T>;
  using Vec = hn::Vec<Tag>;
  explicit LaneDivider(int32_t divisor) : divider_(divisor) {}

  HWY_INLINE Vec operator()(Vec value) const {
    if constexpr (std::is_signed_v<T>) {
      const Vec sign = hn::BroadcastSignBit(value);
      const Vec magnitude = hn::Sub(hn::Xor(value, sign), sign);
      const Vec quotient = hn::BitCast(Tag(), divide(hn::BitCast(UTag(), magnitude)));
      return hn::Sub(hn::Xor(quotient, sign), sign);
    } else {
      return divide(value);
    }
  }

 private:
  using U = std::make_unsigned_t<T>;
  using UTag = hn::ScalableTag<U>;
  using UVec = hn::Vec<UTag>;

  HWY_INLINE UVec divide(UVec value) const {
    if constexpr (kScalarTarget) {
      return hn::Set(UTag(), divider_.divide(hn::GetLane(value)));
    } else if constexpr (sizeof(U) == 1) {
      return divide_bytes(value);
    } else {
      const UVec high = multiply_high(value);
      return hn::ShiftRightSame(hn::Add(hn::ShiftRight<1>(hn::Sub(value, high)), high),
                                divider_.shift());
    }
  }

  HWY_INLINE UVec divide_bytes(UVec value) const {
    const hn::Repartition<uint16_t, UTag> wide;
    const auto multiplier = hn::Set(wide, static_cast<uint16_t>(divider_.multiplier()));
    const auto pairs = hn::BitCast(wide, value);
    const auto even = hn::MulHigh(hn::And(pairs, hn::Set(wide, uint16_t{0x00ff})), multiplier);
    const auto odd = hn::MulHigh(hn::ShiftRight<8>(pairs), multiplier);
    return hn::BitCast(UTag(), hn::Or(even, hn::ShiftLeft<8>(odd)));
  }

  // The high half of value * multiplier.
  HWY_INLINE UVec multiply_high(UVec value) const {
    const UTag tag;
    const UVec multiplier = hn::Set(tag, divider_.multiplier());
    if constexpr (sizeof(U) == 4) {
      const hn::Repartition<uint64_t, UTag> wide;
      const UVec odd_lanes = hn::BitCast(tag, hn::ShiftRight<32>(hn::BitCast(wide, value)));
      const auto even = hn::ShiftRight<32>(hn::MulEven(value, multiplier));
      const auto odd = hn::MulEven(odd_lanes, multiplier);
      return hn::OddEven(hn::BitCast(tag, odd), hn::BitCast(tag, even));
    } else {  // long multiplication in base 2^32; no sum below exceeds 64 bits
      const hn::Repartition<uint32_t, UTag> halves;
      const auto value_low = hn::BitCast(halves, value);
      const auto value_high = hn::BitCast(halves, hn::ShiftRight<32>(value));
      const auto multiplier_low = hn::BitCast(halves, multiplier);
      const auto multiplier_high = hn::BitCast(halves, hn::ShiftRight<32>(multiplier));
      const UVec low = hn::ShiftRight<32>(hn::MulEven(value_low, multiplier_low));
      const UVec cross = hn::Add(hn::MulEven(value_high, multiplier_low), low);
      const UVec carry = hn::Add(hn::MulEven(value_low, multiplier_high),
                                 hn::And(cross, hn::Set(tag, 0xffffffffu)));
      return hn::Add(hn::Add(hn::MulEven(value_high, multiplier_high), hn::ShiftRight<32>(cross)),
                     hn::ShiftRight<32>(carry));
    }
  }

  const Divider<U> divider_;
};

// Division of floats; by a power of two as a multiplication, which has the same result and a tenth
// of the cost.
template <class T>
class FloatDivider {
 public:
  using Tag = hn::ScalableTag<T>;
  using Vec = hn::Vec<Tag>;
  explicit FloatDivider(int32_t divisor)
      : exact_((divisor & (divisor - 1)) == 0),
        factor_(exact_ ? T{1} / static_cast<T>(divisor) : static_cast<T>(divisor)) {}
  HWY_INLINE Vec operator()(Vec value) const {
    const Vec factor = hn::Set(Tag(), factor_);
    return exact_ ? hn::Mul(value, factor) : hn::Div(value, factor);
  }

 private:
  const bool exact_;
  const T factor_;
};

template <class Lane>
using PostDivider =
    std::conditional_t<std::is_floating_point_v<Lane>, FloatDivider<Lane>, LaneDivider<Lane>>;

struct Nothing {
  explicit Nothing(int32_t) {}
};

// One block of accumulators of one codec under one operation: load (with pre), merge, and store
// (after post).
template <class Codec, Op kOp>
class Fold {
 public:
  using Tag = typename Codec::Tag;
  using Vec = typename Codec::Vec;
  using WordTag = hn::ScalableTag<typename Codec::Word>;
  using Words = hn::Vec<WordTag>;
  using Small = Fold;  // what to use for the ends of a call
  struct Block {
    Vec part[Codec::kParts];
  };
  static constexpr size_t kBlockBytes = hn::MaxLanes(WordTag()) * sizeof(typename Codec::Word);
  static constexpr size_t kElementBytes = Codec::kElementBytes;
  static constexpr size_t kParts = Codec::kParts;
  // So much arithmetic per line that non-temporal stores don't pay: memory is not the limit, and
  // the core waits for its few write-combining buffers (8-bit floats from DRAM: 36.8 cycles per
  // line with them, 30.4 without).
  static constexpr bool kIsLong = kParts == 4 || (kParts == 2 && kOp == Op::kPreMulSum);
  // So little that the bookkeeping of a loop over sources shows.
  static constexpr bool kIsShort = kParts <= 2 && kOp != Op::kAvg && kOp != Op::kPreMulSum;

  explicit Fold(const ReduceCopy& call)
      : divider_(kOp == Op::kAvg ? call.scaling->post_divisor : 1),
        scale_(read_scale(call)),
        round_scaled_(call.n_sources > 1) {}

  HWY_INLINE Block load(const uint8_t* from, bool pre) const {
    return load(load_words(WordTag(), from), pre);
  }
  HWY_INLINE Block load(Words words, bool pre) const {
    Block block = decode(words);
    if constexpr (kOp == Op::kPreMulSum) {
      if (pre) {
        for (Vec& part : block.part) part = multiply(Tag(), part, scale_);
        if (round_scaled_) round_to_dtype(block);
      }
    }
    if constexpr (kNegated) negate(block);
    return block;
  }

  HWY_INLINE void merge(Block& into, const Block& next) const {
    for (size_t i = 0; i < kParts; ++i) into.part[i] = merge(into.part[i], next.part[i]);
  }

  HWY_INLINE Words result(Block block) const {
    if constexpr (kNegated) negate(block);
    for (size_t i = 0; i < kParts; ++i) {
      if constexpr (kOp == Op::kAvg) block.part[i] = divider_(block.part[i]);
      block.part[i] = Codec::finish(block.part[i]);
    }
    return Codec::encode(block.part);
  }

 private:
  using Lane = typename Codec::Lane;
  static constexpr bool kFloat = std::is_floating_point_v<Lane>;
  static constexpr bool kNegated = kFloat && kOp == Op::kMax;  // max(a, b) = -min(-a, -b)

  static HWY_INLINE Block decode(Words words) {
    Block block;
    Codec::decode(words, block.part);
    return block;
  }

  static HWY_INLINE Vec read_scale(const ReduceCopy& call) {
    if constexpr (kOp == Op::kPreMulSum) {
      uint8_t repeated[kBlockBytes];
      for (size_t at = 0; at < kBlockBytes; at += kElementBytes) {
        memcpy(repeated + at, call.scaling->pre, kElementBytes);
      }
      return decode(load_words(WordTag(), repeated)).part[0];
    } else {
      return hn::Zero(Tag());
    }
  }

  // What storing and loading the block does to it. Nothing to types that fold as themselves, but
  // for which NaN it is, and the result's is canonical anyhow.
  static HWY_INLINE void round_to_dtype(Block& block) {
    if constexpr (kParts > 1) {
      for (Vec& part : block.part) part = Codec::finish(part);
      Codec::decode(Codec::encode(block.part), block.part);
    }
  }

  static HWY_INLINE void negate(Block& block) {
    for (Vec& part : block.part) part = hn::Neg(part);
  }

  static HWY_INLINE Vec merge(Vec a, Vec b) {
    if constexpr (kOp == Op::kProd) {
      return multiply(Tag(), a, b);
    } else if constexpr (kFloat && (kOp == Op::kMin || kOp == Op::kMax)) {
      return float_min(a, b);
    } else if constexpr (kOp == Op::kMin) {
      return hn::Min(a, b);
    } else if constexpr (kOp == Op::kMax) {
      return hn::Max(a, b);
    } else {  // Sum, Avg and PreMulSum
      return hn::Add(a, b);
    }
  }

  const std::conditional_t<kOp == Op::kAvg, PostDivider<Lane>, Nothing> divider_;
  const Vec scale_;
  const bool round_scaled_;  // a lone source is rounded as the result
};

// The fold of calls of many vectors: another where that is worth a preparation.
template <class Codec, Op kOp>
struct LargeFold {
  using type = Fold<typename CodecFor<Codec, kOp>::type, kOp>;
};

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
