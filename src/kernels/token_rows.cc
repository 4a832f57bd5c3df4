// SPDX-License-Identifier: Apache-2.0
// Kernels on rows of tokens: two neighbouring bfloat16 elements stay in the 32-bit lane that they
// are loaded in, so nothing crosses lanes before the last narrowing.
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
#include "src/kernels/token_rows.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kLargestE4m3 = 448.0F;
inline constexpr float kLeastAmax = 1e-4F;
inline constexpr size_t kBlockElems = 2048;  // quantised at a time: what it reads stays in L1
inline constexpr size_t kLeastGroup = 32;

// ---- quantising ----

inline float as_float(uint32_t bits) { return std::bit_cast<float>(bits); }

inline uint16_t load_bf16(const uint8_t* from) {
  uint16_t value = 0;
  memcpy(&value, from, sizeof value);
  return value;
}

// Largest magnitude of the finite elements, as bfloat16 bits.
HWY_INLINE uint32_t amax_bits(const uint8_t* row, size_t elems) {
  const hn::ScalableTag<int16_t> tag;
  const size_t n = hn::Lanes(tag);
  uint32_t most = 0;
  size_t i = 0;
  if constexpr (!kScalarTarget) {
    auto seen = hn::Zero(tag);
    for (; i + n <= elems; i += n) {
      const auto magnitude = hn::And(load_words(tag, row + 2 * i), hn::Set(tag, 0x7fff));
      const auto finite = hn::Lt(magnitude, hn::Set(tag, 0x7f80));
      seen = hn::Max(seen, hn::IfThenElseZero(finite, magnitude));
    }
    HWY_ALIGN int16_t lanes[hn::MaxLanes(tag)];
    hn::Store(seen, tag, lanes);
    for (size_t lane = 0; lane < n; ++lane)
      most = std::max(most, static_cast<uint32_t>(lanes[lane]));
  }
  for (; i < elems; ++i) {
    const uint32_t magnitude = load_bf16(row + 2 * i) & 0x7fffu;
    if (magnitude < 0x7f80) most = std::max(most, magnitude);
  }
  return most;
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

// Elements [0, elems) of a block by the factors of its groups.
HWY_INLINE void quantize_block(const uint8_t* row, size_t elems, size_t group, const float* factors,
                               const RowSink* sinks, size_t n_sinks, size_t at) {
  const hn::ScalableTag<float> tag;
  const hn::RebindToUnsigned<decltype(tag)> words;
  const size_t n = 2 * hn::Lanes(tag);
  size_t i = 0;
  if constexpr (!kScalarTarget) {
    const hn::Rebind<uint16_t, decltype(tag)> pairs;
    for (; i + n <= elems; i += n) {
      const auto factor = hn::Set(tag, factors[i / group]);
      const auto word = load_words(words, row + 2 * i);
      const auto low = hn::Mul(hn::BitCast(tag, hn::ShiftLeft<16>(word)), factor);
      const auto high =
          hn::Mul(hn::BitCast(tag, hn::And(word, hn::Set(words, 0xffff0000u))), factor);
      const auto both = hn::Or(e4m3_codes(tag, low), hn::ShiftLeft<8>(e4m3_codes(tag, high)));
      const auto codes =
          hn::DemoteTo(pairs, hn::BitCast(hn::RebindToSigned<decltype(tag)>(), both));
      for (size_t s = 0; s < n_sinks; ++s)
        store_words(codes, pairs, reinterpret_cast<uint8_t*>(sinks[s].data) + at + i);
    }
  }
  for (; i < elems; ++i) {
    const float value = as_float(static_cast<uint32_t>(load_bf16(row + 2 * i)) << 16);
    const uint8_t code = e4m3_code(value * factors[i / group]);
    for (size_t s = 0; s < n_sinks; ++s) sinks[s].data[at + i] = static_cast<std::byte>(code);
  }
}

void quantize(const uint8_t* row, const QuantizedRow& form, const RowSink* sinks, size_t n_sinks) {
  float factors[kBlockElems / kLeastGroup];
  const size_t bytes = scale_bytes(form.scales);
  for (size_t at = 0; at < form.elems; at += kBlockElems) {
    const size_t elems = std::min(kBlockElems, form.elems - at);
    for (size_t g = 0; g * form.group < elems; ++g) {
      uint32_t scale = 0;
      factors[g] =
          factor_of(amax_bits(row + 2 * (at + g * form.group), form.group), form.scales, &scale);
      static_assert(std::endian::native == std::endian::little);
      for (size_t s = 0; s < n_sinks; ++s)
        memcpy(sinks[s].scales + (at / form.group + g) * bytes, &scale, bytes);
    }
    quantize_block(row + 2 * at, elems, form.group, factors, sinks, n_sinks, at);
  }
}

// ---- copying ----

void copy_to_sinks(const uint8_t* row, size_t bytes, std::byte* const* sinks, size_t n_sinks) {
  size_t i = 0;
  if constexpr (!kScalarTarget) {
    const hn::ScalableTag<uint8_t> tag;
    const size_t n = hn::Lanes(tag);
    for (; i + 2 * n <= bytes; i += 2 * n) {
      const auto a = hn::LoadU(tag, row + i);
      const auto b = hn::LoadU(tag, row + i + n);
      for (size_t s = 0; s < n_sinks; ++s) {
        auto* const to = reinterpret_cast<uint8_t*>(sinks[s]) + i;
        hn::StoreU(a, tag, to);
        hn::StoreU(b, tag, to + n);
      }
    }
  }
  for (size_t s = 0; s < n_sinks; ++s) memcpy(sinks[s] + i, row + i, bytes - i);
}

// ---- sums ----

struct BfloatRows {
  static constexpr size_t kParts = 2;
  static constexpr size_t kBytes = 2;
  using Codec = Bfloat16;
  template <class Vec>
  static HWY_INLINE void load(const uint8_t* from, Vec* parts) {
    Codec::decode(load_words(Codec::WordTag(), from), parts);
  }
  template <class Vec>
  static HWY_INLINE void store(Vec* parts, uint8_t* to) {
    for (size_t p = 0; p < kParts; ++p) parts[p] = Codec::finish(parts[p]);
    store_words(Codec::encode(parts), Codec::WordTag(), to);
  }
  static float at(const uint8_t* row, size_t i) {
    return as_float(static_cast<uint32_t>(load_bf16(row + 2 * i)) << 16);
  }
  static void put(float value, uint8_t* out, size_t i) {
    uint32_t bits = std::bit_cast<uint32_t>(value);
    bits = value != value ? 0x7fc00000u : bits + 0x7fffu + (bits >> 16 & 1u);
    const auto code = static_cast<uint16_t>(bits >> 16);
    memcpy(out + 2 * i, &code, sizeof code);
  }
};

// Sums of element pairs of bfloat16 rows, kept as float32 in their order.
struct FloatRows {
  static float at(const uint8_t* row, size_t i) {
    float value = 0;
    memcpy(&value, row + 4 * i, sizeof value);
    return value;
  }
  static void put(float value, uint8_t* out, size_t i) {
    if (value != value) value = as_float(0x7fc00000u);
    memcpy(out + 4 * i, &value, sizeof value);
  }
};

// The elements from `i` on, one by one.
template <class From, class To>
void sum_tail(const RowSum& sum, uint8_t* out, size_t i) {
  for (; i < sum.elems; ++i) {
    float total = 0;
    for (size_t j = 0; j < sum.n_rows; ++j) {
      const float value = From::at(reinterpret_cast<const uint8_t*>(sum.rows[j]), i);
      const float term = sum.weights == nullptr ? value : sum.weights[j] * value;
      total = j == 0 ? term : total + term;
    }
    To::put(total, out, i);
  }
}

// Weighted sums of the pairs of elements at `i` of all rows.
template <bool kWeighted>
HWY_INLINE void sum_pairs(const RowSum& sum, size_t i, Bfloat16::Vec* total) {
  const Bfloat16::Tag tag;
  for (size_t j = 0; j < sum.n_rows; ++j) {
    Bfloat16::Vec parts[2];
    BfloatRows::load(reinterpret_cast<const uint8_t*>(sum.rows[j]) + 2 * i, parts);
    for (size_t p = 0; p < 2; ++p) {
      if constexpr (kWeighted) parts[p] = hn::Mul(parts[p], hn::Set(tag, sum.weights[j]));
      total[p] = j == 0 ? parts[p] : hn::Add(total[p], parts[p]);
    }
  }
}

template <bool kWeighted>
size_t sum_to_bf16(const RowSum& sum, uint8_t* out) {
  const size_t n = 2 * hn::Lanes(Bfloat16::Tag());
  size_t i = 0;
  for (; i + n <= sum.elems; i += n) {
    Bfloat16::Vec total[2];
    sum_pairs<kWeighted>(sum, i, total);
    BfloatRows::store(total, out + 2 * i);
  }
  return i;
}

template <bool kWeighted>
size_t sum_to_float(const RowSum& sum, uint8_t* out) {
  const Bfloat16::Tag tag;
  const size_t n = hn::Lanes(tag);
  size_t i = 0;
  for (; i + 2 * n <= sum.elems; i += 2 * n) {
    Bfloat16::Vec total[2];
    sum_pairs<kWeighted>(sum, i, total);
    for (auto& part : total) part = Bfloat16::finish(part);
    hn::StoreInterleaved2(total[0], total[1], tag, reinterpret_cast<float*>(out) + i);
  }
  return i;
}

void sum_bf16(const RowSum& sum, uint8_t* out) {
  size_t done = 0;
  if (!kScalarTarget && sum.n_rows != 0)
    done = sum.weights == nullptr ? sum_to_bf16<false>(sum, out) : sum_to_bf16<true>(sum, out);
  sum_tail<BfloatRows, BfloatRows>(sum, out, done);
}

void sum_unrounded(const RowSum& sum, uint8_t* out) {
  size_t done = 0;
  if (!kScalarTarget && sum.n_rows != 0 && reinterpret_cast<uintptr_t>(out) % sizeof(float) == 0)
    done = sum.weights == nullptr ? sum_to_float<false>(sum, out) : sum_to_float<true>(sum, out);
  sum_tail<BfloatRows, FloatRows>(sum, out, done);
}

void sum_floats(const RowSum& sum, uint8_t* out) {
  const Bfloat16::Tag tag;
  const hn::Rebind<uint16_t, decltype(tag)> halves;
  const size_t n = hn::Lanes(tag);
  size_t i = 0;
  for (; sum.n_rows != 0 && i + n <= sum.elems; i += n) {
    auto total = load_words(tag, reinterpret_cast<const uint8_t*>(sum.rows[0]) + 4 * i);
    if (sum.weights != nullptr) total = hn::Mul(total, hn::Set(tag, sum.weights[0]));
    for (size_t j = 1; j < sum.n_rows; ++j) {
      auto term = load_words(tag, reinterpret_cast<const uint8_t*>(sum.rows[j]) + 4 * i);
      if (sum.weights != nullptr) term = hn::Mul(term, hn::Set(tag, sum.weights[j]));
      total = hn::Add(total, term);
    }
    Bfloat16::Vec pair[2] = {Bfloat16::finish(total), hn::Zero(tag)};
    const auto codes = hn::BitCast(hn::RebindToSigned<decltype(tag)>(), Bfloat16::encode(pair));
    store_words(hn::DemoteTo(halves, codes), halves, out + 2 * i);
  }
  sum_tail<FloatRows, BfloatRows>(sum, out, i);
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
namespace {
HWY_EXPORT(quantize);
HWY_EXPORT(copy_to_sinks);
HWY_EXPORT(sum_bf16);
HWY_EXPORT(sum_unrounded);
HWY_EXPORT(sum_floats);

const uint8_t* raw(const std::byte* bytes) noexcept {
  return reinterpret_cast<const uint8_t*>(bytes);
}
uint8_t* raw(std::byte* bytes) noexcept { return reinterpret_cast<uint8_t*>(bytes); }
}  // namespace

void quantize_row(const std::byte* row, const QuantizedRow& form, const RowSink* sinks,
                  size_t n_sinks) noexcept {
  HWY_DYNAMIC_DISPATCH(quantize)(raw(row), form, sinks, n_sinks);
}
void copy_row(const std::byte* row, size_t bytes, std::byte* const* sinks,
              size_t n_sinks) noexcept {
  HWY_DYNAMIC_DISPATCH(copy_to_sinks)(raw(row), bytes, sinks, n_sinks);
}
void sum_rows(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_bf16)(sum, raw(out));
}
void sum_rows_unrounded(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_unrounded)(sum, raw(out));
}
void sum_float_rows(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_floats)(sum, raw(out));
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
