// SPDX-License-Identifier: Apache-2.0
// The device primitives that compute, for g++: conversions, minimum and maximum, and the reductions
// of multicast memory. Only primitives_host.h includes it.
#pragma once

namespace tutti::gpu {
namespace sim {

// Of a format of `kMantissa` bits after the sign and `kExponent` bits, rounded to nearest even;
// what is too large becomes infinity.
template <int kExponent, int kMantissa>
inline uint32_t encode_half(float value, uint32_t nan) {
  constexpr uint32_t kInfinity = ((1U << kExponent) - 1) << kMantissa;
  constexpr int kBias = (1 << (kExponent - 1)) - 1;
  if (std::isnan(value)) return nan;
  const uint32_t sign = (float_bits(value) >> 31) << (kExponent + kMantissa);
  const float magnitude = std::fabs(value);
  if (std::isinf(value)) return sign | kInfinity;
  if (magnitude == 0) return sign;
  int exponent = std::max(std::ilogb(magnitude), 1 - kBias);
  // Exact: at most 24 significant bits are scaled. rint() rounds to nearest even.
  const double units = std::rint(std::ldexp(static_cast<double>(magnitude), kMantissa - exponent));
  auto mantissa = static_cast<uint32_t>(units);
  if (mantissa >> (kMantissa + 1) != 0) {
    mantissa >>= 1;
    ++exponent;
  }
  if (exponent > kBias) return sign | kInfinity;
  const bool normal = mantissa >> kMantissa != 0;
  const uint32_t field = normal ? static_cast<uint32_t>(exponent + kBias) : 0;
  return sign | field << kMantissa | (mantissa & ((1U << kMantissa) - 1));
}

template <int kExponent, int kMantissa>
inline float decode_half(uint32_t bits) {
  constexpr int kBias = (1 << (kExponent - 1)) - 1;
  constexpr uint32_t kTop = (1U << kExponent) - 1;
  const uint32_t mantissa = bits & ((1U << kMantissa) - 1);
  const uint32_t field = bits >> kMantissa & kTop;
  const float sign = (bits >> (kExponent + kMantissa) & 1) != 0 ? -1.0F : 1.0F;
  if (field == kTop) {
    return sign * (mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                                 : std::numeric_limits<float>::infinity());
  }
  const uint32_t whole = field == 0 ? mantissa : mantissa | 1U << kMantissa;
  const int exponent = (field == 0 ? 1 : static_cast<int>(field)) - kBias - kMantissa;
  return sign * std::ldexp(static_cast<float>(whole), exponent);
}

}  // namespace sim

inline Float2 decode_float16x2(uint32_t bits) {
  return {sim::decode_half<5, 10>(bits & 0xffff), sim::decode_half<5, 10>(bits >> 16)};
}
inline Float2 decode_bfloat16x2(uint32_t bits) {
  return {float_of(bits << 16), float_of(bits & 0xffff0000U)};
}
inline Float2 decode_e4m3x2(uint16_t bits) {
  return {SmallE4m3::decode(bits & 0xffU), SmallE4m3::decode(bits >> 8)};
}
inline Float2 decode_e5m2x2(uint16_t bits) {
  return {SmallE5m2::decode(bits & 0xffU), SmallE5m2::decode(bits >> 8)};
}
inline uint32_t encode_float16x2(Float2 value) {
  return sim::encode_half<5, 10>(value.x, 0x7e00) | sim::encode_half<5, 10>(value.y, 0x7e00) << 16;
}
inline uint32_t encode_bfloat16x2(Float2 value) {
  return sim::encode_half<8, 7>(value.x, 0x7fc0) | sim::encode_half<8, 7>(value.y, 0x7fc0) << 16;
}
inline uint16_t encode_e4m3x2(Float2 value) {
  return static_cast<uint16_t>(SmallE4m3::encode(value.x) | SmallE4m3::encode(value.y) << 8);
}
inline uint16_t encode_e5m2x2(Float2 value) {
  return static_cast<uint16_t>(SmallE5m2::encode(value.x) | SmallE5m2::encode(value.y) << 8);
}

inline float minimum(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<float>::quiet_NaN();
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
inline float maximum(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<float>::quiet_NaN();
  if (a == b) return std::signbit(a) ? b : a;
  return a > b ? a : b;
}

namespace sim {

template <Op kOp, class T>
inline T fold(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if constexpr (kOp == Op::kSum) return a + b;
    if constexpr (kOp == Op::kMin) return static_cast<T>(minimum(a, b));
    return static_cast<T>(maximum(a, b));
  } else {
    if constexpr (kOp == Op::kSum) {
      using Bits = std::make_unsigned_t<T>;
      return static_cast<T>(static_cast<Bits>(a) + static_cast<Bits>(b));
    }
    if constexpr (kOp == Op::kMin) return a < b ? a : b;
    return a < b ? b : a;
  }
}

// `values` are the devices' 16 bytes, as elements of T.
template <Op kOp, class T>
inline Vec16 fold_all(const Vec16* values, uint32_t count) {
  constexpr int kElements = 16 / sizeof(T);
  struct Elements {
    T at[kElements];
  };
  Elements result = std::bit_cast<Elements>(values[0]);
  for (uint32_t v = 1; v < count; ++v) {
    const Elements next = std::bit_cast<Elements>(values[v]);
    for (int i = 0; i < kElements; ++i) result.at[i] = fold<kOp>(result.at[i], next.at[i]);
  }
  return std::bit_cast<Vec16>(result);
}

// Pairs of 16-bit floats, kept in float32 and rounded once.
template <Op kOp, Float2 (*kDecode)(uint32_t), uint32_t (*kEncode)(Float2)>
inline Vec16 fold_halves(const Vec16* values, uint32_t count) {
  struct Words {
    uint32_t at[4];
  };
  Words result{};
  for (int i = 0; i < 4; ++i) {
    Float2 sum = kDecode(std::bit_cast<Words>(values[0]).at[i]);
    for (uint32_t v = 1; v < count; ++v) {
      const Float2 next = kDecode(std::bit_cast<Words>(values[v]).at[i]);
      sum = {fold<kOp>(sum.x, next.x), fold<kOp>(sum.y, next.y)};
    }
    result.at[i] = kEncode(sum);
  }
  return std::bit_cast<Vec16>(result);
}

}  // namespace sim

template <DType kType, Op kOp>
CUDASIM_INLINE Vec16 multimem_load_reduce(const Vec16* at) {
  static_assert(multimem_reduces(kType, kOp));
  Vec16 values[::cudasim::kMaxReplicas];
  const uint32_t count = ::cudasim_multimem_load(at, values);
  if constexpr (kType == DType::kFloat16) {
    return sim::fold_halves<kOp, decode_float16x2, encode_float16x2>(values, count);
  } else if constexpr (kType == DType::kBfloat16) {
    return sim::fold_halves<kOp, decode_bfloat16x2, encode_bfloat16x2>(values, count);
  } else if constexpr (kType == DType::kFloat32) {
    return sim::fold_all<kOp, float>(values, count);
  } else if constexpr (kType == DType::kFloat64) {
    return sim::fold_all<kOp, double>(values, count);
  } else if constexpr (kType == DType::kInt32) {
    return sim::fold_all<kOp, int32_t>(values, count);
  } else if constexpr (kType == DType::kUint32) {
    return sim::fold_all<kOp, uint32_t>(values, count);
  } else if constexpr (kType == DType::kInt64) {
    return sim::fold_all<kOp, int64_t>(values, count);
  } else {
    return sim::fold_all<kOp, uint64_t>(values, count);
  }
}
CUDASIM_INLINE void multimem_store(Vec16* at, Vec16 value) { ::cudasim_multimem_store(at, &value); }
CUDASIM_INLINE void multimem_add_release(uint32_t* at, uint32_t value) {
  ::cudasim_multimem_add(at, value);
}

}  // namespace tutti::gpu
