// SPDX-License-Identifier: Apache-2.0
// What a reduction must yield, element by element, in plain C++: shares no code with the kernels it
// judges.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

// Compile with -ffp-contract=off where the compiler may fuse a multiplication and an addition (not
// on baseline x86-64).
namespace tutti::test {

// A binary format of at most 16 bits: sign, `exponent_bits`, `mantissa_bits` (IEEE 754; OCP 8-bit
// floats 1.0).
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  bool infinity;   // top exponent: infinity and NaN; otherwise only the all-ones code is NaN
  bool saturates;  // finite but too large: the largest finite value; otherwise infinity

  constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  constexpr int magnitude_mask() const { return (1 << (exponent_bits + mantissa_bits)) - 1; }
  constexpr int infinity_code() const { return ((1 << exponent_bits) - 1) << mantissa_bits; }
  constexpr int nan_code() const {
    return infinity ? infinity_code() | 1 << (mantissa_bits - 1) : magnitude_mask();
  }
  constexpr int max_code() const { return (infinity ? infinity_code() : magnitude_mask()) - 1; }
};
inline constexpr FloatFormat kHalfFormat{5, 10, true, false};
inline constexpr FloatFormat kBfloat16Format{8, 7, true, false};
inline constexpr FloatFormat kE4m3Format{4, 3, false, true};
inline constexpr FloatFormat kE5m2Format{5, 2, true, true};

inline float decode(const FloatFormat& format, int code) {
  const bool negative = (code & (format.magnitude_mask() + 1)) != 0;
  const int magnitude = code & format.magnitude_mask();
  const float sign = negative ? -1.0F : 1.0F;
  if (magnitude > format.max_code()) {
    const bool infinite = format.infinity && magnitude == format.infinity_code();
    return infinite ? sign * std::numeric_limits<float>::infinity()
                    : std::numeric_limits<float>::quiet_NaN();
  }
  const int exponent = magnitude >> format.mantissa_bits;
  const int fraction = magnitude & ((1 << format.mantissa_bits) - 1);
  const int significand = exponent == 0 ? fraction : fraction + (1 << format.mantissa_bits);
  const int place = (exponent == 0 ? 1 : exponent) - format.bias() - format.mantissa_bits;
  return sign * static_cast<float>(std::ldexp(significand, place));
}

// Round to nearest, ties to even; NaN becomes the positive quiet NaN without payload.
inline int encode(const FloatFormat& format, float value) {
  if (std::isnan(value)) return format.nan_code();
  const int sign = std::signbit(value) ? format.magnitude_mask() + 1 : 0;
  if (std::isinf(value)) return format.infinity ? sign | format.infinity_code() : format.nan_code();
  if (value == 0) return sign;
  const int min_exponent = 1 - format.bias();
  const int exponent = std::max(std::ilogb(value), min_exponent);
  // In units of the last place: exact in double, then rounded by the default rounding mode.
  const double units =
      std::ldexp(std::fabs(static_cast<double>(value)), format.mantissa_bits - exponent);
  const int rounded = static_cast<int>(std::nearbyint(units));
  // A significand that rounds up to the next power of two carries into the exponent by itself.
  const int code = ((exponent - min_exponent) << format.mantissa_bits) + rounded;
  if (code <= format.max_code()) return sign | code;
  return sign | (format.saturates ? format.max_code() : format.infinity_code());
}

// How one element of a dtype is read into its accumulator and written back.
template <class T>
struct NativeElement {
  using Acc = T;
  static constexpr size_t kBytes = sizeof(T);
  static Acc read(const void* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }
  static void write(Acc value, void* to) {
    if constexpr (std::is_floating_point_v<T>) {
      if (std::isnan(value)) value = std::numeric_limits<T>::quiet_NaN();
    }
    std::memcpy(to, &value, sizeof(value));
  }
};
template <const FloatFormat& kFormat, class Code>
struct SmallElement {
  using Acc = float;
  static constexpr size_t kBytes = sizeof(Code);
  static Acc read(const void* from) {
    Code code;
    std::memcpy(&code, from, sizeof(code));
    return decode(kFormat, code);
  }
  static void write(Acc value, void* to) {
    const auto code = static_cast<Code>(encode(kFormat, value));
    std::memcpy(to, &code, sizeof(code));
  }
};

