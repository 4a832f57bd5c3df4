// SPDX-License-Identifier: Apache-2.0
// Folds: how accumulators merge, and what scaling does to them (src/kernels/reduce_copy.h has the
// numerics).
#pragma once

#include <cstdint>
#include <type_traits>

#include "src/kernels/cuda/codec.h"
#include "src/kernels/cuda/move.h"

namespace tutti::gpu {

template <class T>
TUTTI_GPU T minimum_of(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    return minimum(a, b);
  } else if constexpr (std::is_same_v<T, double>) {
    if (a != a || b != b) return a + b;
    if (a == b) {  // equal bits, or zeros: -0 is the lesser
      return __builtin_bit_cast(double,
                                __builtin_bit_cast(uint64_t, a) | __builtin_bit_cast(uint64_t, b));
    }
    return a < b ? a : b;
  } else {
    return a < b ? a : b;
  }
}
template <class T>
TUTTI_GPU T maximum_of(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    return maximum(a, b);
  } else if constexpr (std::is_same_v<T, double>) {
    if (a != a || b != b) return a + b;
    if (a == b) {
      return __builtin_bit_cast(double,
                                __builtin_bit_cast(uint64_t, a) & __builtin_bit_cast(uint64_t, b));
    }
    return a < b ? b : a;
  } else {
    return a < b ? b : a;
  }
}

// Integers wrap, so their sums and products are those without sign.
template <Op kOp, class T>
TUTTI_GPU T merge_scalar(T a, T b) {
  if constexpr (kOp == Op::kMin) {
    return minimum_of(a, b);
  } else if constexpr (kOp == Op::kMax) {
    return maximum_of(a, b);
  } else if constexpr (std::is_floating_point_v<T>) {
    return kOp == Op::kProd ? a * b : a + b;
  } else {
    using U = std::make_unsigned_t<T>;
    const U ua = static_cast<U>(a);
    const U ub = static_cast<U>(b);
    return static_cast<T>(kOp == Op::kProd ? ua * ub : ua + ub);
  }
}

// Four bytes in a word.
template <class Byte, class F>
TUTTI_GPU uint32_t each_byte(uint32_t a, uint32_t b, F f) {
  uint32_t out = 0;
  TUTTI_UNROLL
  for (int i = 0; i < 32; i += 8) {
    const int32_t r = f(static_cast<int32_t>(static_cast<Byte>(a >> i)),
                        static_cast<int32_t>(static_cast<Byte>(b >> i)));
    out |= (static_cast<uint32_t>(r) & 0xffu) << i;
  }
  return out;
}
template <Op kOp, class Byte>
TUTTI_GPU uint32_t merge_bytes(uint32_t a, uint32_t b) {
  if constexpr (kOp == Op::kSum) {  // carries stop at each byte's top bit
    constexpr uint32_t kTops = 0x80808080u;
    return ((a & ~kTops) + (b & ~kTops)) ^ ((a ^ b) & kTops);
  } else if constexpr (kOp == Op::kProd) {
    return each_byte<uint8_t>(a, b, [](int32_t x, int32_t y) { return x * y; });
  } else if constexpr (kOp == Op::kMin) {
    return each_byte<Byte>(a, b, [](int32_t x, int32_t y) { return x < y ? x : y; });
  } else {
    return each_byte<Byte>(a, b, [](int32_t x, int32_t y) { return x < y ? y : x; });
  }
}

// Truncating division by an invariant number (src/kernels/divider.h).
TUTTI_GPU uint32_t divide_magnitude(uint32_t v, const Scaling& s) {
  const auto high =
      static_cast<uint32_t>((uint64_t{v} * static_cast<uint32_t>(s.multiplier)) >> 32);
  return (high + ((v - high) >> 1)) >> s.shift;
}
TUTTI_GPU uint64_t divide_magnitude(uint64_t v, const Scaling& s) {
  const auto high = static_cast<uint64_t>((static_cast<unsigned __int128>(v) * s.multiplier) >> 64);
  return (high + ((v - high) >> 1)) >> s.shift;
}
template <class T>
TUTTI_GPU T divide_integer(T value, const Scaling& s) {
  using U = std::make_unsigned_t<T>;
  if constexpr (std::is_signed_v<T>) {
    const U sign = value < 0 ? ~U{0} : U{0};
    const U magnitude = (static_cast<U>(value) ^ sign) - sign;
    return static_cast<T>((divide_magnitude(magnitude, s) ^ sign) - sign);
  } else {
    return divide_magnitude(value, s);
  }
}
// By a power of two a multiplication has the same result as the division.
template <class T>
TUTTI_GPU T divide_float(T value, uint32_t divisor) {
  const T by = static_cast<T>(static_cast<int32_t>(divisor));
  return (divisor & (divisor - 1)) == 0 ? value * (T{1} / by) : value / by;
}

