// SPDX-License-Identifier: Apache-2.0
// Bytes per second of the reduce_copy kernels, by data type, operation and size, beside the
// machine's own bandwidth.
//
// Every figure counts the bytes that must move: each source read once, each sink written once. The
// "stream" rows are the limit to judge by, taken in the same run: memcpy and copy_bytes for one
// source, a plain loop of 64-bit additions for two. Rows are named
// kernel/DTYPE/OP/2to1/HINT/BYTES-PER-BUFFER; buffers of 256 MiB are written with non-temporal
// stores.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include <benchmark/benchmark.h>

#include "src/kernels/reduce_copy.h"

namespace {

using tutti::DType;
using tutti::Op;

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kMaxBytes = 256 * kMiB;
constexpr size_t kMaxBuffers = 3;

// Touched once, aligned to pages, shared by all rows.
uint8_t* buffer(size_t i) {
  constexpr size_t kPageBytes = 4096;
  static const auto storage = std::make_unique<uint8_t[]>(kMaxBuffers * kMaxBytes + kPageBytes);
  auto* first = storage.get() + (0 - reinterpret_cast<uintptr_t>(storage.get())) % kPageBytes;
  return first + i * kMaxBytes;
}

// Values about one in every format, so that no row runs on NaN, subnormal or saturated arithmetic.
void fill(DType dtype, size_t bytes) {
  static constexpr float kOne = 1.0F;
  static constexpr double kOneDouble = 1.0;
  std::array<uint8_t, 8> one = {1, 2, 3, 4, 5, 6, 7, 8};
  switch (dtype) {
    case DType::kFloat16:
      one = {0x00, 0x3c, 0x00, 0x3c, 0x00, 0x3c, 0x00, 0x3c};
      break;
    case DType::kBfloat16:
      one = {0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f};
      break;
    case DType::kFloat8e4m3:
      one.fill(0x38);
      break;
    case DType::kFloat8e5m2:
      one.fill(0x3c);
      break;
    case DType::kFloat32:
      std::memcpy(one.data(), &kOne, 4);
      std::memcpy(one.data() + 4, &kOne, 4);
      break;
    case DType::kFloat64:
      std::memcpy(one.data(), &kOneDouble, 8);
      break;
    default:
      break;
  }
  for (size_t i = 0; i < kMaxBuffers; ++i) {
    for (size_t at = 0; at < bytes; at += one.size())
      std::memcpy(buffer(i) + at, one.data(), one.size());
  }
}

void count_bytes(benchmark::State& state, size_t buffers, size_t bytes) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(buffers * bytes));
}

void stream_copy(benchmark::State& state, size_t bytes, bool streaming) {
  fill(DType::kInt8, bytes);
  for (auto _ : state) tutti::kernels::copy_bytes(buffer(0), buffer(1), bytes, streaming);
  count_bytes(state, 2, bytes);
}

void stream_memcpy(benchmark::State& state, size_t bytes) {
  fill(DType::kInt8, bytes);
  for (auto _ : state) {
    std::memcpy(buffer(0), buffer(1), bytes);
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2, bytes);
}

// The least that two sources cost: no conversion, no rounding, whatever vectors the compiler finds.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#endif
void add_words(uint64_t* to, const uint64_t* left, const uint64_t* right, size_t words) {
  for (size_t i = 0; i < words; ++i) to[i] = left[i] + right[i];
}

void stream_add(benchmark::State& state, size_t bytes) {
  fill(DType::kInt8, bytes);
  for (auto _ : state) {
    add_words(reinterpret_cast<uint64_t*>(buffer(0)), reinterpret_cast<const uint64_t*>(buffer(1)),
              reinterpret_cast<const uint64_t*>(buffer(2)), bytes / sizeof(uint64_t));
    benchmark::ClobberMemory();
  }
  count_bytes(state, 3, bytes);
}

void two_to_one(benchmark::State& state, DType dtype, Op op, size_t bytes, bool streaming) {
  fill(dtype, bytes);
  tutti::kernels::Scaling scaling;
  std::memcpy(scaling.pre, buffer(1), sizeof(scaling.pre));
  scaling.post_divisor = 3;
  const std::array<tutti::kernels::Source, 2> sources = {{{buffer(1), true}, {buffer(2), true}}};
  const tutti::kernels::Sink sink{buffer(0), streaming};
  const auto reduce_copy = tutti::kernels::reduce_copy_for(dtype, op);
  for (auto _ : state) {
    reduce_copy({.sources = sources.data(),
                 .n_sources = sources.size(),
                 .sinks = &sink,
                 .n_sinks = 1,
                 .count = bytes / tutti::size_of(dtype),
                 .post = true,
                 .scaling = &scaling});
    benchmark::ClobberMemory();
  }
  count_bytes(state, sources.size() + 1, bytes);
}

void register_rows(size_t bytes) {
  const bool streaming = bytes >= 64 * kMiB;
  const std::string suffix =
      std::string(streaming ? "/streaming/" : "/cached/") + std::to_string(bytes);
  benchmark::RegisterBenchmark(("stream/memcpy/" + std::to_string(bytes)).c_str(), stream_memcpy,
                               bytes);
  benchmark::RegisterBenchmark(("stream/copy_bytes" + suffix).c_str(), stream_copy, bytes,
                               streaming);
  benchmark::RegisterBenchmark(("stream/add/" + std::to_string(bytes)).c_str(), stream_add, bytes);
  for (int dtype = 0; dtype < tutti::kDTypeCount; ++dtype) {
    for (int op = 0; op < tutti::kOpCount; ++op) {
      const auto type = static_cast<DType>(dtype);
      const auto operation = static_cast<Op>(op);
      const std::string row = std::string("kernel/") + tutti::name(type) + '/' +
                              tutti::name(operation) + "/2to1" + suffix;
      benchmark::RegisterBenchmark(row.c_str(), two_to_one, type, operation, bytes, streaming);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("instruction_set", tutti::kernels::instruction_set());
  for (const size_t bytes : {kMiB / 16, kMiB, kMaxBytes}) register_rows(bytes);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
