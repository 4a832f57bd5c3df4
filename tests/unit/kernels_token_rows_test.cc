// SPDX-License-Identifier: Apache-2.0
// Rows of tokens on every instruction set: each bfloat16 value quantised, sums in their order.
#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "src/kernels/token_rows.h"
#include "tests/support/moe_reference.h"

namespace tutti::test {
namespace {

using kernels::RowScales;
using kernels::RowSink;
using Row = std::vector<uint16_t>;

const std::byte* bytes_of(const void* data) { return static_cast<const std::byte*>(data); }

// Runs the body once per instruction set of this machine.
template <class Body>
void on_each_target(Body body) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    body();
  }
  hwy::SetSupportedTargetsForTest(0);
}

struct Form {
  size_t group;
  RowScales scales;
};
constexpr Form kForms[] = {
    {128, RowScales::kFloat32}, {128, RowScales::kUe8m0}, {32, RowScales::kUe8m0}};

// Into two sinks, the second at an odd address, with guards behind both.
void expect_quantized(const Row& row, const Form& form) {
  const Quantized expected = quantized(row, form.group, form.scales == RowScales::kUe8m0);
  const size_t groups = row.size() / form.group;
  const size_t scale_bytes = groups * kernels::scale_bytes(form.scales);
  std::array<std::vector<std::byte>, 2> data, scales;
  std::vector<RowSink> sinks;
  for (size_t s = 0; s < 2; ++s) {
    data[s].assign(row.size() + s + 8, std::byte{0xa5});
    scales[s].assign(scale_bytes + s + 8, std::byte{0x5a});
    sinks.push_back({data[s].data() + s, scales[s].data() + s});
  }
  kernels::quantize_row(bytes_of(row.data()), {row.size(), form.group, form.scales}, sinks.data(),
                        2);
  for (size_t s = 0; s < 2; ++s) {
    for (size_t i = 0; i < row.size(); ++i) {
      ASSERT_EQ(static_cast<int>(data[s][s + i]), expected.codes[i])
          << "element " << i << " is " << from_bf16(row[i]) << ", sink " << s;
    }
    for (size_t g = 0; g < groups; ++g) {
      if (form.scales == RowScales::kUe8m0) {
        ASSERT_EQ(static_cast<int>(scales[s][s + g]), expected.exponents[g]) << "group " << g;
      } else {
        float scale = 0;
        std::memcpy(&scale, scales[s].data() + s + 4 * g, sizeof scale);
        ASSERT_EQ(scale, expected.scales[g]) << "group " << g;
      }
    }
    ASSERT_EQ(data[s][s + row.size()], std::byte{0xa5});
    ASSERT_EQ(scales[s][s + scale_bytes], std::byte{0x5a});
  }
}

void expect_quantized_in_all_forms(const Row& row) {
  for (const Form& form : kForms) expect_quantized(row, form);
}

TEST(TokenRows, Quantize_EveryBfloat16Value_IsAsTheReference) {
  on_each_target([] {
    Row row(1 << 16);
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<uint16_t>(i);
    expect_quantized_in_all_forms(row);  // neighbours: groups of one magnitude
    std::mt19937 random(1);
    std::shuffle(row.begin(), row.end(), random);
    expect_quantized_in_all_forms(row);
  });
}

TEST(TokenRows, Quantize_EverySmallRowLength_IsAsTheReference) {
  on_each_target([] {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (size_t elems = 128; elems <= 128 * 40; elems += 128) {
      Row row;
      for (size_t i = 0; i < elems; ++i) row.push_back(to_bf16(normal(random)));
      expect_quantized_in_all_forms(row);
    }
  });
}

TEST(TokenRows, Quantize_SpecialGroups_AreAsTheReference) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float values[][4] = {{0, 0, 0, 0},          {448, -448, 1, 447},    {inf, 1, -inf, 2},
                             {nan, 3, -nan, -3},    {inf, inf, inf, inf},   {nan, nan, nan, nan},
                             {1e30F, 1, 1e-30F, 0}, {1e-38F, 0, 0, -1e-39F}};
  on_each_target([&] {
    for (const auto& four : values) {
      Row row(256);
      for (size_t i = 0; i < row.size(); ++i) row[i] = to_bf16(four[i % 4]);
      expect_quantized_in_all_forms(row);
    }
  });
}

// Values around each tie of e4m3 and each power of two of the scale.
TEST(TokenRows, Quantize_Ties_GoToEven) {
  on_each_target([] {
    for (int exponent = -20; exponent < 20; ++exponent) {
      Row row(256, to_bf16(std::ldexp(448.0F, exponent)));
      for (size_t i = 1; i < row.size(); ++i)
        row[i] = to_bf16(std::ldexp(static_cast<float>(i), exponent - static_cast<int>(i % 9)));
      expect_quantized_in_all_forms(row);
    }
  });
}

std::vector<Row> random_rows(size_t n, size_t elems, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Row> rows(n);
  for (Row& row : rows) {
    for (size_t i = 0; i < elems; ++i) {
      uint16_t code = static_cast<uint16_t>(random());
      row.push_back(code);
    }
  }
  return rows;
}

template <class T>
std::vector<const std::byte*> pointers(const std::vector<std::vector<T>>& rows) {
  std::vector<const std::byte*> result;
  for (const auto& row : rows) result.push_back(bytes_of(row.data()));
  return result;
}

