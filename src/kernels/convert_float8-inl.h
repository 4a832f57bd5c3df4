// SPDX-License-Identifier: Apache-2.0
// The 8-bit floats by way of float16, where the machine converts that: half the instructions of the
// integer codec.

#if defined(TUTTI_KERNELS_CONVERT_FLOAT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_CONVERT_FLOAT8_INL_H_
#undef TUTTI_KERNELS_CONVERT_FLOAT8_INL_H_
#else
#define TUTTI_KERNELS_CONVERT_FLOAT8_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

// Float32 to float16 toward zero, with bit 17 set when any bit below it is: rounded to odd at six
// fraction bits. Rounding the outcome once more, to nearest even at three fraction bits or fewer,
// then equals a single rounding (Boldo and Melquiond, "Emulation of FMA and correctly rounded
// sums", 2008), also where float16 is subnormal: its last place is 2^-24, six bits below half the
// smallest 8-bit float, here 2^-18 (e4m3, scaled) or 2^-17 (e5m2).
//
// The lanes of `low`, then those of `high`.
using HalfBits = hn::Vec<hn::ScalableTag<int16_t>>;
#if HWY_TARGET == HWY_AVX3
HWY_INLINE __m256i half_to_odd(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __mmask16 inexact = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x1ffff));
  const __m512i odd = _mm512_mask_or_epi32(bits, inexact, bits, _mm512_set1_epi32(0x20000));
  return _mm512_cvtps_ph(_mm512_castsi512_ps(odd), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}
