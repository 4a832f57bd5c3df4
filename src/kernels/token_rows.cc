// SPDX-License-Identifier: Apache-2.0
// Rows of tokens, quantised and copied: two neighbouring bfloat16 elements stay in the 32-bit lane
// that they are loaded in, so nothing crosses lanes before the last narrowing.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/token_rows.cc"
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/convert_float8-inl.h"
#include "src/kernels/token_rows-inl.h"
#include "src/kernels/token_rows.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kLargestE4m3 = 448.0F;
inline constexpr float kLeastAmax = 1e-4F;
inline constexpr size_t kBlockElems = 2048;  // quantised at a time: what it reads stays in L1
inline constexpr size_t kLeastGroup = 32;
inline constexpr float kLeastPlainFactor = 1e-30F;  // 2^-8 of it is no subnormal

// Largest magnitude of the finite elements, as bfloat16 bits.
struct Amax {
  uint32_t bits = 0;
  bool all_finite = true;
};
template <class Tag>
HWY_INLINE uint32_t largest_lane(Tag, hn::Vec<Tag> values) {
  const hn::RepartitionToWide<Tag> pairs;
  const auto both = hn::BitCast(pairs, values);
  const auto low = hn::And(both, hn::Set(pairs, 0xffff));
  return static_cast<uint32_t>(
      hn::GetLane(hn::MaxOfLanes(pairs, hn::Max(low, hn::ShiftRight<16>(both)))));
}
HWY_INLINE Amax amax_of(const uint8_t* row, size_t elems) {
  constexpr uint32_t kInfinity = 0x7f80;
  uint32_t finite_most = 0, most = 0;
  size_t i = 0;
  if constexpr (!kScalarTarget) {
    const hn::ScalableTag<int16_t> tag;
    const size_t n = hn::Lanes(tag);
    auto seen = hn::Zero(tag);
    for (; i + n <= elems; i += n)
      seen = hn::Max(seen, hn::And(load_words(tag, row + 2 * i), hn::Set(tag, 0x7fff)));
    most = finite_most = largest_lane(tag, seen);
    if (most >= kInfinity) [[unlikely]] {
      finite_most = 0;
      i = 0;
    }
  }
  for (; i < elems; ++i) {
    const uint32_t magnitude = load_bf16(row + 2 * i) & 0x7fffu;
    most = std::max(most, magnitude);
    if (magnitude < kInfinity) finite_most = std::max(finite_most, magnitude);
  }
  return {finite_most, most < kInfinity};
}

// The factor for the elements; *scale gets what undoes it, as stored.
HWY_INLINE float factor_of(uint32_t amax, RowScales kind, uint32_t* scale) {
  const float largest = std::max(as_float(amax << 16), kLeastAmax);
  const float unit = largest / kLargestE4m3;
  if (kind == RowScales::kFloat32) {
    *scale = std::bit_cast<uint32_t>(unit);
    return kLargestE4m3 / largest;
  }
  *scale = (std::bit_cast<uint32_t>(unit) + 0x7fffffu) >> 23;  // rounded up to a power of two
  return as_float((254 - *scale) << 23);
}

// e4m3 codes, each in the low byte of its lane.
template <class Tag>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<Tag>> e4m3_codes(Tag tag, hn::Vec<Tag> value) {
  const hn::RebindToUnsigned<Tag> words;
  const auto bits = hn::BitCast(words, value);
  const auto magnitude = hn::And(bits, hn::Set(words, 0x7fffffffu));
  // Normal: three bits of the fraction stay, and the exponent changes its bias from 127 to 7.
  const auto odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(words, 1u));
  const auto rounded = hn::Add(hn::Add(magnitude, odd), hn::Set(words, 0x7ffffu));
  const auto normal =
      hn::Min(hn::Sub(hn::ShiftRight<20>(rounded), hn::Set(words, 960u)), hn::Set(words, 0x7eu));
  // Below 2^-6 the unit is 2^-9, the last place of numbers from 2^14 on.
  const auto shifted = hn::Add(hn::BitCast(tag, magnitude), hn::Set(tag, 16384.0F));
  const auto subnormal = hn::Sub(hn::BitCast(words, shifted), hn::Set(words, 0x46800000u));
  const auto is_small = hn::Lt(hn::BitCast(tag, magnitude), hn::Set(tag, 0.015625F));
  const auto code = hn::IfThenElse(hn::RebindMask(words, is_small), subnormal, normal);
  const auto sign = hn::And(hn::ShiftRight<24>(bits), hn::Set(words, 0x80u));
  const auto is_nan = hn::RebindMask(words, hn::IsNaN(value));
  return hn::IfThenElse(is_nan, hn::Set(words, 0x7fu), hn::Or(code, sign));
}