// Integers wrap: computed in 64 bits without sign, then cut.
template <class T>
T wrap(uint64_t value) {
  return static_cast<T>(static_cast<std::make_unsigned_t<T>>(value));
}
template <class T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return wrap<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}
template <class T>
T multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    return wrap<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  } else {
    return a * b;
  }
}
// NaN if either is NaN; -0 is less than +0.
template <class T>
T lesser(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == b) return std::signbit(a) ? a : b;
  }
  return b < a ? b : a;
}
template <class T>
T greater(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == b) return std::signbit(a) ? b : a;
  }
  return a < b ? b : a;
}
template <class T>
T fold(Op op, T a, T b) {
  switch (op) {
    case Op::kProd:
      return multiply(a, b);
    case Op::kMin:
      return lesser(a, b);
    case Op::kMax:
      return greater(a, b);
    case Op::kSum:
    case Op::kAvg:
    case Op::kPreMulSum:
      break;
  }
  return add(a, b);
}
// Integers truncate toward zero.
template <class T>
T divide(T value, int32_t divisor) {
  if constexpr (std::is_floating_point_v<T>) {
    return value / static_cast<T>(divisor);
  } else if constexpr (std::is_signed_v<T>) {
    return static_cast<T>(static_cast<int64_t>(value) / divisor);
  } else {
    return static_cast<T>(static_cast<uint64_t>(value) / static_cast<uint64_t>(divisor));
  }
}

struct ReferenceInput {
  const void* data = nullptr;
  bool pre = false;  // multiply by ReferenceCall::pre first
};
// sink[i] = post(fold left to right of pre(inputs[k][i])). Any alignment; the sink must not overlap
// an input.
struct ReferenceCall {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  std::span<const ReferenceInput> inputs;
  size_t count = 0;           // elements
  const void* pre = nullptr;  // one element; needed when an input is marked pre (PreMulSum only)
  int32_t post_divisor = 1;   // 1: no division (Avg only)
  void* sink = nullptr;
};

template <class Element>
void reference_reduce_as(const ReferenceCall& call) {
  using Acc = typename Element::Acc;
  for (size_t at = 0; at < call.count * Element::kBytes; at += Element::kBytes) {
    Acc total{};
    for (size_t k = 0; k < call.inputs.size(); ++k) {
      Acc value = Element::read(static_cast<const char*>(call.inputs[k].data) + at);
      if (call.inputs[k].pre) {  // a value of the dtype, as if it were stored
        char scaled[Element::kBytes];
        Element::write(multiply(value, Element::read(call.pre)), scaled);
        value = Element::read(scaled);
      }
      total = k == 0 ? value : fold(call.op, total, value);
    }
    if (call.post_divisor != 1) total = divide(total, call.post_divisor);
    Element::write(total, static_cast<char*>(call.sink) + at);
  }
}

inline void reference_reduce(const ReferenceCall& call) {
  if (call.inputs.size() == 1 && !call.inputs[0].pre && call.post_divisor == 1) {  // a copy
    if (call.count != 0)
      std::memcpy(call.sink, call.inputs[0].data, call.count * size_of(call.dtype));
    return;
  }
  switch (call.dtype) {
    case DType::kInt8:
      return reference_reduce_as<NativeElement<int8_t>>(call);
    case DType::kUint8:
      return reference_reduce_as<NativeElement<uint8_t>>(call);
    case DType::kInt32:
      return reference_reduce_as<NativeElement<int32_t>>(call);
    case DType::kUint32:
      return reference_reduce_as<NativeElement<uint32_t>>(call);
    case DType::kInt64:
      return reference_reduce_as<NativeElement<int64_t>>(call);
    case DType::kUint64:
      return reference_reduce_as<NativeElement<uint64_t>>(call);
    case DType::kFloat16:
      return reference_reduce_as<SmallElement<kHalfFormat, uint16_t>>(call);
    case DType::kFloat32:
      return reference_reduce_as<NativeElement<float>>(call);
    case DType::kFloat64:
      return reference_reduce_as<NativeElement<double>>(call);
    case DType::kBfloat16:
      return reference_reduce_as<SmallElement<kBfloat16Format, uint16_t>>(call);
    case DType::kFloat8e4m3:
      return reference_reduce_as<SmallElement<kE4m3Format, uint8_t>>(call);
    case DType::kFloat8e5m2:
      return reference_reduce_as<SmallElement<kE5m2Format, uint8_t>>(call);
  }
}

}  // namespace tutti::test
