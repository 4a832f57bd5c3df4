// SPDX-License-Identifier: Apache-2.0
// Units: up to 16 bytes that one thread handles, at any address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/primitives.h"

namespace tutti::gpu {

inline constexpr uint32_t kUnitBytes = 16;

TUTTI_GPU uint64_t address_of(const void* p) { return reinterpret_cast<uint64_t>(p); }

// The width of the accesses that a unit allows: the largest power of two, 16 at most, that divides
// each of the numbers that were or-ed to `bits` (addresses and lengths).
TUTTI_GPU uint32_t granule_of(uint64_t bits) {
  const auto low = static_cast<uint32_t>(bits & 15u) | 16u;
  return low & (0u - low);
}

namespace unit {

// The first `bytes` bytes, in pieces of sizeof(T); the rest is zero.
template <class T>
TUTTI_GPU Vec16 gather(const std::byte* from, uint32_t bytes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  uint32_t word[4] = {0, 0, 0, 0};
  TUTTI_UNROLL
  for (uint32_t i = 0; i < kUnitBytes / sizeof(T); ++i) {
    if (i * sizeof(T) < bytes) {
      const uint32_t piece = load(reinterpret_cast<const T*>(from) + i);
      word[i * kBits / 32] |= piece << (i * kBits % 32);
    }
  }
  return {word[0], word[1], word[2], word[3]};
}
template <>
TUTTI_GPU Vec16 gather<Vec8>(const std::byte* from, uint32_t bytes) {
  const auto* pieces = reinterpret_cast<const Vec8*>(from);
  const Vec8 low = load(pieces);
  Vec8 high = {0, 0};
  if (bytes > sizeof(Vec8)) high = load(pieces + 1);
  return {low.x, low.y, high.x, high.y};
}

template <class T>
TUTTI_GPU void scatter(std::byte* to, Vec16 v, uint32_t bytes) {
  constexpr uint32_t kBits = 8 * sizeof(T);
  const uint32_t word[4] = {v.x, v.y, v.z, v.w};
  TUTTI_UNROLL
  for (uint32_t i = 0; i < kUnitBytes / sizeof(T); ++i) {
    if (i * sizeof(T) < bytes) {
      store(reinterpret_cast<T*>(to) + i, static_cast<T>(word[i * kBits / 32] >> (i * kBits % 32)));
    }
  }
}
template <>
TUTTI_GPU void scatter<Vec8>(std::byte* to, Vec16 v, uint32_t bytes) {
  auto* pieces = reinterpret_cast<Vec8*>(to);
  store(pieces, Vec8{v.x, v.y});
  if (bytes > sizeof(Vec8)) store(pieces + 1, Vec8{v.z, v.w});
}

}  // namespace unit

// `granule` divides the address and `bytes` (1 to 16). What is beyond `bytes` is zero.
TUTTI_GPU Vec16 load_unit(const std::byte* from, uint32_t bytes, uint32_t granule) {
  switch (granule) {
    case 16:
      return load(reinterpret_cast<const Vec16*>(from));
    case 8:
      return unit::gather<Vec8>(from, bytes);
    case 4:
      return unit::gather<uint32_t>(from, bytes);
    case 2:
      return unit::gather<uint16_t>(from, bytes);
    default:
      return unit::gather<uint8_t>(from, bytes);
  }
}
TUTTI_GPU void store_unit(std::byte* to, Vec16 v, uint32_t bytes, uint32_t granule) {
  switch (granule) {
    case 16:
      return store(reinterpret_cast<Vec16*>(to), v);
    case 8:
      return unit::scatter<Vec8>(to, v, bytes);
    case 4:
      return unit::scatter<uint32_t>(to, v, bytes);
    case 2:
      return unit::scatter<uint16_t>(to, v, bytes);
    default:
      return unit::scatter<uint8_t>(to, v, bytes);
  }
}

}  // namespace tutti::gpu
