// SPDX-License-Identifier: Apache-2.0
// Scalar values and their encodings, one element at a time.
#include "perf/bench/pattern.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/kernels/dtypes.h"

namespace tutti::bench {
namespace {

enum class Value : uint8_t { kSum = 0, kProd = 1, kMax = 2, kMin = 3, kAvg = 4, kPreMulSum = 5 };

// A binary floating-point format narrower than float32.
struct Format {
  int exponent_bits;
  int mantissa_bits;
};

bool small_float(DType dtype, Format* format) {
  switch (dtype) {
    case DType::kFloat16:
      *format = {5, 10};
      return true;
    case DType::kBfloat16:
      *format = {8, 7};
      return true;
    case DType::kFloat8e4m3:
      *format = {4, 3};
      return true;
    case DType::kFloat8e5m2:
      *format = {5, 2};
      return true;
    default:
      return false;
  }
}

// Nearest value of the format, ties to even; the values here never overflow.
uint64_t encode_small(double value, const Format& f) {
  const uint64_t sign = std::signbit(value) ? 1 : 0;
  const double magnitude = std::fabs(value);
  const int bias = (1 << (f.exponent_bits - 1)) - 1;
  uint64_t bits = 0;
  if (magnitude > 0) {
    const int exponent = std::max(std::ilogb(magnitude), 1 - bias);
    const auto mantissa =
        static_cast<uint64_t>(std::nearbyint(std::ldexp(magnitude, f.mantissa_bits - exponent)));
    // A carry out of the mantissa runs into the exponent, which is what rounding up to the next
    // binade means.
    bits = (static_cast<uint64_t>(exponent + bias - 1) << f.mantissa_bits) + mantissa;
  }
  return (sign << (f.exponent_bits + f.mantissa_bits)) | bits;
}

bool is_integer(DType dtype) { return dtype <= DType::kUint64 && dtype != DType::kFloat16; }
bool is_signed(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kInt32 || dtype == DType::kInt64;
}

template <typename T>
void store(std::byte* out, T value) {
  std::memcpy(out, &value, sizeof value);
}

void encode_float(DType dtype, double value, std::byte* out) {
  Format format;
  if (dtype == DType::kFloat64) return store(out, value);
  if (dtype == DType::kFloat32) return store(out, static_cast<float>(value));
  if (small_float(dtype, &format)) {
    const uint64_t bits = encode_small(value, format);
    std::memcpy(out, &bits, size_of(dtype));  // little endian
  }
}

// Integers in the widest type; storing truncates, as arithmetic modulo 2^bits does.
void encode_integer(DType dtype, int64_t value, std::byte* out) {
  std::memcpy(out, &value, size_of(dtype));
}

uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xff51afd7ed558ccdULL;
  x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

// Small whole numbers. At most kActive ranks contribute more than the neutral element to any one
// index, so that sums and products of any number of ranks stay within the significant bits: kActive
// ones in float8 (e5m2 counts to 8), kActive sevens in bfloat16 (to 256).
constexpr uint64_t kActive = 8;

int64_t small_value(DType dtype, Value op, int rank, int n_ranks, size_t index) {
  const uint64_t h = mix(static_cast<uint64_t>(rank) * 100'003 + index);
  const bool active =
      (static_cast<uint64_t>(rank) + mix(index)) % static_cast<uint64_t>(n_ranks) < kActive;
  const bool has_sign = is_signed(dtype) || !is_integer(dtype);
  if (op == Value::kMax || op == Value::kMin)
    return static_cast<int64_t>(h % 8) - (has_sign ? 4 : 0);
  if (op == Value::kProd) return !active ? 1 : h % 3 == 0 ? 2 : h % 7 == 0 && has_sign ? -1 : 1;
  if (!active) return 0;
  if (size_of(dtype) == 1 && !is_integer(dtype)) return static_cast<int64_t>(h % 3) - 1;
  return static_cast<int64_t>(h % 15) - (has_sign ? 7 : 0);
}

int64_t fold(Value op, int64_t a, int64_t b) {
  switch (op) {
    case Value::kProd:
      return a * b;
    case Value::kMax:
      return std::max(a, b);
    case Value::kMin:
      return std::min(a, b);
    default:
      return a + b;
  }
}

// Wraps to the datatype and back, so that Max and Avg see what the datatype holds.
int64_t wrap(DType dtype, int64_t value) {
  switch (dtype) {
    case DType::kInt8:
      return static_cast<int8_t>(value);
    case DType::kUint8:
      return static_cast<uint8_t>(value);
    case DType::kInt32:
      return static_cast<int32_t>(value);
    case DType::kUint32:
      return static_cast<uint32_t>(value);
    default:
      return value;
  }
}

void encode_result(DType dtype, Value op, int64_t folded, int n_ranks, std::byte* out) {
  if (is_integer(dtype)) {
    int64_t value = wrap(dtype, folded);
    if (op == Value::kAvg) value /= n_ranks;
    if (op == Value::kPreMulSum) value *= 2;
    return encode_integer(dtype, value, out);
  }
  if (op == Value::kPreMulSum) return encode_float(dtype, 0.5 * static_cast<double>(folded), out);
  if (op != Value::kAvg) return encode_float(dtype, static_cast<double>(folded), out);
  if (dtype == DType::kFloat64)
    return encode_float(dtype, static_cast<double>(folded) / n_ranks, out);
  // The library divides in float32 and rounds that to the datatype.
  encode_float(dtype, static_cast<double>(static_cast<float>(folded) / static_cast<float>(n_ranks)),
               out);
}

}  // namespace

const Pattern& Patterns::input(int dtype, int op, int rank, int n_ranks) {
  Pattern& table = inputs_[{dtype, op, rank, n_ranks}];
  if (!table.empty()) return table;
  const auto type = static_cast<DType>(dtype);
  const size_t elem = size_of(type);
  table.resize(kPeriod * elem);
  for (size_t i = 0; i < kPeriod; ++i) {
    const int64_t value = small_value(type, static_cast<Value>(op), rank, n_ranks, i);
    if (is_integer(type)) {
      encode_integer(type, value, &table[i * elem]);
    } else {
      encode_float(type, static_cast<double>(value), &table[i * elem]);
    }
  }
  return table;
}

const Pattern& Patterns::reduced(int dtype, int op, int n_ranks) {
  Pattern& table = reduced_[{dtype, op, n_ranks}];
  if (!table.empty()) return table;
  const auto type = static_cast<DType>(dtype);
  const auto value_op = static_cast<Value>(op);
  const size_t elem = size_of(type);
  table.resize(kPeriod * elem);
  for (size_t i = 0; i < kPeriod; ++i) {
    int64_t folded = small_value(type, value_op, 0, n_ranks, i);
    for (int r = 1; r < n_ranks; ++r)
      folded = fold(value_op, folded, small_value(type, value_op, r, n_ranks, i));
    encode_result(type, value_op, folded, n_ranks, &table[i * elem]);
  }
  return table;
}

std::vector<std::byte> premul_scalar(int dtype) {
  std::vector<std::byte> scalar(8);
  const auto type = static_cast<DType>(dtype);
  if (is_integer(type)) {
    encode_integer(type, 2, scalar.data());
  } else {
    encode_float(type, 0.5, scalar.data());
  }
  return scalar;
}

void fill(std::byte* buffer, const Pattern& table, size_t elem_bytes, size_t first, size_t count) {
  size_t at = first % kPeriod;
  while (count > 0) {
    const size_t run = std::min(count, kPeriod - at);
    std::memcpy(buffer, &table[at * elem_bytes], run * elem_bytes);
    buffer += run * elem_bytes;
    count -= run;
    at = 0;
  }
}

size_t first_difference(const std::byte* buffer, const Pattern& table, size_t elem_bytes,
                        size_t first, size_t count) {
  for (size_t done = 0; done < count;) {
    const size_t at = (first + done) % kPeriod;
    const size_t run = std::min(count - done, kPeriod - at);
    if (std::memcmp(buffer + done * elem_bytes, &table[at * elem_bytes], run * elem_bytes) != 0) {
      size_t i = 0;
      while (std::memcmp(buffer + (done + i) * elem_bytes, &table[(at + i) * elem_bytes],
                         elem_bytes) == 0)
        ++i;
      return done + i;
    }
    done += run;
  }
  return count;
}

size_t count_differences(const std::byte* buffer, const Pattern& table, size_t elem_bytes,
                         size_t first, size_t count) {
  size_t wrong = 0;
  for (size_t at = 0; at < count;) {
    at += first_difference(buffer + at * elem_bytes, table, elem_bytes, first + at, count - at);
    if (at < count) {
      ++wrong;
      ++at;
    }
  }
  return wrong;
}

}  // namespace tutti::bench