HWY_INLINE uint8_t e4m3_code(float value) {
  const hn::CappedTag<float, 1> tag;
  return static_cast<uint8_t>(hn::GetLane(e4m3_codes(tag, hn::Set(tag, value))));
}

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
// By way of float16, rounded to odd first, as convert_float8-inl.h explains. Only infinities are
// treated otherwise: they saturate.
//
// Codes of 2^8 times the values, in the low byte of each lane.
HWY_INLINE HalfBits codes_of_halves(HalfBits half) {
  const hn::ScalableTag<int16_t> tag;
  const auto magnitude = hn::And(half, hn::Set(tag, 0x7fff));
  const auto capped = hn::Min(magnitude, hn::Set(tag, 0x3f00));
  const auto odd = hn::And(hn::ShiftRight<7>(capped), hn::Set(tag, 1));
  const auto code = hn::ShiftRight<7>(hn::Add(hn::Add(capped, odd), hn::Set(tag, 63)));
  const auto sign = hn::And(hn::ShiftRight<8>(half), hn::Set(tag, 0x80));
  const auto is_nan = hn::Gt(magnitude, hn::Set(tag, 0x7c00));
  return hn::IfThenElse(is_nan, hn::Set(tag, 0x7f), hn::Or(code, sign));
}

inline constexpr size_t kStepVectors = 2;  // of the input
// The same of finite values of at most 448, without their signs.
HWY_INLINE HalfBits magnitudes_of_halves(HalfBits half) {
  const hn::ScalableTag<int16_t> tag;
  const auto magnitude = hn::And(half, hn::Set(tag, 0x7fff));
  const auto odd = hn::And(hn::ShiftRight<7>(magnitude), hn::Set(tag, 1));
  return hn::ShiftRight<7>(hn::Add(hn::Add(magnitude, odd), hn::Set(tag, 63)));
}

// Codes of two vectors of pairs, in their order, as one vector of bytes. kPlain: they are finite,
// and the factors of a size that 2^-8 of them loses nothing.
template <bool kPlain, class Tag>
HWY_INLINE auto codes_of(Tag tag, const uint8_t* row, const hn::Vec<Tag>* factors) {
  const hn::RebindToUnsigned<Tag> words;
  const auto high_half = hn::Set(words, 0xffff0000u);
  hn::Vec<Tag> low[2], high[2];
  for (size_t v = 0; v < 2; ++v) {
    const auto word = load_words(words, row + v * 4 * hn::Lanes(tag));
    const auto unit = hn::Set(tag, 1.0F / 256);
    const auto factor = kPlain ? hn::Mul(factors[v], unit) : factors[v];
    low[v] = hn::Mul(hn::BitCast(tag, hn::ShiftLeft<16>(word)), factor);
    high[v] = hn::Mul(hn::BitCast(tag, hn::And(word, high_half)), factor);
    if constexpr (!kPlain) {
      low[v] = hn::Mul(low[v], unit);
      high[v] = hn::Mul(high[v], unit);
    }
  }
  if constexpr (kPlain) {
    const hn::ScalableTag<int16_t> pairs;
    const auto even = halves_to_odd(low[0], low[1]);
    const auto odd = halves_to_odd(high[0], high[1]);
    const auto codes =
        hn::Or(magnitudes_of_halves(even), hn::ShiftLeft<8>(magnitudes_of_halves(odd)));
    const auto even_signs = hn::And(hn::ShiftRight<8>(even), hn::Set(pairs, 0x80));
    const auto odd_signs = hn::And(odd, hn::Set(pairs, INT16_MIN));
    return hn::Or(codes, hn::Or(even_signs, odd_signs));
  }
  const auto even = codes_of_halves(halves_to_odd(low[0], low[1]));
  const auto odd = codes_of_halves(halves_to_odd(high[0], high[1]));
  return hn::Or(even, hn::ShiftLeft<8>(odd));
}
#else
inline constexpr size_t kStepVectors = 1;
// Codes of a vector of pairs, in their order, as half a vector of bytes.
template <bool kPlain, class Tag>
HWY_INLINE auto codes_of(Tag tag, const uint8_t* row, const hn::Vec<Tag>* factors) {
  const hn::RebindToUnsigned<Tag> words;
  const auto word = load_words(words, row);
  const auto low = hn::Mul(hn::BitCast(tag, hn::ShiftLeft<16>(word)), factors[0]);
  const auto high =
      hn::Mul(hn::BitCast(tag, hn::And(word, hn::Set(words, 0xffff0000u))), factors[0]);
  const auto both = hn::Or(e4m3_codes(tag, low), hn::ShiftLeft<8>(e4m3_codes(tag, high)));
  return hn::DemoteTo(hn::Rebind<uint16_t, Tag>(), hn::BitCast(hn::RebindToSigned<Tag>(), both));
}
#endif