float reference_sum(const std::vector<float>& terms, const float* weights) {
  float total = 0;
  for (size_t j = 0; j < terms.size(); ++j) {
    const float term = weights == nullptr ? terms[j] : weights[j] * terms[j];
    total = j == 0 ? term : total + term;
  }
  return total;
}

// Equal, or both NaN.
::testing::AssertionResult same(float a, float b) {
  if (std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)))
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << a << " and " << b;
}

TEST(TokenRows, Sums_AnyRowsAndLengths_AreOrderedAndRoundedOnce) {
  on_each_target([] {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (const size_t n : {0, 1, 2, 3, 8, 32}) {
      for (const size_t elems : {1, 7, 31, 32, 33, 64, 129, 2880}) {
        const auto rows = random_rows(n, elems, static_cast<uint32_t>(n * 1000 + elems));
        const auto at = pointers(rows);
        std::vector<float> weights(n);
        for (float& w : weights) w = normal(random);
        for (const float* w : std::array<const float*, 2>{nullptr, weights.data()}) {
          const kernels::RowSum sum{at.data(), w, n, elems};
          Row rounded(elems + 1, 0x1234);
          std::vector<float> unrounded(elems + 1, 7.0F);
          kernels::sum_rows(sum, reinterpret_cast<std::byte*>(rounded.data()));
          kernels::sum_rows_unrounded(sum, reinterpret_cast<std::byte*>(unrounded.data()));
          for (size_t i = 0; i < elems; ++i) {
            std::vector<float> terms;
            for (const Row& row : rows) terms.push_back(from_bf16(row[i]));
            const float expected = reference_sum(terms, w);
            ASSERT_EQ(rounded[i], to_bf16(expected)) << n << " rows, element " << i;
            ASSERT_TRUE(same(unrounded[i], expected)) << n << " rows, element " << i;
          }
          ASSERT_EQ(rounded[elems], 0x1234);
          ASSERT_EQ(unrounded[elems], 7.0F);
        }
      }
    }
  });
}

TEST(TokenRows, SumsAround_AnyPlace_AreThoseOfTheRoundedSum) {
  on_each_target([] {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (const size_t n : {1, 2, 5}) {
      for (const size_t inner : {0, 1, 3, 8}) {
        for (const size_t elems : {1, 31, 32, 33, 129, 2880}) {
          auto rows = random_rows(n, elems, static_cast<uint32_t>(n * 7 + elems));
          const auto inside = random_rows(inner, elems, static_cast<uint32_t>(inner + elems));
          const auto inside_at = pointers(inside);
          std::vector<float> weights(inner);
          for (float& w : weights) w = normal(random);
          for (const float* w : std::array<const float*, 2>{nullptr, weights.data()}) {
            const size_t at = (elems + inner) % n;
            const kernels::RowSum within{inside_at.data(), w, inner, elems};
            kernels::sum_rows(within, reinterpret_cast<std::byte*>(rows[at].data()));
            auto all = pointers(rows);
            Row expected(elems), out(elems + 1, 0x1234);
            kernels::sum_rows({all.data(), nullptr, n, elems},
                              reinterpret_cast<std::byte*>(expected.data()));
            all[at] = nullptr;
            kernels::sum_rows_around({all.data(), nullptr, n, elems}, within, at,
                                     reinterpret_cast<std::byte*>(out.data()));
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(), out.begin()))
                << n << " rows, " << inner << " inside, " << elems;
            ASSERT_EQ(out[elems], 0x1234);
          }
        }
      }
    }
  });
}

TEST(TokenRows, SumsOfFloats_AnyRowsAndLengths_AreOrderedAndRoundedOnce) {
  on_each_target([] {
    std::mt19937 random(4);
    std::normal_distribution<float> normal;
    for (const size_t n : {0, 1, 2, 5, 16}) {
      for (const size_t elems : {1, 8, 15, 16, 17, 129}) {
        std::vector<std::vector<float>> rows(n, std::vector<float>(elems));
        for (auto& row : rows) {
          for (float& value : row) value = normal(random);
        }
        const auto at = pointers(rows);
        Row out(elems + 1, 0x1234);
        kernels::sum_float_rows({at.data(), nullptr, n, elems},
                                reinterpret_cast<std::byte*>(out.data()));
        for (size_t i = 0; i < elems; ++i) {
          std::vector<float> terms;
          for (const auto& row : rows) terms.push_back(row[i]);
          ASSERT_EQ(out[i], to_bf16(reference_sum(terms, nullptr)));
        }
        ASSERT_EQ(out[elems], 0x1234);
      }
    }
  });
}

TEST(TokenRows, Copy_AnyLengthToSeveral_WritesNothingElse) {
  on_each_target([] {
    for (size_t bytes = 0; bytes < 300; ++bytes) {
      std::vector<std::byte> row(bytes);
      for (size_t i = 0; i < bytes; ++i) row[i] = static_cast<std::byte>(i * 7 + 1);
      std::vector<std::vector<std::byte>> to(3, std::vector<std::byte>(bytes + 1, std::byte{0xee}));
      std::byte* const sinks[] = {to[0].data(), to[1].data(), to[2].data()};
      kernels::copy_row(row.data(), bytes, sinks, 3);
      for (const auto& copy : to) {
        ASSERT_TRUE(std::equal(row.begin(), row.end(), copy.begin())) << bytes;
        ASSERT_EQ(copy[bytes], std::byte{0xee});
      }
    }
  });
}

}  // namespace
}  // namespace tutti::test
