// SPDX-License-Identifier: Apache-2.0
// Weighted sums of rows of tokens, in their order, rounded once.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/token_row_sums.cc"
#include <bit>
#include <cstdint>
#include <cstring>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/token_rows-inl.h"
#include "src/kernels/token_rows.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Element i, before rounding.
template <class From>
float sum_of(const RowSum& sum, size_t i) {
  float total = 0;
  for (size_t j = 0; j < sum.n_rows; ++j) {
    const float value = From::at(reinterpret_cast<const uint8_t*>(sum.rows[j]), i);
    const float term = sum.weights == nullptr ? value : sum.weights[j] * value;
    total = j == 0 ? term : total + term;
  }
  return total;
}

// The elements from `i` on, one by one.
template <class From, class To>
void sum_tail(const RowSum& sum, uint8_t* out, size_t i) {
  for (; i < sum.elems; ++i) To::put(sum_of<From>(sum, i), out, i);
}

// Rows with their weights. A number of rows that is known lets them stay in registers; kAnyRows: it
// is not.
inline constexpr size_t kAnyRows = 0;
inline constexpr size_t kMostKnownRows = 8;
template <bool kWeighted, size_t kRows>
class Terms {
 public:
  using Vec = Bfloat16::Vec;
  explicit HWY_INLINE Terms(const RowSum& sum) : sum_(sum) {
    for (size_t j = 0; j < kRows; ++j) {
      rows_[j] = reinterpret_cast<const uint8_t*>(sum.rows[j]);
      weights_[j] = kWeighted ? sum.weights[j] : 1.0F;
    }
  }
  // Sums of the pairs of elements at `i`; there is a row.
  HWY_INLINE void at(size_t i, Vec* total) const {
    const Bfloat16::Tag tag;
    const size_t n = kRows == kAnyRows ? sum_.n_rows : kRows;
    for (size_t j = 0; j < n; ++j) {
      const uint8_t* const row =
          kRows == kAnyRows ? reinterpret_cast<const uint8_t*>(sum_.rows[j]) : rows_[j];
      Vec parts[2];
      BfloatRows::load(row + 2 * i, parts);
      for (size_t p = 0; p < 2; ++p) {
        if constexpr (kWeighted) {
          const float weight = kRows == kAnyRows ? sum_.weights[j] : weights_[j];
          parts[p] = hn::Mul(parts[p], hn::Set(tag, weight));
        }
        total[p] = j == 0 ? parts[p] : hn::Add(total[p], parts[p]);
      }
    }
  }

 private:
  const RowSum& sum_;
  const uint8_t* rows_[kRows == kAnyRows ? 1 : kRows] = {};
  float weights_[kRows == kAnyRows ? 1 : kRows] = {};
};

// Calls do_it with the Terms that fit the sum, which has rows.
template <bool kWeighted, size_t kRows = 1, class Do>
HWY_INLINE auto with_terms(const RowSum& sum, const Do& do_it) {
  if constexpr (kRows > kMostKnownRows) {
    return do_it(Terms<kWeighted, kAnyRows>(sum));
  } else {
    if (sum.n_rows == kRows) return do_it(Terms<kWeighted, kRows>(sum));
    return with_terms<kWeighted, kRows + 1>(sum, do_it);
  }
}

template <bool kWeighted>
size_t sum_to_bf16(const RowSum& sum, uint8_t* out) {
  return with_terms<kWeighted>(sum, [&](const auto& terms) HWY_ATTR {
    const size_t n = 2 * hn::Lanes(Bfloat16::Tag());
    size_t i = 0;
    for (; i + n <= sum.elems; i += n) {
      Bfloat16::Vec total[2];
      terms.at(i, total);
      BfloatRows::store(total, out + 2 * i);
    }
    return i;
  });
}