// What a block is quantised with.
struct Block {
  size_t elems = 0;
  size_t at = 0;  // of the row
  int group_shift = 0;
  bool plain = true;  // all elements are finite, and all factors of an ordinary size
  float factors[kBlockElems / kLeastGroup];
};

// Elements of a block by the factors of its groups.
template <size_t kSinks, bool kPlain>
HWY_INLINE void quantize_block(const uint8_t* row, const Block& block, const RowSink* sinks) {
  const hn::ScalableTag<float> tag;
  const size_t vector = 2 * hn::Lanes(tag);
  const size_t n = kStepVectors * vector;
  uint8_t* to[kSinks];
  for (size_t s = 0; s < kSinks; ++s) to[s] = reinterpret_cast<uint8_t*>(sinks[s].data) + block.at;
  size_t i = 0;
  for (; i + n <= block.elems; i += n) {
    hn::Vec<decltype(tag)> by[kStepVectors];
    for (size_t v = 0; v < kStepVectors; ++v)
      by[v] = hn::Set(tag, block.factors[(i + v * vector) >> block.group_shift]);
    const auto codes = codes_of<kPlain>(tag, row + 2 * i, by);
    const hn::DFromV<decltype(codes)> form;
    for (size_t s = 0; s < kSinks; ++s) store_words(codes, form, to[s] + i);
  }
  for (; i < block.elems; ++i) {
    const float value = as_float(static_cast<uint32_t>(load_bf16(row + 2 * i)) << 16);
    const uint8_t code = e4m3_code(value * block.factors[i >> block.group_shift]);
    for (size_t s = 0; s < kSinks; ++s) to[s][i] = code;
  }
}

template <bool kPlain>
HWY_INLINE void quantize_to(const uint8_t* row, const Block& block, const RowSink* sinks,
                            size_t n_sinks) {
  switch (n_sinks) {
    case 1:
      return quantize_block<1, kPlain>(row, block, sinks);
    case 2:
      return quantize_block<2, kPlain>(row, block, sinks);
    case 3:
      return quantize_block<3, kPlain>(row, block, sinks);
    default:
      return quantize_block<4, kPlain>(row, block, sinks);
  }
}

