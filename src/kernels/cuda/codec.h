// SPDX-License-Identifier: Apache-2.0
// Codecs: 16 bytes of memory as accumulators and back, one per data type.
#pragma once

#include <cstdint>
#include <type_traits>

#include "src/kernels/cuda/primitives.h"

namespace tutti::gpu {

// A codec has
//   Acc      an accumulator, kAccs of which hold 16 bytes' worth of elements
//   decode(Vec16, Acc*), encode(const Acc*) -> Vec16
// encode replaces every NaN by the type's canonical one and rounds once.

// float16 and bfloat16: two elements per word.
template <Float2 (&kDecode)(uint32_t), uint32_t (&kEncode)(Float2)>
struct Codec16 {
  using Acc = float;
  static constexpr int kAccs = 8;

  static TUTTI_GPU void decode(Vec16 v, float* acc) {
    put(kDecode(v.x), acc);
    put(kDecode(v.y), acc + 2);
    put(kDecode(v.z), acc + 4);
    put(kDecode(v.w), acc + 6);
  }
  static TUTTI_GPU Vec16 encode(const float* acc) {
    return {kEncode({acc[0], acc[1]}), kEncode({acc[2], acc[3]}), kEncode({acc[4], acc[5]}),
            kEncode({acc[6], acc[7]})};
  }

 private:
  static TUTTI_GPU void put(Float2 pair, float* acc) {
    acc[0] = pair.x;
    acc[1] = pair.y;
  }
};

// The 8-bit floats: two pairs per word.
template <Float2 (&kDecode)(uint16_t), uint16_t (&kEncode)(Float2)>
struct Codec8 {
  using Acc = float;
  static constexpr int kAccs = 16;

  static TUTTI_GPU void decode(Vec16 v, float* acc) {
    word(v.x, acc);
    word(v.y, acc + 4);
    word(v.z, acc + 8);
    word(v.w, acc + 12);
  }
  static TUTTI_GPU Vec16 encode(const float* acc) {
    return {word(acc), word(acc + 4), word(acc + 8), word(acc + 12)};
  }

 private:
  static TUTTI_GPU void word(uint32_t bits, float* acc) {
    const Float2 low = kDecode(static_cast<uint16_t>(bits));
    const Float2 high = kDecode(static_cast<uint16_t>(bits >> 16));
    acc[0] = low.x;
    acc[1] = low.y;
    acc[2] = high.x;
    acc[3] = high.y;
  }
  static TUTTI_GPU uint32_t word(const float* acc) {
    return kEncode({acc[0], acc[1]}) | static_cast<uint32_t>(kEncode({acc[2], acc[3]})) << 16;
  }
};

struct CodecFloat32 {
  using Acc = float;
  static constexpr int kAccs = 4;
  static TUTTI_GPU void decode(Vec16 v, float* acc) {
    acc[0] = float_of(v.x);
    acc[1] = float_of(v.y);
    acc[2] = float_of(v.z);
    acc[3] = float_of(v.w);
  }
  static TUTTI_GPU Vec16 encode(const float* acc) {
    return {bits(acc[0]), bits(acc[1]), bits(acc[2]), bits(acc[3])};
  }

 private:
  static TUTTI_GPU uint32_t bits(float v) { return v != v ? 0x7fc00000u : float_bits(v); }
};

struct CodecFloat64 {
  using Acc = double;
  static constexpr int kAccs = 2;
  static TUTTI_GPU void decode(Vec16 v, double* acc) {
    acc[0] = __builtin_bit_cast(double, uint64_t{v.y} << 32 | v.x);
    acc[1] = __builtin_bit_cast(double, uint64_t{v.w} << 32 | v.z);
  }
  static TUTTI_GPU Vec16 encode(const double* acc) {
    const uint64_t low = bits(acc[0]);
    const uint64_t high = bits(acc[1]);
    return {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
            static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)};
  }

 private:
  static TUTTI_GPU uint64_t bits(double v) {
    return v != v ? uint64_t{0x7ff8000000000000} : __builtin_bit_cast(uint64_t, v);
  }
};

// Integers: words of the type itself; bytes stay packed, four to a word.
template <class Word>
struct CodecInteger {
  using Acc = Word;
  static constexpr int kAccs = 16 / sizeof(Word);
  static TUTTI_GPU void decode(Vec16 v, Word* acc) {
    if constexpr (sizeof(Word) == 4) {
      acc[0] = static_cast<Word>(v.x);
      acc[1] = static_cast<Word>(v.y);
      acc[2] = static_cast<Word>(v.z);
      acc[3] = static_cast<Word>(v.w);
    } else {
      acc[0] = static_cast<Word>(uint64_t{v.y} << 32 | v.x);
      acc[1] = static_cast<Word>(uint64_t{v.w} << 32 | v.z);
    }
  }
  static TUTTI_GPU Vec16 encode(const Word* acc) {
    if constexpr (sizeof(Word) == 4) {
      return {static_cast<uint32_t>(acc[0]), static_cast<uint32_t>(acc[1]),
              static_cast<uint32_t>(acc[2]), static_cast<uint32_t>(acc[3])};
    } else {
      const auto low = static_cast<uint64_t>(acc[0]);
      const auto high = static_cast<uint64_t>(acc[1]);
      return {static_cast<uint32_t>(low), static_cast<uint32_t>(low >> 32),
              static_cast<uint32_t>(high), static_cast<uint32_t>(high >> 32)};
    }
  }
};

template <DType kType>
struct CodecOf;
template <>
struct CodecOf<DType::kInt8> : CodecInteger<uint32_t> {};
template <>
struct CodecOf<DType::kUint8> : CodecInteger<uint32_t> {};
template <>
struct CodecOf<DType::kInt32> : CodecInteger<int32_t> {};
template <>
struct CodecOf<DType::kUint32> : CodecInteger<uint32_t> {};
template <>
struct CodecOf<DType::kInt64> : CodecInteger<int64_t> {};
template <>
struct CodecOf<DType::kUint64> : CodecInteger<uint64_t> {};
template <>
struct CodecOf<DType::kFloat32> : CodecFloat32 {};
template <>
struct CodecOf<DType::kFloat64> : CodecFloat64 {};
template <>
struct CodecOf<DType::kFloat16> : Codec16<decode_float16x2, encode_float16x2> {};
template <>
struct CodecOf<DType::kBfloat16> : Codec16<decode_bfloat16x2, encode_bfloat16x2> {};
template <>
struct CodecOf<DType::kFloat8e4m3> : Codec8<decode_e4m3x2, encode_e4m3x2> {};
template <>
struct CodecOf<DType::kFloat8e5m2> : Codec8<decode_e5m2x2, encode_e5m2x2> {};

}  // namespace tutti::gpu
