// SPDX-License-Identifier: Apache-2.0
// Shapes: numbers of sources and sinks, counts around vector boundaries, alignment, aliasing,
// streaming; nothing outside a sink is touched.
#include <algorithm>
#include <set>
#include <vector>

#include "tests/unit/kernels_harness.h"

namespace tutti::test {
namespace {

constexpr size_t kGuard = 192;  // bytes on either side of every sink
constexpr uint8_t kGuardByte = 0xa5;

struct Shape {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  size_t n_sources = 2;
  size_t n_sinks = 1;
  size_t count = 0;
  size_t misalignment = 0;  // bytes; source k and sink k are k bytes further off
  unsigned streaming = 0;   // bit k: sink k
  int alias = -1;           // this source is also sink 0
  bool scaled = true;       // PreMulSum: every other source is marked pre; Avg: post
};

std::string describe(const Shape& shape) {
  return std::string(kernels::instruction_set()) + ' ' + name(shape.dtype) + ' ' + name(shape.op) +
         " sources " + std::to_string(shape.n_sources) + " sinks " + std::to_string(shape.n_sinks) +
         " count " + std::to_string(shape.count) + " misaligned " +
         std::to_string(shape.misalignment) + " streaming " + std::to_string(shape.streaming) +
         " alias " + std::to_string(shape.alias);
}

// A buffer at a chosen distance from a 64-byte boundary, between guards.
class Guarded {
 public:
  Guarded(size_t bytes, size_t misalignment)
      : storage_(bytes + 2 * kGuard + 64, kGuardByte), bytes_(bytes) {
    const auto start = reinterpret_cast<uintptr_t>(storage_.data()) + kGuard;
    offset_ = kGuard + (0 - start) % 64 + misalignment % 64;
    offset_ = std::min(offset_, kGuard + 63);
  }
  uint8_t* data() { return storage_.data() + offset_; }
  bool guards_intact() const {
    const auto is_guard = [](uint8_t byte) { return byte == kGuardByte; };
    return std::all_of(storage_.begin(), storage_.begin() + static_cast<ptrdiff_t>(offset_),
                       is_guard) &&
           std::all_of(storage_.begin() + static_cast<ptrdiff_t>(offset_ + bytes_), storage_.end(),
                       is_guard);
  }

