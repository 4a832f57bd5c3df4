// SPDX-License-Identifier: Apache-2.0
// Values: every pair of 8-bit elements, every 16-bit element, special and random values of the wide
// types, bit for bit.
#include <algorithm>
#include <array>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/unit/kernels_harness.h"

namespace tutti::test {
namespace {

// Divisors around what the exact divisions treat apart: powers of two, one beside, more than a
// byte, the extremes.
constexpr int32_t kDivisors[] = {1,
                                 2,
                                 3,
                                 4,
                                 5,
                                 7,
                                 8,
                                 16,
                                 100,
                                 127,
                                 128,
                                 129,
                                 255,
                                 256,
                                 257,
                                 641,
                                 65535,
                                 65536,
                                 65537,
                                 16777217,
                                 (1 << 30) - 1,
                                 1 << 30,
                                 INT32_MAX - 1,
                                 INT32_MAX};

// Calls `check` with the operation's variants: plain, with pre factors, with divisors.
template <class Check>
void for_each_scaling(DType dtype, Op op, const std::vector<Bytes>& factors, Check check) {
  (void)dtype;
  if (op == Op::kPreMulSum) {
    for (const Bytes& factor : factors) check(factor.data(), 1);
  } else if (op == Op::kAvg) {
    for (const int32_t divisor : kDivisors) check(nullptr, divisor);
  } else {
    check(nullptr, 1);
  }
}

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

void expect_pairs_agree(DType dtype, const Bytes& left, const Bytes& right,
                        const std::vector<Bytes>& factors) {
  const size_t count = left.size() / size_of(dtype);
  for (const Op op : kAllOps) {
    for_each_scaling(dtype, op, factors, [&](const void* pre, int32_t divisor) {
      const std::array<ReferenceInput, 2> inputs = {
          {{left.data(), pre != nullptr}, {right.data(), pre != nullptr}}};
      expect_all_targets_agree({.dtype = dtype,
                                .op = op,
                                .inputs = inputs,
                                .count = count,
                                .pre = pre,
                                .post_divisor = divisor});
    });
  }
}

// All ordered pairs of the elements.
void expect_product_agrees(DType dtype, const Bytes& elements, const std::vector<Bytes>& factors) {
  const size_t size = size_of(dtype);
  Bytes left;
  Bytes right;
  for (size_t a = 0; a < elements.size(); a += size) {
    for (size_t b = 0; b < elements.size(); b += size) {
      left.insert(left.end(), elements.begin() + a, elements.begin() + a + size);
      right.insert(right.end(), elements.begin() + b, elements.begin() + b + size);
    }
  }
  expect_pairs_agree(dtype, left, right, factors);
}

class EveryByte : public ::testing::TestWithParam<DType> {};

TEST_P(EveryByte, AllPairs_EveryOperation_EqualReference) {
  Bytes all(256);
  for (int i = 0; i < 256; ++i) all[i] = static_cast<uint8_t>(i);
  std::vector<Bytes> factors;
  for (const int factor :
       {0x00, 0x01, 0x03, 0x08, 0x38, 0x3c, 0x41, 0x7e, 0x7f, 0x80, 0xb9, 0xff}) {
    factors.push_back({static_cast<uint8_t>(factor)});
  }
  expect_product_agrees(GetParam(), all, factors);
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryByte,
                         ::testing::Values(DType::kInt8, DType::kUint8, DType::kFloat8e4m3,
                                           DType::kFloat8e5m2),
                         [](const auto& info) { return std::string(name(info.param)); });

class EveryHalf : public ::testing::TestWithParam<DType> {};

TEST_P(EveryHalf, AllElements_WithSpecialPartners_EqualReference) {
  std::vector<uint16_t> all(65536);
  for (int i = 0; i < 65536; ++i) all[i] = static_cast<uint16_t>(i);
  const Bytes left = bytes_of(all);
  // -0 (a plain round trip through float32), the smallest and a middling subnormal, about 1, large,
  // infinite, NaN, and a shuffle.
  for (const uint32_t partner : {0x8000u, 0x0001u, 0x0155u, 0x3c01u, 0xbf81u, 0x7bffu, 0x7f7fu,
                                 0xfc00u, 0x7f81u, 0x10000u}) {
    std::vector<uint16_t> other(65536, static_cast<uint16_t>(partner));
    if (partner == 0x10000) {
      other = all;
      std::shuffle(other.begin(), other.end(), std::mt19937(5));
    }
    expect_pairs_agree(GetParam(), left, bytes_of(other),
                       {{0x00, 0x3c}, {0x55, 0x35}, {0x01, 0x04}});
  }
}
INSTANTIATE_TEST_SUITE_P(Kernels, EveryHalf, ::testing::Values(DType::kFloat16, DType::kBfloat16),
                         [](const auto& info) { return std::string(name(info.param)); });

// Zeros, subnormals, one and its neighbours, extremes, infinities, NaN with and without payload and
// sign, signalling NaN.
template <class T, class Bits>
std::vector<T> special_floats() {
  using Limits = std::numeric_limits<T>;
  std::vector<T> values = {T{0},
                           Limits::denorm_min(),
                           Limits::min() / 2,
                           Limits::min(),
                           T{1},
                           T{1} + Limits::epsilon(),
                           T{1} - Limits::epsilon() / 2,
                           T{3},
                           T(0.1),
                           Limits::max(),
                           Limits::max() / 2,
                           Limits::infinity(),
                           Limits::quiet_NaN()};
  constexpr int kMantissa = Limits::digits - 1;
  const Bits infinity = std::bit_cast<Bits>(Limits::infinity());
  values.push_back(std::bit_cast<T>(static_cast<Bits>(infinity | 1)));  // signalling
  values.push_back(
      std::bit_cast<T>(static_cast<Bits>(infinity | Bits{5} << (kMantissa - 3) | 77)));  // payload
  for (size_t i = 0, n = values.size(); i < n; ++i) {
    const Bits sign = Bits{1} << (sizeof(T) * 8 - 1);
    values.push_back(std::bit_cast<T>(static_cast<Bits>(std::bit_cast<Bits>(values[i]) ^ sign)));
  }
  return values;
}

template <class T>
std::vector<T> special_integers() {
  using Limits = std::numeric_limits<T>;
  std::vector<T> values = {0,
                           1,
                           2,
                           3,
                           255,
                           256,
                           65535,
                           65536,
                           Limits::max(),
                           Limits::max() - 1,
                           Limits::max() / 2,
                           static_cast<T>(Limits::max() / 2 + 1),
                           Limits::min(),
                           static_cast<T>(Limits::min() + 1)};
  values.push_back(static_cast<T>(-1));
  values.push_back(static_cast<T>(-2));
  values.push_back(static_cast<T>(-255));
  values.push_back(static_cast<T>(int64_t{0x7fffffff}));
  values.push_back(static_cast<T>(int64_t{0x80000000}));
  values.push_back(static_cast<T>(int64_t{0x123456789abcdef}));
  return values;
}

Bytes special_elements(DType dtype) {
  switch (dtype) {
    case DType::kInt32:
      return bytes_of(special_integers<int32_t>());
    case DType::kUint32:
      return bytes_of(special_integers<uint32_t>());
    case DType::kInt64:
      return bytes_of(special_integers<int64_t>());
    case DType::kUint64:
      return bytes_of(special_integers<uint64_t>());
    case DType::kFloat32:
      return bytes_of(special_floats<float, uint32_t>());
    default:
      return bytes_of(special_floats<double, uint64_t>());
  }
}

class WideType : public ::testing::TestWithParam<DType> {
 protected:
  // Every special element as a pre factor.
  std::vector<Bytes> factors() const {
    const Bytes elements = special_elements(GetParam());
    const size_t size = size_of(GetParam());
    std::vector<Bytes> factors;
    for (size_t at = 0; at < elements.size(); at += size) {
      factors.emplace_back(elements.begin() + at, elements.begin() + at + size);
    }
    return factors;
  }
};

TEST_P(WideType, SpecialPairs_EveryOperation_EqualReference) {
  expect_product_agrees(GetParam(), special_elements(GetParam()), factors());
}

TEST_P(WideType, RandomBits_EveryOperation_EqualReference) {
  constexpr size_t kCount = 5000;
  expect_pairs_agree(GetParam(), random_bytes(kCount * size_of(GetParam()), 1),
                     random_bytes(kCount * size_of(GetParam()), 2), factors());
}
INSTANTIATE_TEST_SUITE_P(Kernels, WideType,
                         ::testing::Values(DType::kInt32, DType::kUint32, DType::kInt64,
                                           DType::kUint64, DType::kFloat32, DType::kFloat64),
                         [](const auto& info) { return std::string(name(info.param)); });

TEST(Kernels, SingleSourceUnscaled_NanPayload_CopiedUnchanged) {
  const uint32_t signalling = 0xffa12345;
  uint32_t out = 0;
  const kernels::Source source{&signalling, false};
  const kernels::Sink sink{&out, false};
  for (const Op op : kAllOps) {
    kernels::reduce_copy_for(DType::kFloat32, op)(
        {.sources = &source, .n_sources = 1, .sinks = &sink, .n_sinks = 1, .count = 1});
    EXPECT_EQ(out, signalling) << name(op);
    out = 0;
  }
}

// The reference itself, against values worked out by hand from the formats' specifications.
TEST(Reference, KnownCodes_DecodeAndEncode_AsSpecified) {
  struct Row {
    FloatFormat format;
    int code;
    float value;
  };
  const Row rows[] = {
      {kE4m3Format, 0x7e, 448},
      {kE4m3Format, 0x01, 0x1p-9F},
      {kE4m3Format, 0x08, 0x1p-6F},
      {kE4m3Format, 0xb8, -1},
      {kE4m3Format, 0x07, 0x7p-9F},
      {kE5m2Format, 0x7b, 57344},
      {kE5m2Format, 0x01, 0x1p-16F},
      {kE5m2Format, 0x3d, 1.25F},
      {kE5m2Format, 0xfc, -INFINITY},
      {kHalfFormat, 0x7bff, 65504},
      {kHalfFormat, 0x0001, 0x1p-24F},
      {kHalfFormat, 0x3555, 0x1.554p-2F},
      {kHalfFormat, 0x8000, -0.0F},
      {kBfloat16Format, 0x4049, 3.140625F},
      {kBfloat16Format, 0x0001, 0x1p-133F},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(std::bit_cast<uint32_t>(decode(row.format, row.code)),
              std::bit_cast<uint32_t>(row.value))
        << row.code;
    EXPECT_EQ(encode(row.format, row.value), row.code);
  }
  EXPECT_TRUE(std::isnan(decode(kE4m3Format, 0xff)));
  EXPECT_TRUE(std::isnan(decode(kE5m2Format, 0x7d)));
}

TEST(Reference, TiesAndOverflow_Encode_NearestEvenThenCapOrInfinity) {
  EXPECT_EQ(encode(kE4m3Format, 17), 0x58);     // between 16 and 18: even mantissa
  EXPECT_EQ(encode(kE4m3Format, 19), 0x5a);     // between 18 and 20
  EXPECT_EQ(encode(kE4m3Format, 0x1p-10F), 0);  // half the smallest
  EXPECT_EQ(encode(kE4m3Format, 0x1.8p-10F), 1);
  EXPECT_EQ(encode(kE4m3Format, 1e30F), 0x7e);
  EXPECT_EQ(encode(kE4m3Format, -INFINITY), 0x7f);
  EXPECT_EQ(encode(kE5m2Format, -1e30F), 0xfb);
  EXPECT_EQ(encode(kE5m2Format, -INFINITY), 0xfc);
  EXPECT_EQ(encode(kHalfFormat, 65519), 0x7bff);
  EXPECT_EQ(encode(kHalfFormat, 65520), 0x7c00);
  EXPECT_EQ(encode(kBfloat16Format, FLT_MAX), 0x7f80);
  EXPECT_EQ(encode(kBfloat16Format, 0x1.01p0F), 0x3f80);
  EXPECT_EQ(encode(kBfloat16Format, 0x1.03p0F), 0x3f82);
}

}  // namespace
}  // namespace tutti::test