template <bool kWeighted>
size_t sum_to_float(const RowSum& sum, uint8_t* out) {
  const Bfloat16::Tag tag;
  const Terms<kWeighted, kAnyRows> terms(sum);
  const size_t n = hn::Lanes(tag);
  size_t i = 0;
  for (; i + 2 * n <= sum.elems; i += 2 * n) {
    Bfloat16::Vec total[2];
    terms.at(i, total);
    for (auto& part : total) part = Bfloat16::finish(part);
    hn::StoreInterleaved2(total[0], total[1], tag, reinterpret_cast<float*>(out) + i);
  }
  return i;
}

// Rounds to bfloat16 and back.
HWY_INLINE void round_pairs(Bfloat16::Vec* parts) {
  for (size_t p = 0; p < 2; ++p) parts[p] = Bfloat16::finish(parts[p]);
  Bfloat16::decode(Bfloat16::encode(parts), parts);
}

// Whole vectors; returns the elements done.
template <class Inner>
HWY_INLINE size_t sum_pairs_around(const RowSum& sum, const Inner& inner, size_t at, uint8_t* out) {
  const size_t n = 2 * hn::Lanes(Bfloat16::Tag());
  const hn::Vec<Bfloat16::Tag> zero = hn::Zero(Bfloat16::Tag());
  size_t i = 0;
  for (; i + n <= sum.elems; i += n) {
    Bfloat16::Vec total[2] = {zero, zero}, mine[2], parts[2];
    inner(i, mine);
    round_pairs(mine);
    for (size_t j = 0; j < sum.n_rows; ++j) {
      if (j != at) BfloatRows::load(reinterpret_cast<const uint8_t*>(sum.rows[j]) + 2 * i, parts);
      for (size_t p = 0; p < 2; ++p) {
        const auto term = j == at ? mine[p] : parts[p];
        total[p] = j == 0 ? term : hn::Add(total[p], term);
      }
    }
    BfloatRows::store(total, out + 2 * i);
  }
  return i;
}

template <bool kWeighted>
void sum_around(const RowSum& sum, const RowSum& inner, size_t at, uint8_t* out) {
  size_t i = 0;
  if (inner.n_rows == 0) {
    i = sum_pairs_around(
        sum,
        [](size_t, Bfloat16::Vec* parts)
            HWY_ATTR { parts[0] = parts[1] = hn::Zero(Bfloat16::Tag()); },
        at, out);
  } else {
    i = with_terms<kWeighted>(inner, [&](const auto& terms) HWY_ATTR {
      return sum_pairs_around(
          sum, [&](size_t e, Bfloat16::Vec* parts) HWY_ATTR { terms.at(e, parts); }, at, out);
    });
  }
  for (; i < sum.elems; ++i) {
    float total = 0;
    for (size_t j = 0; j < sum.n_rows; ++j) {
      float term = 0;
      if (j == at) {
        uint8_t rounded[2];
        BfloatRows::put(sum_of<BfloatRows>(inner, i), rounded, 0);
        term = BfloatRows::at(rounded, 0);
      } else {
        term = BfloatRows::at(reinterpret_cast<const uint8_t*>(sum.rows[j]), i);
      }
      total = j == 0 ? term : total + term;
    }
    BfloatRows::put(total, out, i);
  }
}

void sum_bf16_around(const RowSum& sum, const RowSum& inner, size_t at, uint8_t* out) {
  if (inner.weights == nullptr) return sum_around<false>(sum, inner, at, out);
  sum_around<true>(sum, inner, at, out);
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

HWY_EXPORT(sum_bf16);
HWY_EXPORT(sum_bf16_around);
HWY_EXPORT(sum_unrounded);
HWY_EXPORT(sum_floats);

uint8_t* raw(std::byte* bytes) noexcept { return reinterpret_cast<uint8_t*>(bytes); }

}  // namespace

void sum_rows(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_bf16)(sum, raw(out));
}
void sum_rows_around(const RowSum& sum, const RowSum& inner, size_t at, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_bf16_around)(sum, inner, at, raw(out));
}
void sum_rows_unrounded(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_unrounded)(sum, raw(out));
}
void sum_float_rows(const RowSum& sum, std::byte* out) noexcept {
  HWY_DYNAMIC_DISPATCH(sum_floats)(sum, raw(out));
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