// At most kSinksAtOnce sinks.
void quantize(const uint8_t* row, const QuantizedRow& form, const RowSink* sinks, size_t n_sinks) {
  Block block;
  block.group_shift = std::countr_zero(form.group);
  uint32_t scales[kBlockElems / kLeastGroup];
  uint8_t exponents[kBlockElems / kLeastGroup];
  for (size_t at = 0; at < form.elems; at += kBlockElems) {
    block.at = at;
    block.elems = std::min(kBlockElems, form.elems - at);
    block.plain = true;
    const size_t groups = block.elems >> block.group_shift;
    for (size_t g = 0; g < groups; ++g) {
      const Amax amax = amax_of(row + 2 * (at + g * form.group), form.group);
      block.factors[g] = factor_of(amax.bits, form.scales, &scales[g]);
      block.plain = block.plain && amax.all_finite && block.factors[g] >= kLeastPlainFactor;
      exponents[g] = static_cast<uint8_t>(scales[g]);
    }
    for (size_t s = 0; s < n_sinks; ++s) {
      std::byte* const to = sinks[s].scales;
      if (form.scales == RowScales::kFloat32) {
        memcpy(to + at / form.group * sizeof(float), scales, groups * sizeof(float));
      } else {
        memcpy(to + at / form.group, exponents, groups);
      }
    }
    block.plain ? quantize_to<true>(row + 2 * at, block, sinks, n_sinks)
                : quantize_to<false>(row + 2 * at, block, sinks, n_sinks);
  }
}

template <size_t kSinks>
HWY_INLINE void copy_block(const uint8_t* row, size_t bytes, std::byte* const* sinks) {
  const hn::ScalableTag<uint8_t> tag;
  const size_t n = hn::Lanes(tag);
  uint8_t* to[kSinks];
  for (size_t s = 0; s < kSinks; ++s) to[s] = reinterpret_cast<uint8_t*>(sinks[s]);
  size_t i = 0;
  for (; i + 2 * n <= bytes; i += 2 * n) {
    const auto a = hn::LoadU(tag, row + i);
    const auto b = hn::LoadU(tag, row + i + n);
    for (size_t s = 0; s < kSinks; ++s) {
      hn::StoreU(a, tag, to[s] + i);
      hn::StoreU(b, tag, to[s] + i + n);
    }
  }
  for (size_t s = 0; s < kSinks; ++s) memcpy(to[s] + i, row + i, bytes - i);
}

// At most kSinksAtOnce sinks.
void copy_to_rows(const uint8_t* row, size_t bytes, std::byte* const* sinks, size_t n_sinks) {
  switch (n_sinks) {
    case 1:
      return copy_block<1>(row, bytes, sinks);
    case 2:
      return copy_block<2>(row, bytes, sinks);
    case 3:
      return copy_block<3>(row, bytes, sinks);
    default:
      return copy_block<4>(row, bytes, sinks);
  }
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
namespace {
HWY_EXPORT(quantize);
HWY_EXPORT(copy_to_rows);

const uint8_t* raw(const std::byte* bytes) noexcept {
  return reinterpret_cast<const uint8_t*>(bytes);
}
}  // namespace

void quantize_row(const std::byte* row, const QuantizedRow& form, const RowSink* sinks,
                  size_t n_sinks) noexcept {
  if (n_sinks == 0) return;
  HWY_DYNAMIC_DISPATCH(quantize)(raw(row), form, sinks, std::min(n_sinks, kSinksAtOnce));
  const size_t bytes = form.elems / form.group * scale_bytes(form.scales);
  for (size_t first = kSinksAtOnce; first < n_sinks; first += kSinksAtOnce) {
    std::byte *data[kSinksAtOnce] = {}, *scales[kSinksAtOnce] = {};
    const size_t n = std::min(n_sinks - first, kSinksAtOnce);
    for (size_t s = 0; s < n; ++s) {
      data[s] = sinks[first + s].data;
      scales[s] = sinks[first + s].scales;
    }
    copy_row(sinks[0].data, form.elems, data, n);
    copy_row(sinks[0].scales, bytes, scales, n);
  }
}
void copy_row(const std::byte* row, size_t bytes, std::byte* const* sinks,
              size_t n_sinks) noexcept {
  for (size_t first = 0; first < n_sinks; first += kSinksAtOnce) {
    HWY_DYNAMIC_DISPATCH(copy_to_rows)
    (raw(row), bytes, sinks + first, std::min(n_sinks - first, kSinksAtOnce));
  }
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
