// SPDX-License-Identifier: Apache-2.0
// Products of 8-bit floats by one factor, looked up: there are only 256 of them.

#if defined(TUTTI_KERNELS_PRODUCT_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_PRODUCT_TABLE_INL_H_
#undef TUTTI_KERNELS_PRODUCT_TABLE_INL_H_
#else
#define TUTTI_KERNELS_PRODUCT_TABLE_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/fold-inl.h"
#include "src/kernels/reduce_copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3

// The dtype's code of (an element times the factor), rounded to the dtype, for a vector of
// elements: half the instructions of multiplying, encoding and decoding.
//
// The magnitude's seven bits choose among eight rows of 16 bytes. A byte shuffle takes the low four
// bits of an index and gives 0 where its top bit is set. So row k is looked up at magnitude - 16 k,
// which is negative up to the row before, and holds what distinguishes it from that row: the
// bitwise sum of all rows up to the magnitude's own is the product.
template <class Codec>
class ProductTable {
 public:
  using WordTag = hn::ScalableTag<typename Codec::Word>;
  using Words = hn::Vec<WordTag>;

  explicit ProductTable(const uint8_t* factor) : sign_(hn::Set(Tag(), *factor & kSign)) {
    alignas(64) uint8_t products[kCodes];
    fill(*factor & kMagnitude, products);
    for (size_t k = 0; k < kRows; ++k) {
      row_[k] = hn::LoadDup128(Tag(), products + k * kRowBytes);
      if (k > 0) row_[k] = hn::Xor(row_[k], hn::LoadDup128(Tag(), products + (k - 1) * kRowBytes));
    }
  }

  // NaN keeps its sign, which no fold sees.
  HWY_INLINE Words operator()(Words words) const {
    const Tag tag;
    const Vec elements = hn::BitCast(tag, words);
    const Vec magnitude = hn::And(elements, hn::Set(tag, kMagnitude));
    Vec product = hn::And(hn::Xor(elements, sign_), hn::Set(tag, kSign));
    for (size_t k = 0; k < kRows; ++k) {
      const Vec index = hn::Sub(magnitude, hn::Set(tag, static_cast<uint8_t>(k * kRowBytes)));
      product = hn::Xor(product, hn::TableLookupBytes(row_[k], index));
    }
    return hn::BitCast(WordTag(), product);
  }

 private:
  using Tag = hn::ScalableTag<uint8_t>;
  using Vec = hn::Vec<Tag>;
  static constexpr uint8_t kSign = 0x80;
  static constexpr uint8_t kMagnitude = 0x7f;
  static constexpr size_t kCodes = 128;
  static constexpr size_t kRowBytes = 16;
  static constexpr size_t kRows = kCodes / kRowBytes;

  static void fill(uint8_t factor, uint8_t* products) {
    using Part = typename Codec::Vec;
    Part factors[Codec::kParts];
    Codec::decode(hn::BitCast(WordTag(), hn::Set(Tag(), factor)), factors);
    for (size_t at = 0; at < kCodes; at += hn::Lanes(Tag())) {
      Part part[Codec::kParts];
      const Vec codes = hn::Iota(Tag(), static_cast<uint8_t>(at));
      Codec::decode(hn::BitCast(WordTag(), codes), part);
      for (Part& each : part) each = Codec::finish(hn::Mul(each, factors[0]));
      hn::Store(hn::BitCast(Tag(), Codec::encode(part)), Tag(), products + at);
    }
  }

  Vec row_[kRows];
  const Vec sign_;
};

// PreMulSum as a sum of products that are looked up.
template <class Codec>
class FoldOfProducts : public Fold<typename CodecFor<Codec, Op::kSum>::type, Op::kSum> {
  using Base = Fold<typename CodecFor<Codec, Op::kSum>::type, Op::kSum>;

 public:
  using typename Base::Block;
  using typename Base::Words;
  using typename Base::WordTag;
  using Small = Fold<Codec, Op::kPreMulSum>;
  explicit FoldOfProducts(const ReduceCopy& call) : Base(call), products_(call.scaling->pre) {}

  HWY_INLINE Block load(const uint8_t* from, bool pre) const {
    return load(load_words(WordTag(), from), pre);
  }
  HWY_INLINE Block load(Words words, bool pre) const {
    return Base::load(pre ? products_(words) : words, false);
  }

 private:
  const ProductTable<Codec> products_;
};

template <class Codec>
requires(Codec::kElementBytes == 1) struct LargeFold<Codec, Op::kPreMulSum> {
  using type = FoldOfProducts<Codec>;
};

#endif

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