HWY_INLINE HalfBits halves_to_odd(hn::Vec<hn::ScalableTag<float>> low,
                                  hn::Vec<hn::ScalableTag<float>> high) {
  const __m512i first = _mm512_castsi256_si512(half_to_odd(low.raw));
  return HalfBits{_mm512_inserti64x4(first, half_to_odd(high.raw), 1)};
}
#else
HWY_INLINE __m128i half_to_odd(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i dropped = _mm256_and_si256(bits, _mm256_set1_epi32(0x1ffff));
  const __m256i exact = _mm256_cmpeq_epi32(dropped, _mm256_setzero_si256());
  const __m256i odd = _mm256_or_si256(bits, _mm256_andnot_si256(exact, _mm256_set1_epi32(0x20000)));
  return _mm256_cvtps_ph(_mm256_castsi256_ps(odd), _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}
HWY_INLINE HalfBits halves_to_odd(hn::Vec<hn::ScalableTag<float>> low,
                                  hn::Vec<hn::ScalableTag<float>> high) {
  const __m256i first = _mm256_castsi128_si256(half_to_odd(low.raw));
  return HalfBits{_mm256_inserti128_si256(first, half_to_odd(high.raw), 1)};
}
#endif

// Even and odd bytes of a block become two vectors of float16, each two of float32.
//
// e5m2 is float16's high byte. e4m3's bits, put where float16 has its exponent's low bits, mean
// 2^-8 of its value, subnormals included; only its NaN has to be set apart. Unless kUnscale the
// accumulators keep that factor: sums, minima and quotients of such numbers are far from float32's
// limits, so they round alike.
template <bool kE4m3, bool kUnscale>
struct Float8 : NarrowFloat<1> {
  using PairTag = hn::ScalableTag<int16_t>;
  using PairVec = hn::Vec<PairTag>;

  static HWY_INLINE void decode(WordVec word, Vec* parts) {
    const PairVec pairs = hn::BitCast(PairTag(), word);
    widen(kE4m3 ? e4m3_to_half(hn::ShiftLeft<8>(pairs)) : hn::ShiftLeft<8>(pairs), parts);
    const PairVec high_bytes = hn::And(pairs, hn::Set(PairTag(), static_cast<int16_t>(0xff00)));
    widen(kE4m3 ? e4m3_to_half(pairs) : high_bytes, parts + 2);
  }

  static HWY_INLINE WordVec encode(const Vec* parts) {
    const PairVec even = from_half(narrow(parts));
    const PairVec odd = from_half(narrow(parts + 2));
    return hn::BitCast(WordTag(), hn::Or(even, hn::ShiftLeft<8>(odd)));
  }

  static HWY_INLINE Vec finish(Vec part) { return part; }  // encode knows NaN

 private:
  static constexpr int kDropped = kE4m3 ? 7 : 8;  // float16 bits below the 8-bit float's last place
  static constexpr int16_t kInfinity = 0x7c00;
  static constexpr int16_t kLargest = kE4m3 ? 0x3f00 : 0x7b00;  // 448 / 256; 57344
  static constexpr int16_t kNan = kE4m3 ? 0x7f : 0x7e;

  // The element is in the high byte of each lane; what is below it is ignored.
  static HWY_INLINE PairVec e4m3_to_half(PairVec top) {
    const PairTag tag;
    const PairVec half =
        hn::And(hn::ShiftRight<1>(top), hn::Set(tag, static_cast<int16_t>(0xbf80)));
    const auto is_nan = hn::Eq(hn::And(half, hn::Set(tag, 0x3f80)), hn::Set(tag, 0x3f80));
    return hn::IfThenElse(is_nan, hn::Set(tag, 0x7e00), half);
  }

  static HWY_INLINE void widen(PairVec half, Vec* parts) {
    const hn::Repartition<hwy::float16_t, Tag> all;
    const hn::Half<decltype(all)> tag;
    parts[0] = scale<256>(hn::PromoteTo(Tag(), hn::LowerHalf(tag, hn::BitCast(all, half))));
    parts[1] = scale<256>(hn::PromoteTo(Tag(), hn::UpperHalf(tag, hn::BitCast(all, half))));
  }

  static HWY_INLINE PairVec narrow(const Vec* parts) {
    return halves_to_odd(scale<1, 256>(parts[0]), scale<1, 256>(parts[1]));
  }

  template <int kFactor, int kDivisor = 1>
  static HWY_INLINE Vec scale(Vec part) {
    if constexpr (kE4m3 && kUnscale) {
      return hn::Mul(part, hn::Set(Tag(), static_cast<float>(kFactor) / kDivisor));
    } else {
      return part;
    }
  }

  // The code in the low byte of each lane. Conversion toward zero never made infinity of a finite
  // value.
  static HWY_INLINE PairVec from_half(PairVec half) {
    const PairTag tag;
    const PairVec magnitude = hn::And(half, hn::Set(tag, 0x7fff));
    PairVec capped = hn::Min(magnitude, hn::Set(tag, kLargest));
    if constexpr (!kE4m3) {
      capped = hn::IfThenElse(hn::Eq(magnitude, hn::Set(tag, kInfinity)), magnitude, capped);
    }
    const PairVec odd = hn::And(hn::ShiftRight<kDropped>(capped), hn::Set(tag, 1));
    const PairVec half_unit = hn::Set(tag, (1 << (kDropped - 1)) - 1);
    const PairVec code = hn::ShiftRight<kDropped>(hn::Add(hn::Add(capped, odd), half_unit));
    const PairVec sign = hn::And(hn::ShiftRight<8>(half), hn::Set(tag, 0x80));
    const auto is_nan = hn::Gt(magnitude, hn::Set(tag, kE4m3 ? kInfinity - 1 : kInfinity));
    return hn::IfThenElse(is_nan, hn::Set(tag, kNan), hn::Or(code, sign));
  }
};

using Float8e4m3 = Float8<true, true>;
using Float8e5m2 = Float8<false, true>;

template <Op kOp>
requires(kOp == Op::kSum || kOp == Op::kAvg) struct CodecFor<Float8e4m3, kOp> {
  using type = Float8<true, false>;
};

#else

using Float8e4m3 = SmallFloat<4, 3, false, true>;
using Float8e5m2 = SmallFloat<5, 2, true, true>;

#endif

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
