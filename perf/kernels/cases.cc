// SPDX-License-Identifier: Apache-2.0
#include "perf/kernels/cases.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace tutti::perf {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kArenaBytes = 3 * (256 * kMiB) + kMiB;
// Neighbours lie a few lines and pages apart beyond their size, so that not all of them fall into
// the same sets of a cache.
constexpr size_t kGapBytes = 5 * kPageBytes + size_t{3} * 64;

// The ordinary pages that a caller's memory has.
uint8_t* arena() {
  static const auto storage = std::make_unique<uint8_t[]>(kArenaBytes + kPageBytes);
  return storage.get() + (0 - reinterpret_cast<uintptr_t>(storage.get())) % kPageBytes;
}

// Small cases lie close together: all of them in the first-level cache.
uint8_t* buffer(const Case& c, size_t i) {
  return arena() + i * (c.bytes + (c.bytes < kPageBytes ? 64 : kGapBytes));
}

// Values about one in every format, so that no row runs on NaN, subnormal or saturated arithmetic.
std::array<uint8_t, 8> ordinary_elements(DType dtype) {
  static constexpr std::array<float, 2> kOnes = {1.0F, 1.0F};
  static constexpr double kOne = 1.0;
  std::array<uint8_t, 8> elements = {1, 2, 3, 4, 5, 6, 7, 8};
  switch (dtype) {
    case DType::kFloat16:
      return {0x00, 0x3c, 0x00, 0x3c, 0x00, 0x3c, 0x00, 0x3c};
    case DType::kBfloat16:
      return {0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f};
    case DType::kFloat8e4m3:
      elements.fill(0x38);
      break;
    case DType::kFloat8e5m2:
      elements.fill(0x3c);
      break;
    case DType::kFloat32:
      std::memcpy(elements.data(), kOnes.data(), 8);
      break;
    case DType::kFloat64:
      std::memcpy(elements.data(), &kOne, 8);
      break;
    default:
      break;
  }
  return elements;
}

void fill(uint8_t* data, size_t bytes, const std::array<uint8_t, 8>& elements) {
  for (size_t at = 0; at < bytes; at += elements.size())
    std::memcpy(data + at, elements.data(), elements.size());
}

}  // namespace

std::string name(const Case& c) {
  return std::string("kernel/") + tutti::name(c.dtype) + '/' + tutti::name(c.op) + '/' +
         std::to_string(c.n_sources) + "to" + std::to_string(c.n_sinks) +
         (c.streaming ? "/streaming/" : "/cached/") + std::to_string(c.bytes);
}

std::vector<Case> all_cases(size_t bytes) {
  const bool streaming = bytes >= 64 * kMiB;
  std::vector<Case> cases;
  const auto add = [&](DType dtype, Op op, size_t n_sources, size_t n_sinks) {
    const size_t each = n_sources > 2 ? 2 * bytes / n_sources : bytes;
    cases.push_back({dtype, op, n_sources, n_sinks, each, streaming});
  };
  for (const size_t n_sinks : {1, 2}) add(DType::kInt8, Op::kSum, 1, n_sinks);
  for (int type = 0; type < kDTypeCount; ++type) {
    for (int op = 0; op < kOpCount; ++op) add(static_cast<DType>(type), static_cast<Op>(op), 2, 1);
    for (const size_t n_sources : {4, 8}) add(static_cast<DType>(type), Op::kSum, n_sources, 1);
  }
  return cases;
}

Prepared::Prepared(const Case& c)
    : case_(c), reduce_copy_(kernels::reduce_copy_for(c.dtype, c.op)) {
  const auto elements = ordinary_elements(c.dtype);
  streams_.n_sources = c.n_sources;
  streams_.n_sinks = c.n_sinks;
  streams_.bytes = c.bytes;
  streams_.streaming = c.streaming;
  for (size_t i = 0; i < c.n_sinks; ++i) streams_.sinks[i] = buffer(c, i);
  for (size_t i = 0; i < c.n_sources; ++i) {
    streams_.sources[i] = buffer(c, c.n_sinks + i);
    fill(buffer(c, c.n_sinks + i), c.bytes, elements);
  }
  std::memcpy(scaling_.pre, elements.data(), sizeof scaling_.pre);
  scaling_.post_divisor = 3;
}

void Prepared::run_kernel() const {
  std::array<kernels::Source, kMostSources> sources;
  std::array<kernels::Sink, kMostSinks> sinks;
  for (size_t i = 0; i < case_.n_sources; ++i) sources[i] = {streams_.sources[i], true};
  for (size_t i = 0; i < case_.n_sinks; ++i) sinks[i] = {streams_.sinks[i], case_.streaming};
  reduce_copy_({.sources = sources.data(),
                .n_sources = case_.n_sources,
                .sinks = sinks.data(),
                .n_sinks = case_.n_sinks,
                .count = case_.bytes / size_of(case_.dtype),
                .post = case_.n_sources > 1,
                .scaling = &scaling_});
}

void Prepared::run_memcpy() const {
  std::memcpy(streams_.sinks[0], streams_.sources[0], case_.bytes);
}

}  // namespace tutti::perf
