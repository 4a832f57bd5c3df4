// SPDX-License-Identifier: Apache-2.0
// Minimum and maximum of the narrow floats without converting them: their bits, read as integers of
// sign and magnitude, are ordered as their values are.

#if defined(TUTTI_KERNELS_ORDERED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TUTTI_KERNELS_ORDERED_INL_H_
#undef TUTTI_KERNELS_ORDERED_INL_H_
#else
#define TUTTI_KERNELS_ORDERED_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <limits>

#include <hwy/highway.h>

#include "src/kernels/convert-inl.h"
#include "src/kernels/ops.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What an operation on bits has to know of a format: its integer, the greatest magnitude that is a
// number (infinity where there is one), and the magnitude of the canonical NaN.
struct Float16Bits {
  using Int = int16_t;
  static constexpr Int kGreatest = 0x7c00;
  static constexpr Int kNan = 0x7e00;
};
struct Bfloat16Bits {
  using Int = int16_t;
  static constexpr Int kGreatest = 0x7f80;
  static constexpr Int kNan = 0x7fc0;
};
struct Float8e4m3Bits {
  using Int = int8_t;
  static constexpr Int kGreatest = 0x7e;
  static constexpr Int kNan = 0x7f;
};
struct Float8e5m2Bits {
  using Int = int8_t;
  static constexpr Int kGreatest = 0x7c;
  static constexpr Int kNan = 0x7e;
};

// A codec of two accumulators, both folded by the operation itself. The first is a key: the bits,
// of which a negative number's magnitude is inverted, so that signed integers are ordered as the
// numbers are, -0 below +0. The second finds NaN: the greatest magnitude for Max, for Min the least
// complement of one.
template <class Format, bool kMax>
struct Ordered {
  using Lane = typename Format::Int;
  using Tag = hn::ScalableTag<Lane>;
  using Vec = hn::Vec<Tag>;
  using Word = Lane;
  static constexpr size_t kElementBytes = sizeof(Lane);
  static constexpr size_t kParts = 2;

  static HWY_INLINE void decode(Vec word, Vec* parts) {
    const Vec magnitude = hn::Set(Tag(), kMagnitude);
    parts[0] = key(word);
    if constexpr (kMax) {
      parts[1] = hn::And(word, magnitude);
    } else {
      parts[1] = hn::Not(hn::And(word, magnitude));
    }
  }
  static HWY_INLINE Vec finish(Vec part) { return part; }
  static HWY_INLINE Vec encode(const Vec* parts) {
    const Tag tag;
    const auto greatest = hn::Set(tag, kMax ? Format::kGreatest : Lane{~Format::kGreatest});
    const auto is_nan = kMax ? hn::Gt(parts[1], greatest) : hn::Lt(parts[1], greatest);
    return hn::IfThenElse(is_nan, hn::Set(tag, Format::kNan), key(parts[0]));
  }

 private:
  static constexpr Lane kMagnitude = std::numeric_limits<Lane>::max();

  // Its own inverse.
  static HWY_INLINE Vec key(Vec bits) {
    return hn::Xor(bits, hn::And(hn::BroadcastSignBit(bits), hn::Set(Tag(), kMagnitude)));
  }
};

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
