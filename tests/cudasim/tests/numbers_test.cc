// SPDX-License-Identifier: Apache-2.0
// The conversions of the host's device primitives against the compiler's 16-bit floats and against
// arithmetic.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "src/kernels/cuda/primitives.h"

namespace tutti::gpu {
namespace {

uint32_t low(uint32_t pair) { return pair & 0xffff; }

#ifdef __FLT16_MANT_DIG__  // the compiler has the type
TEST(CudasimNumbers_Float16, EveryCodeDecodesAsTheCompilersDoes) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto wanted = static_cast<float>(std::bit_cast<_Float16>(static_cast<uint16_t>(code)));
    const float got = decode_float16x2(code | code << 16).y;
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(got)) << code;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(wanted)) << code;
      EXPECT_EQ(low(encode_float16x2({got, 0})), code);
    }
  }
  EXPECT_EQ(low(encode_float16x2({std::nanf(""), 0})), 0x7e00U);
}

TEST(CudasimNumbers_Float16, EncodesAsTheCompilerDoes) {
  std::mt19937 random(1);
  for (int i = 0; i < 300'000; ++i) {
    // Around the exponents that the format has, and ties among them.
    const uint32_t exponent = 127 - 27 + static_cast<uint32_t>(random() % 46);
    const auto bits = static_cast<uint32_t>(random());
    const uint32_t mantissa = i % 3 == 0 ? (bits & 0x7ff) << 12 : bits & 0x7fffff;
    const float value =
        float_of((static_cast<uint32_t>(random()) & 1U) << 31 | exponent << 23 | mantissa);
    const auto wanted = std::bit_cast<uint16_t>(static_cast<_Float16>(value));
    ASSERT_EQ(low(encode_float16x2({value, 0})), wanted) << value;
    ASSERT_EQ(encode_float16x2({0, value}) >> 16, wanted) << value;
  }
}

#endif

// Rounding to nearest even on the bits themselves.
uint32_t bfloat16_of(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

TEST(CudasimNumbers_Bfloat16, RoundsToNearestEven) {
  std::mt19937 random(2);
  for (int i = 0; i < 300'000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    const float value = float_of(i % 3 == 0 ? bits << 15 : bits);
    if (std::isnan(value)) continue;
    ASSERT_EQ(low(encode_bfloat16x2({value, 0})), bfloat16_of(value)) << value;
  }
  EXPECT_EQ(low(encode_bfloat16x2({std::nanf(""), 0})), 0x7fc0U);
  EXPECT_EQ(decode_bfloat16x2(0x3f80'4000).x, 2.0F);
  EXPECT_EQ(decode_bfloat16x2(0x3f80'4000).y, 1.0F);
}

TEST(CudasimNumbers_Order, KnowsNansAndSignedZeros) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(minimum(nan, 1)) && std::isnan(maximum(1, nan)));
  EXPECT_TRUE(std::signbit(minimum(0.0F, -0.0F)) && std::signbit(minimum(-0.0F, 0.0F)));
  EXPECT_FALSE(std::signbit(maximum(0.0F, -0.0F)) || std::signbit(maximum(-0.0F, 0.0F)));
  EXPECT_EQ(minimum(-3, 2), -3);
  EXPECT_EQ(maximum(-3, 2), 2);
}

TEST(CudasimNumbers_Fold, IsThatOfElements) {
  const Vec16 values[] = {{1, 0xffffffff, 5, 7}, {2, 1, 0x80000000, 7}, {3, 2, 6, 7}};
  const Vec16 sum = sim::fold_all<Op::kSum, uint32_t>(values, 3);
  EXPECT_EQ(sum.x, 6U);
  EXPECT_EQ(sum.y, 2U);
  EXPECT_EQ(sum.w, 21U);
  const Vec16 least = sim::fold_all<Op::kMin, int32_t>(values, 3);
  EXPECT_EQ(least.y, 0xffffffffU);
  EXPECT_EQ(least.z, 0x80000000U);
  // 2048 + 1 + 1 in float16: rounded once, not twice.
  const uint32_t large = low(encode_float16x2({2048, 0}));
  const uint32_t one = low(encode_float16x2({1, 0}));
  const Vec16 halves[] = {{large, 0, 0, 0}, {one, 0, 0, 0}, {one, 0, 0, 0}};
  const Vec16 once = sim::fold_halves<Op::kSum, decode_float16x2, encode_float16x2>(halves, 3);
  EXPECT_EQ(decode_float16x2(once.x).x, 2050.0F);
}

}  // namespace
}  // namespace tutti::gpu
