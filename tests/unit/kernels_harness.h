// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: every instruction set of this machine by turns, and one checked
// call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "src/kernels/reduce_copy.h"
#include "tests/support/reference_math.h"

namespace tutti::test {

using Bytes = std::vector<uint8_t>;

inline constexpr Op kAllOps[] = {Op::kSum, Op::kProd, Op::kMax, Op::kMin, Op::kAvg, Op::kPreMulSum};
inline std::vector<DType> all_dtypes() {
  std::vector<DType> dtypes;
  for (int i = 0; i < kDTypeCount; ++i) dtypes.push_back(static_cast<DType>(i));
  return dtypes;
}

// While it lives, the kernels dispatch to one instruction set only.
class ForcedTarget {
 public:
  explicit ForcedTarget(int64_t target) { hwy::SetSupportedTargetsForTest(target); }
  ~ForcedTarget() { hwy::SetSupportedTargetsForTest(0); }
  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;
};

// The instruction sets that the kernels were compiled for and that this machine has.
inline std::vector<int64_t> compiled_targets() {
  std::vector<int64_t> targets;
  const int64_t supported = hwy::SupportedTargets() | HWY_SCALAR | HWY_EMU128;
  for (int bit = 0; bit < 63; ++bit) {
    const int64_t target = int64_t{1} << bit;
    if ((supported & target) == 0) continue;
    const ForcedTarget forced(target);
    if (std::string(kernels::instruction_set()) == hwy::TargetName(target))
      targets.push_back(target);
  }
  return targets;
}

inline std::string hex(const uint8_t* data, size_t bytes) {
  std::string text;
  for (size_t i = bytes; i-- > 0;) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[data[i] >> 4];
    text += kDigits[data[i] & 15];
  }
  return text;
}

// Elements that are all different kinds of trouble: random bits are too, since narrow floats are
// dense in special values.
inline Bytes random_bytes(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes data(bytes);
  for (auto& byte : data) byte = static_cast<uint8_t>(random());
  return data;
}

// Says which element differs first, with its inputs; success when none does.
inline ::testing::AssertionResult same_elements(const ReferenceCall& call, const uint8_t* got) {
  const size_t size = size_of(call.dtype);
  const auto* want = static_cast<const uint8_t*>(call.sink);
  if (call.count == 0 || std::memcmp(got, want, call.count * size) == 0)
    return ::testing::AssertionSuccess();
  size_t i = 0;
  while (std::memcmp(got + i * size, want + i * size, size) == 0) ++i;
  auto failure = ::testing::AssertionFailure();
  failure << kernels::instruction_set() << ' ' << name(call.dtype) << ' ' << name(call.op)
          << " element " << i << " of " << call.count << ": got " << hex(got + i * size, size)
          << ", want " << hex(want + i * size, size) << ", divisor " << call.post_divisor
          << ", inputs";
  for (const auto& input : call.inputs) {
    failure << ' ' << hex(static_cast<const uint8_t*>(input.data) + i * size, size)
            << (input.pre ? "*pre" : "");
  }
  if (call.pre != nullptr) failure << ", pre " << hex(static_cast<const uint8_t*>(call.pre), size);
  return failure;
}

// Runs the call on the kernels, into one sink, and compares with what reference_reduce left in
// call.sink.
inline ::testing::AssertionResult kernel_agrees(const ReferenceCall& call) {
  std::vector<kernels::Source> sources;
  for (const auto& input : call.inputs) sources.push_back({input.data, input.pre});
  kernels::Scaling scaling;
  if (call.pre != nullptr) std::memcpy(scaling.pre, call.pre, size_of(call.dtype));
  scaling.post_divisor = call.post_divisor;
  Bytes out(call.count * size_of(call.dtype) + 1);
  const kernels::Sink sink{out.data(), false};
  kernels::reduce_copy_for(call.dtype, call.op)({.sources = sources.data(),
                                                 .n_sources = sources.size(),
                                                 .sinks = &sink,
                                                 .n_sinks = 1,
                                                 .count = call.count,
                                                 .post = call.post_divisor != 1,
                                                 .scaling = &scaling});
  return same_elements(call, out.data());
}

// The reference once, then every instruction set against it.
inline void expect_all_targets_agree(ReferenceCall call) {
  Bytes want(call.count * size_of(call.dtype) + 1);
  call.sink = want.data();
  reference_reduce(call);
  for (const int64_t target : compiled_targets()) {
    const ForcedTarget forced(target);
    EXPECT_TRUE(kernel_agrees(call));
  }
}

}  // namespace tutti::test