// 16 bytes' worth of accumulators of one data type.
template <DType kType>
class Block {
 public:
  using Codec = CodecOf<kType>;
  using Acc = typename Codec::Acc;
  static constexpr int kAccs = Codec::kAccs;
  static constexpr bool kBytes = kType == DType::kInt8 || kType == DType::kUint8;
  using Byte = std::conditional_t<kType == DType::kInt8, int8_t, uint8_t>;

  TUTTI_GPU void set(Vec16 v) { Codec::decode(v, acc_); }
  TUTTI_GPU Vec16 result() const { return Codec::encode(acc_); }

  template <Op kOp>
  TUTTI_GPU void merge(const Block& next) {
    TUTTI_UNROLL
    for (int i = 0; i < kAccs; ++i) {
      if constexpr (kBytes) {
        acc_[i] = merge_bytes<kOp, Byte>(acc_[i], next.acc_[i]);
      } else {
        acc_[i] = merge_scalar<kOp>(acc_[i], next.acc_[i]);
      }
    }
  }
  TUTTI_GPU void merge(Op op, const Block& next) {
    switch (op) {
      case Op::kProd:
        return merge<Op::kProd>(next);
      case Op::kMin:
        return merge<Op::kMin>(next);
      case Op::kMax:
        return merge<Op::kMax>(next);
      default:
        return merge<Op::kSum>(next);
    }
  }

  // PreMulSum of a source: the product is rounded to the data type before it is folded.
  TUTTI_GPU void multiply(const Scaling& s) {
    Block factor;
    factor.set(repeated(s.pre));
    TUTTI_UNROLL
    for (int i = 0; i < kAccs; ++i) {
      if constexpr (kBytes) {
        acc_[i] = merge_bytes<Op::kProd, Byte>(acc_[i], factor.acc_[i]);
      } else {
        acc_[i] = merge_scalar<Op::kProd>(acc_[i], factor.acc_[i]);
      }
    }
    if constexpr (kAccs * sizeof(Acc) > 16) set(result());
  }

  // Avg of a result.
  TUTTI_GPU void divide(const Scaling& s) {
    TUTTI_UNROLL
    for (int i = 0; i < kAccs; ++i) {
      if constexpr (kBytes) {
        acc_[i] = divide_bytes(acc_[i], static_cast<uint32_t>(s.multiplier));
      } else if constexpr (std::is_floating_point_v<Acc>) {
        acc_[i] = divide_float(acc_[i], s.divisor);
      } else {
        acc_[i] = divide_integer(acc_[i], s);
      }
    }
  }

 private:
  static TUTTI_GPU Vec16 repeated(uint64_t element) {
    uint32_t low = static_cast<uint32_t>(element);
    uint32_t high = low;
    if constexpr (size_of(kType) == 1) low = (low & 0xffu) * 0x01010101u;
    if constexpr (size_of(kType) == 2) low = (low & 0xffffu) * 0x00010001u;
    if constexpr (size_of(kType) == 8) {
      high = static_cast<uint32_t>(element >> 32);
    } else {
      high = low;
    }
    return {low, high, low, high};
  }
  static TUTTI_GPU uint32_t divide_bytes(uint32_t word, uint32_t multiplier) {
    return each_byte<Byte>(word, multiplier, [multiplier](int32_t x, int32_t) {
      const uint32_t magnitude = static_cast<uint32_t>(x < 0 ? -x : x);
      const auto quotient = static_cast<int32_t>((magnitude * multiplier) >> 16);
      return x < 0 ? -quotient : quotient;
    });
  }

  Acc acc_[kAccs];
};

}  // namespace tutti::gpu
