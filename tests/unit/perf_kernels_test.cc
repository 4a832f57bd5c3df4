// SPDX-License-Identifier: Apache-2.0
// The instruction mixes that kernels_bench reports: that they are counted, and that they stay what
// docs/design/kernels.md says.
#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

#include "perf/kernels/cases.h"
#include "perf/kernels/instructions.h"
#include "perf/kernels/stream.h"

namespace tutti::perf {
namespace {

TEST(CountInstructions, KnownLoops_AreCounted) {
  VectorInstructions counted;
  if (!run_probe(Probe::kAdd, 16) || !count_instructions([] {}, &counted))
    GTEST_SKIP() << "no vector instructions to step through";
  EXPECT_EQ(counted.total, 0);
  ASSERT_TRUE(count_instructions([] { run_probe(Probe::kAdd, 64); }, &counted));
  EXPECT_EQ(counted.total, 64);
  ASSERT_TRUE(count_instructions([] { run_probe(Probe::kConvert, 64); }, &counted));
  EXPECT_EQ(counted.total, 64);
  EXPECT_EQ(counted.convert, 64);
  ASSERT_TRUE(count_instructions([] { run_probe(Probe::kDivideDouble, 64); }, &counted));
  EXPECT_EQ(counted.divide_double, 64);
  EXPECT_EQ(counted.divide_float, 0);
}

// Vector instructions per 64 bytes of the sink, moves to and from memory left out.
double mix_of(DType dtype, Op op) {
  const auto of_bytes = [&](size_t bytes) {
    const Prepared prepared({.dtype = dtype, .op = op, .bytes = bytes});
    VectorInstructions counted;
    EXPECT_TRUE(count_instructions([&] { prepared.run_kernel(); }, &counted));
    return counted.total;
  };
  constexpr size_t kBytes = 2048;
  return (of_bytes(2 * kBytes) - of_bytes(kBytes)) / (kBytes / 64.0);
}

struct Budget {
  DType dtype;
  Op op;
  double most;
};

// Some room for other compilers.
TEST(InstructionMix, TwoSourcesOneSink_StayWithinBudget) {
  VectorInstructions counted;
  if (std::strcmp(kernels::instruction_set(), "AVX3") != 0 || !count_instructions([] {}, &counted))
    GTEST_SKIP() << "the budgets are those of 64-byte vectors";
  for (const Budget& budget :
       {Budget{DType::kInt32, Op::kSum, 3}, Budget{DType::kFloat32, Op::kSum, 5},
        Budget{DType::kFloat32, Op::kMax, 12}, Budget{DType::kFloat16, Op::kSum, 20},
        Budget{DType::kBfloat16, Op::kSum, 24}, Budget{DType::kFloat16, Op::kMax, 16},
        Budget{DType::kBfloat16, Op::kMin, 16}, Budget{DType::kFloat8e4m3, Op::kSum, 90},
        Budget{DType::kFloat8e5m2, Op::kSum, 75}, Budget{DType::kFloat8e5m2, Op::kMax, 18}}) {
    const double mix = mix_of(budget.dtype, budget.op);
    EXPECT_LE(mix, budget.most) << tutti::name(budget.dtype) << ' ' << tutti::name(budget.op);
    EXPECT_GE(mix, 1) << tutti::name(budget.dtype) << ' ' << tutti::name(budget.op);
    RecordProperty(std::string(tutti::name(budget.dtype)) + '_' + tutti::name(budget.op),
                   std::to_string(mix));
  }
}

}  // namespace
}  // namespace tutti::perf
