// SPDX-License-Identifier: Apache-2.0
// Shares no code with plans, kernels or executors.
#include "tests/sim/reference.h"

#include <algorithm>
#include <cstring>

namespace tutti::sim {
namespace {

using plan::Collective;

template <typename T>
int64_t load(const std::byte* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<int64_t>(value);
}

// As an element of the type holds it.
int64_t wrapped(DType dtype, int64_t value) noexcept {
  std::byte element[8] = {};
  write_value(element, dtype, 0, value);
  return read_value(element, dtype, 0);
}

int64_t fold(Op op, int64_t a, int64_t b) noexcept {
  switch (op) {
    case Op::kProd:
      return a * b;
    case Op::kMax:
      return std::max(a, b);
    case Op::kMin:
      return std::min(a, b);
    default:
      return a + b;
  }
}

int64_t folded(const Step& step, uint64_t salt, int n_ranks, size_t index) noexcept {
  int64_t total = input_value(salt, 0, index);
  for (int rank = 1; rank < n_ranks; ++rank)
    total = fold(step.op, total, input_value(salt, rank, index));
  return wrapped(step.dtype, total);
}

}  // namespace

// Products of eight stay exact in 64 bits, maxima fit in 8.
int64_t input_value(uint64_t salt, int rank, size_t index) noexcept {
  uint64_t z =
      salt + static_cast<uint64_t>(rank) * 0x9e3779b97f4a7c15ULL + index * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 29)) * 0x94d049bb133111ebULL;
  return static_cast<int64_t>((z ^ (z >> 32)) % 101) + 1;
}

void write_value(std::byte* buffer, DType dtype, size_t index, int64_t value) noexcept {
  const size_t bytes = size_of(dtype);
  std::memcpy(buffer + index * bytes, &value, bytes);  // little-endian
}

int64_t read_value(const std::byte* buffer, DType dtype, size_t index) noexcept {
  const std::byte* at = buffer + index * size_of(dtype);
  switch (dtype) {
    case DType::kInt8:
      return load<int8_t>(at);
    case DType::kUint8:
      return load<uint8_t>(at);
    case DType::kInt32:
      return load<int32_t>(at);
    case DType::kUint32:
      return load<uint32_t>(at);
    default:
      return load<int64_t>(at);
  }
}

size_t input_count(const Step& step, int n_ranks, int rank) noexcept {
  if (step.is_shift) return step.count;
  const plan::Shape shape{step.collective, n_ranks, step.root, 1};
  return step.count * static_cast<size_t>(plan::blocks_in(shape, rank, plan::Buffer::kInput));
}

size_t output_count(const Step& step, int n_ranks, int rank) noexcept {
  if (step.is_shift) return step.count;
  const plan::Shape shape{step.collective, n_ranks, step.root, 1};
  return step.count * static_cast<size_t>(plan::blocks_in(shape, rank, plan::Buffer::kOutput));
}

int64_t expected_value(const Step& step, uint64_t salt, int n_ranks, int rank,
                       size_t index) noexcept {
  const size_t within = step.count == 0 ? 0 : index % step.count;
  const int block = step.count == 0 ? 0 : static_cast<int>(index / step.count);
  const size_t own = static_cast<size_t>(rank) * step.count + index;
  if (step.is_shift)
    return wrapped(step.dtype, input_value(salt, (rank - step.shift + n_ranks) % n_ranks, index));
  switch (step.collective) {
    case Collective::kAllReduce:
    case Collective::kReduce:
      return folded(step, salt, n_ranks, index);
    case Collective::kReduceScatter:
      return folded(step, salt, n_ranks, own);
    case Collective::kBroadcast:
      return wrapped(step.dtype, input_value(salt, step.root, index));
    case Collective::kAllGather:
    case Collective::kGather:
      return wrapped(step.dtype, input_value(salt, block, within));
    case Collective::kAllToAll:
      return wrapped(step.dtype,
                     input_value(salt, block, static_cast<size_t>(rank) * step.count + within));
    case Collective::kScatter:
      return wrapped(step.dtype, input_value(salt, step.root, own));
    case Collective::kBarrier:
      break;
  }
  return 0;
}

}  // namespace tutti::sim