 private:
  Bytes storage_;
  size_t bytes_;
  size_t offset_;
};

void expect_shape_agrees(const Shape& shape) {
  const size_t size = size_of(shape.dtype);
  const size_t bytes = shape.count * size;
  std::vector<Guarded> inputs;
  std::vector<ReferenceInput> reference_inputs;
  std::vector<kernels::Source> sources;
  for (size_t k = 0; k < shape.n_sources; ++k) {
    inputs.emplace_back(bytes, shape.misalignment + k);
    const Bytes random = random_bytes(bytes, static_cast<uint32_t>(k + 1));
    std::copy(random.begin(), random.end(), inputs[k].data());
    const bool pre = shape.op == Op::kPreMulSum && shape.scaled && k % 2 == 0;
    reference_inputs.push_back({inputs[k].data(), pre});
    sources.push_back({inputs[k].data(), pre});
  }
  kernels::Scaling scaling;
  const Bytes factor = random_bytes(size, 99);
  std::copy(factor.begin(), factor.end(), scaling.pre);
  const bool post = shape.op == Op::kAvg && shape.scaled;
  scaling.post_divisor = post ? 3 : 1;

  Bytes want(bytes + 1);
  const ReferenceCall reference{.dtype = shape.dtype,
                                .op = shape.op,
                                .inputs = reference_inputs,
                                .count = shape.count,
                                .pre = scaling.pre,
                                .post_divisor = scaling.post_divisor,
                                .sink = want.data()};
  reference_reduce(reference);

  std::vector<Guarded> outputs;
  std::vector<kernels::Sink> sinks;
  for (size_t k = 0; k < shape.n_sinks; ++k) {
    // Sink 2 is as aligned as sink 0, sink 1 is not: a streaming call has both kinds.
    outputs.emplace_back(bytes, shape.misalignment + (k % 2) * 3);
    void* data = outputs[k].data();
    if (k == 0 && shape.alias >= 0) data = inputs[static_cast<size_t>(shape.alias)].data();
    sinks.push_back({data, (shape.streaming >> k & 1) != 0});
  }
  kernels::reduce_copy_for(shape.dtype, shape.op)({.sources = sources.data(),
                                                   .n_sources = sources.size(),
                                                   .sinks = sinks.data(),
                                                   .n_sinks = sinks.size(),
                                                   .count = shape.count,
                                                   .post = post,
                                                   .scaling = &scaling});
  for (const auto& sink : sinks) {
    const auto* got = static_cast<const uint8_t*>(sink.data);
    EXPECT_TRUE(bytes == 0 || std::memcmp(got, want.data(), bytes) == 0) << describe(shape);
  }
  for (const auto& buffer : inputs) EXPECT_TRUE(buffer.guards_intact()) << describe(shape);
  for (const auto& buffer : outputs) EXPECT_TRUE(buffer.guards_intact()) << describe(shape);
}

class Shapes : public ::testing::TestWithParam<DType> {
 protected:
  // Calls `check(shape)` for every instruction set and operation, the dtype filled in.
  template <class Check>
  void for_each_kernel(Check check) const {
    for (const int64_t target : compiled_targets()) {
      const ForcedTarget forced(target);
      for (const Op op : kAllOps) check(Shape{.dtype = GetParam(), .op = op});
    }
  }
  // Counts whose bytes lie at, before and after multiples of every vector width and unrolled step.
  std::vector<size_t> boundary_counts() const {
    const size_t size = size_of(GetParam());
    std::set<size_t> counts;
    for (const size_t bytes : {0, 8, 16, 32, 64, 128, 192, 256, 512, 768}) {
      for (const int delta : {-1, 0, 1}) {
        const auto count = static_cast<int64_t>(bytes / size) + delta;
        if (count >= 0) counts.insert(static_cast<size_t>(count));
      }
    }
    return {counts.begin(), counts.end()};
  }
};

TEST_P(Shapes, EveryCount_TwoSources_EqualReference) {
  for_each_kernel([](Shape shape) {
    for (shape.count = 0; shape.count <= 260; ++shape.count) expect_shape_agrees(shape);
  });
}

// The kernel of messages in lines, and what it is one of: two sources, one sink, either order.
void expect_pair_agrees(DType dtype, Op op, size_t count, size_t misalignment, int alias) {
  const size_t bytes = count * size_of(dtype);
  const Shape shape{
      .dtype = dtype, .op = op, .count = count, .misalignment = misalignment, .alias = alias};
  Guarded left(bytes, misalignment), right(bytes, misalignment + 1), to(bytes, misalignment + 2);
  const Bytes first = random_bytes(bytes, 1), second = random_bytes(bytes, 2);
  std::copy(first.begin(), first.end(), left.data());
  std::copy(second.begin(), second.end(), right.data());
  Bytes want(bytes);
  const kernels::Source sources[] = {{first.data()}, {second.data()}};
  const kernels::Sink sink{want.data()};
  kernels::reduce_copy_for(dtype, op)(
      {.sources = sources, .n_sources = 2, .sinks = &sink, .n_sinks = 1, .count = count});
  Guarded& out = alias < 0 ? to : alias == 0 ? left : right;
  kernels::fold_pair_for(dtype, op)(left.data(), right.data(), out.data(), bytes);
  EXPECT_EQ(std::memcmp(out.data(), want.data(), bytes), 0) << describe(shape);
  EXPECT_TRUE(left.guards_intact() && right.guards_intact() && to.guards_intact())
      << describe(shape);
}

TEST_P(Shapes, Pairs_EqualTheGeneralKernel) {
  for_each_kernel([](const Shape& shape) {
    if (shape.op == Op::kAvg || shape.op == Op::kPreMulSum) {
      EXPECT_EQ(kernels::fold_pair_for(shape.dtype, shape.op), nullptr);
      return;
    }
    const size_t most = kernels::kPairBytes / size_of(shape.dtype);
    for (size_t count = 1; count <= most; ++count) {
      for (const size_t misalignment : {0, 1, 5}) {
        for (const int alias : {-1, 0, 1})
          expect_pair_agrees(shape.dtype, shape.op, count, misalignment, alias);
      }
    }
  });
}

TEST_P(Shapes, SourcesTimesSinks_AtBoundaries_EqualReference) {
  for_each_kernel([this](Shape shape) {
    for (const size_t n_sources : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
      for (shape.n_sinks = 1; shape.n_sinks <= 4; ++shape.n_sinks) {
        shape.n_sources = n_sources;
        for (const size_t count : {size_t{1}, size_t{65}, 576 / size_of(GetParam()) + 3}) {
          shape.count = count;
          expect_shape_agrees(shape);
        }
      }
    }
  });
}

TEST_P(Shapes, Misaligned_StreamingOrNot_EqualReference) {
  for_each_kernel([this](Shape shape) {
    for (const size_t misalignment : {1, 2, 4, 8, 15, 32, 36, 63}) {
      for (const unsigned streaming : {0u, 1u, 2u, 7u}) {
        for (const size_t n_sinks : {1, 3}) {
          shape.misalignment = misalignment;
          shape.streaming = streaming;
          shape.n_sinks = n_sinks;
          for (const size_t count : boundary_counts()) {
            shape.count = count;
            if (count * size_of(GetParam()) % 192 < 8 || count < 3) expect_shape_agrees(shape);
          }
        }
      }
    }
  });
}

TEST_P(Shapes, SinkIsASource_AnyPosition_EqualReference) {
  for_each_kernel([this](Shape shape) {
    for (const size_t n_sources : {1, 2, 3, 5}) {
      for (shape.alias = 0; shape.alias < static_cast<int>(n_sources); ++shape.alias) {
        for (const unsigned streaming : {0u, 1u}) {
          shape.n_sources = n_sources;
          shape.streaming = streaming;
          shape.n_sinks = 1 + streaming;
          shape.misalignment = streaming * size_of(GetParam());
          shape.count = 1000 / size_of(GetParam()) + 1;
          expect_shape_agrees(shape);
        }
      }
    }
  });
}

TEST_P(Shapes, NothingMarkedForScaling_AvgAndPreMulSum_ArePlainSums) {
  for_each_kernel([](Shape shape) {
    shape.scaled = false;
    for (const size_t n_sources : {1, 2, 3}) {
      shape.n_sources = n_sources;
      shape.count = 133;
      expect_shape_agrees(shape);
    }
  });
}
INSTANTIATE_TEST_SUITE_P(Kernels, Shapes, ::testing::ValuesIn(all_dtypes()),
                         [](const auto& info) { return std::string(name(info.param)); });

void expect_copies(size_t bytes, size_t source_misalignment, size_t sink_misalignment) {
  Guarded source(bytes, source_misalignment);
  Guarded sink(bytes, sink_misalignment);
  const Bytes random = random_bytes(bytes, 7);
  std::copy(random.begin(), random.end(), source.data());
  for (const bool streaming : {false, true}) {
    std::fill_n(sink.data(), bytes, uint8_t{0});
    kernels::copy_bytes(sink.data(), source.data(), bytes, streaming);
    EXPECT_TRUE(std::equal(random.begin(), random.end(), sink.data())) << bytes << ' ' << streaming;
    EXPECT_TRUE(sink.guards_intact()) << bytes << ' ' << streaming;
  }
}

TEST(CopyBytes, SizesAroundLinesAndPages_StreamingOrNot_CopiesExactlyThose) {
  for (const int64_t target : compiled_targets()) {
    const ForcedTarget forced(target);
    for (const size_t misalignment : {0, 1, 31, 60}) {
      for (const size_t bytes : {2047, 2048, 2049, 2111, 2304, 4095, 4096, 4097, 16383, 16384,
                                 16385, 16447, 33000, 70001}) {
        expect_copies(bytes, misalignment / 2, misalignment);
        expect_copies(bytes, misalignment, misalignment);
      }
    }
  }
}

TEST(CopyBytes, EverySizeUpToSomeLines_CopiesExactlyThose) {
  for (size_t bytes = 0; bytes <= 300; ++bytes) {
    expect_copies(bytes, 0, 0);
    expect_copies(bytes, 5, 3);
  }
}

TEST(ReduceCopy, LargeSingleSource_ManySinks_CopiesToEach) {
  constexpr size_t kBytes = 100'003;
  const Bytes random = random_bytes(kBytes, 3);
  std::vector<Bytes> outputs(3, Bytes(kBytes));
  const kernels::Source source{random.data(), false};
  const std::vector<kernels::Sink> sinks = {
      {outputs[0].data(), true}, {outputs[1].data(), false}, {outputs[2].data(), true}};
  kernels::reduce_copy_for(DType::kInt8, Op::kSum)({.sources = &source,
                                                    .n_sources = 1,
                                                    .sinks = sinks.data(),
                                                    .n_sinks = sinks.size(),
                                                    .count = kBytes});
  for (const Bytes& output : outputs) EXPECT_EQ(output, random);
}

TEST(InstructionSet, EveryCompiledTarget_IsNamed) {
  EXPECT_GE(compiled_targets().size(), 1u);
  EXPECT_STRNE(kernels::instruction_set(), "Unknown");
}

}  // namespace
}  // namespace tutti::test
