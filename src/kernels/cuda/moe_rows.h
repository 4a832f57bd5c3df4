// SPDX-License-Identifier: Apache-2.0
// Rows of tokens, each by one warp: copied to several places, quantised, summed with weights.
//
// The numerics are those of src/kernels/token_rows.h, to the bit. Bytes per row of W bytes with n
// terms or places: a copy reads W and writes n W; quantising reads 2 H and writes W; a sum reads n
// rows and writes one. Where rows and buffers are multiples of 16 bytes all moves in 16-byte
// accesses, several of which are on their way per lane; else in those that they allow.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/moe.h"

namespace tutti::gpu {

inline constexpr uint32_t kRowUnits = 4;  // that a lane has on their way
inline constexpr uint32_t kUnitElems = kUnitBytes / 2;

// Rows that lie at multiples of a stride.
struct Rows {
  std::byte* base;
  uint64_t stride;
};
struct Row {
  const std::byte* data;
  uint32_t bytes;
};

TUTTI_GPU Vec16 load_row_unit(const std::byte* from) {
  return load_stream(reinterpret_cast<const Vec16*>(from));
}

// Of the lane; `apart`: of the units that it handles together.
inline constexpr uint32_t kUnitsApart = kWarpThreads * kUnitBytes;

// To the first n places. Aligned: kUnits whole units of each lane.
template <uint32_t kUnits>
TUTTI_GPU void copy_units(const Row& from, Rows to, const MoePlaces& places, uint32_t n,
                          uint32_t at) {
  TUTTI_PROOF_LOOP("copy", 0, kUnits);
  Vec16 v[kUnits];
  TUTTI_UNROLL
  for (uint32_t u = 0; u < kUnits; ++u) v[u] = load_row_unit(from.data + at + u * kUnitsApart);
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < n; ++i) {
    std::byte* const sink = to.base + places.position[i] * to.stride + at;
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kUnits; ++u)
      store(reinterpret_cast<Vec16*>(sink + u * kUnitsApart), v[u]);
  }
}
TUTTI_GPU void copy_row_to(const Row& from, Rows to, const MoePlaces& places, uint32_t n) {
  const uint32_t granule =
      granule_of(address_of(from.data) | address_of(to.base) | to.stride | from.bytes);
  uint32_t at = lane_id() * kUnitBytes;
  if (granule == kUnitBytes) {
    TUTTI_NO_UNROLL
    for (; at + (kRowUnits - 1) * kUnitsApart < from.bytes; at += kRowUnits * kUnitsApart)
      copy_units<kRowUnits>(from, to, places, n, at);
    TUTTI_NO_UNROLL
    for (; at < from.bytes; at += kUnitsApart) copy_units<1>(from, to, places, n, at);
    return;
  }
  TUTTI_NO_UNROLL
  for (; at < from.bytes; at += kUnitsApart) {
    TUTTI_PROOF_LOOP("edge", 0, 1);
    const uint32_t bytes = least_of(kUnitBytes, from.bytes - at);
    const Vec16 v = load_unit(from.data + at, bytes, granule);
    TUTTI_NO_UNROLL
    for (uint32_t i = 0; i < n; ++i) {
      TUTTI_PROOF_LOOP("edge", 0, 1);
      store_unit(to.base + places.position[i] * to.stride + at, v, bytes, granule);
    }
  }
}

// --- Quantising: 16 elements of a lane at a time, a group is consecutive lanes

inline constexpr uint32_t kQuantElems = 16;
inline constexpr uint32_t kQuantUnits = 2;
inline constexpr float kLargestE4m3 = 448.0F;
inline constexpr float kLeastAmax = 1e-4F;

// Largest magnitude of the finite elements of a word, as bfloat16 bits.
TUTTI_GPU uint32_t finite_most_of(uint32_t word) {
  const uint32_t low = word & 0x7fffu, high = word >> 16 & 0x7fffu;
  const uint32_t a = low < 0x7f80u ? low : 0, b = high < 0x7f80u ? high : 0;
  return a > b ? a : b;
}
TUTTI_GPU uint32_t finite_most_of(Vec16 v) {
  const uint32_t a = finite_most_of(v.x), b = finite_most_of(v.y);
  const uint32_t c = finite_most_of(v.z), d = finite_most_of(v.w);
  const uint32_t ab = a > b ? a : b, cd = c > d ? c : d;
  return ab > cd ? ab : cd;
}
// The factor for the elements; *scale gets what undoes it, as stored.
template <bool kFloats>
TUTTI_GPU float factor_of(uint32_t amax, uint32_t* scale) {
  const float found = __builtin_bit_cast(float, amax << 16);
  const float largest = found > kLeastAmax ? found : kLeastAmax;
  const uint32_t unit = __builtin_bit_cast(uint32_t, largest / kLargestE4m3);
  if constexpr (kFloats) {
    *scale = unit;
    return kLargestE4m3 / largest;
  } else {
    *scale = (unit + 0x7fffffu) >> 23;  // rounded up to a power of two
    return __builtin_bit_cast(float, (254u - *scale) << 23);
  }
}
// Infinities saturate as well.
TUTTI_GPU float saturated(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if ((bits & 0x7fffffffu) != 0x7f800000u) return value;
  return (bits >> 31) != 0 ? -kLargestE4m3 : kLargestE4m3;
}
TUTTI_GPU uint32_t codes_of(uint32_t word, float factor) {
  const Float2 pair = decode_bfloat16x2(word);
  return encode_e4m3x2({saturated(pair.x * factor), saturated(pair.y * factor)});
}
TUTTI_GPU uint32_t codes_of(uint32_t low, uint32_t high, float factor) {
  return codes_of(low, factor) | codes_of(high, factor) << 16;
}

// 16 elements of each lane of a group, of which all are there or none.
template <uint32_t kGroup, bool kFloats>
TUTTI_GPU void quantize_unit(Vec16 low, Vec16 high, std::byte* data, std::byte* scales,
                             uint32_t elem, bool there) {
  constexpr uint32_t kLanes = kGroup / kQuantElems;
  const uint32_t a = finite_most_of(low), b = finite_most_of(high);
  uint32_t amax = a > b ? a : b;
  TUTTI_UNROLL
  for (uint32_t apart = 1; apart < kLanes; apart *= 2) {
    const uint32_t other = shuffle_xor(amax, apart);
    if (other > amax) amax = other;
  }
  if (!there) return;
  uint32_t scale = 0;
  const float factor = factor_of<kFloats>(amax, &scale);
  store(reinterpret_cast<Vec16*>(data + elem),
        Vec16{codes_of(low.x, low.y, factor), codes_of(low.z, low.w, factor),
              codes_of(high.x, high.y, factor), codes_of(high.z, high.w, factor)});
  if (lane_id() % kLanes != 0) return;
  if constexpr (kFloats) {
    store(reinterpret_cast<uint32_t*>(scales) + elem / kGroup, scale);
  } else {
    store(reinterpret_cast<uint8_t*>(scales) + elem / kGroup, static_cast<uint8_t>(scale));
  }
}

template <uint32_t kGroup, bool kFloats>
TUTTI_GPU void quantize_row(const std::byte* row, uint32_t elems, std::byte* data,
                            std::byte* scales) {
  constexpr uint32_t kApart = kWarpThreads * kQuantElems;
  const uint32_t granule = granule_of(address_of(row));
  TUTTI_NO_UNROLL
  for (uint32_t base = 0; base < elems; base += kQuantUnits * kApart) {
    TUTTI_PROOF_LOOP("quantize", kGroup, 2 * kQuantUnits);
    Vec16 low[kQuantUnits] = {}, high[kQuantUnits] = {};
    const uint32_t first = base + lane_id() * kQuantElems;
    if (granule == kUnitBytes) {
      TUTTI_UNROLL
      for (uint32_t u = 0; u < kQuantUnits; ++u) {
        const uint32_t elem = first + u * kApart;
        // Of those behind the end the first is loaded again, and not used.
        const std::byte* const from = row + 2 * (elem < elems ? elem : 0);
        low[u] = load_row_unit(from);
        high[u] = load_row_unit(from + kUnitBytes);
      }
    } else {
      TUTTI_NO_UNROLL
      for (uint32_t u = 0; u < kQuantUnits; ++u) {
        TUTTI_PROOF_LOOP("edge", 0, 1);
        const uint32_t elem = first + u * kApart;
        if (elem >= elems) break;
        const Vec16 a = load_unit(row + 2 * elem, kUnitBytes, granule);
        const Vec16 b = load_unit(row + 2 * elem + kUnitBytes, kUnitBytes, granule);
        if (u == 0) {
          low[0] = a;
          high[0] = b;
        } else {
          low[1] = a;
          high[1] = b;
        }
      }
    }
    static_assert(kQuantUnits == 2);
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kQuantUnits; ++u) {
      const uint32_t elem = first + u * kApart;
      quantize_unit<kGroup, kFloats>(low[u], high[u], data, scales, elem, elem < elems);
    }
  }
}

// A token as it travels.
TUTTI_GPU void stage_row(const MoeShape& shape, const std::byte* row, std::byte* to) {
  std::byte* const scales = to + shape.scales_at;
  switch (shape.form) {
    case MoeForm::kBfloat16:
      return;  // copied: copy_row_to()
    case MoeForm::kE4m3Float32:
      return quantize_row<128, true>(row, shape.hidden, to, scales);
    case MoeForm::kE4m3Ue8m0:
      return quantize_row<128, false>(row, shape.hidden, to, scales);
    case MoeForm::kMxfp8:
      return quantize_row<32, false>(row, shape.hidden, to, scales);
  }
}

// --- Sums

// Eight accumulators: elements of a unit.
struct Sums {
  float v[kUnitElems];

  TUTTI_GPU void zero() {
    TUTTI_UNROLL
    for (uint32_t i = 0; i < kUnitElems; ++i) v[i] = 0.0F;
  }
  TUTTI_GPU void add(uint32_t i, float term, bool first) { v[i] = first ? term : v[i] + term; }
  TUTTI_GPU void add(uint32_t i, Float2 pair, float weight, bool weighted, bool first) {
    add(i, weighted ? weight * pair.x : pair.x, first);
    add(i + 1, weighted ? weight * pair.y : pair.y, first);
  }
  // Of bfloat16.
  TUTTI_GPU void add(Vec16 unit, float weight, bool weighted, bool first) {
    add(0, decode_bfloat16x2(unit.x), weight, weighted, first);
    add(2, decode_bfloat16x2(unit.y), weight, weighted, first);
    add(4, decode_bfloat16x2(unit.z), weight, weighted, first);
    add(6, decode_bfloat16x2(unit.w), weight, weighted, first);
  }
  // Of float32: four of them.
  TUTTI_GPU void add_floats(uint32_t i, Vec16 floats, bool first) {
    add(i, __builtin_bit_cast(float, floats.x), first);
    add(i + 1, __builtin_bit_cast(float, floats.y), first);
    add(i + 2, __builtin_bit_cast(float, floats.z), first);
    add(i + 3, __builtin_bit_cast(float, floats.w), first);
  }
  TUTTI_GPU Vec16 rounded() const {
    return {encode_bfloat16x2({v[0], v[1]}), encode_bfloat16x2({v[2], v[3]}),
            encode_bfloat16x2({v[4], v[5]}), encode_bfloat16x2({v[6], v[7]})};
  }
  TUTTI_GPU Vec16 floats(uint32_t i) const {
    return {__builtin_bit_cast(uint32_t, v[i]), __builtin_bit_cast(uint32_t, v[i + 1]),
            __builtin_bit_cast(uint32_t, v[i + 2]), __builtin_bit_cast(uint32_t, v[i + 3])};
  }
};

// The sum of n rows at their places, with their weights or as they are.
struct RowSum {
  const std::byte* rows;
  uint32_t row_bytes;
  const MoePlaces* places;
  uint32_t n;
  bool weighted;
};
TUTTI_GPU const std::byte* row_at(const RowSum& sum, uint32_t i) {
  return sum.rows + uint64_t{sum.places->position[i]} * sum.row_bytes;
}
// Units are padded where they are staged: whole ones are stored.
TUTTI_GPU void stage_sums(const Sums& sums, std::byte* to, uint32_t unit, bool as_floats) {
  if (as_floats) {
    auto* const at = reinterpret_cast<Vec16*>(to) + 2 * unit;
    store(at, sums.floats(0));
    store(at + 1, sums.floats(4));
  } else {
    store(reinterpret_cast<Vec16*>(to) + unit, sums.rounded());
  }
}
template <uint32_t kUnits>
TUTTI_GPU void sum_units(const RowSum& sum, std::byte* to, uint32_t unit, bool as_floats) {
  Sums sums[kUnits];
  TUTTI_UNROLL
  for (uint32_t u = 0; u < kUnits; ++u) sums[u].zero();
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < sum.n; ++i) {
    TUTTI_PROOF_LOOP("terms", 0, kUnits);
    const std::byte* const row = row_at(sum, i) + uint64_t{unit} * kUnitBytes;
    Vec16 v[kUnits];
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kUnits; ++u) v[u] = load_row_unit(row + u * kUnitsApart);
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kUnits; ++u)
      sums[u].add(v[u], sum.places->weight[i], sum.weighted, i == 0);
  }
  TUTTI_UNROLL
  for (uint32_t u = 0; u < kUnits; ++u) stage_sums(sums[u], to, unit + u * kWarpThreads, as_floats);
}
// Rows that are no multiples of 16 bytes, or lie so.
TUTTI_GPU void sum_edge(const RowSum& sum, std::byte* to, uint32_t unit, bool as_floats) {
  const uint32_t granule = granule_of(address_of(sum.rows) | sum.row_bytes);
  const uint32_t bytes = least_of(kUnitBytes, sum.row_bytes - unit * kUnitBytes);
  Sums sums;
  sums.zero();
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < sum.n; ++i) {
    TUTTI_PROOF_LOOP("edge", 0, 1);
    const std::byte* const row = row_at(sum, i) + uint64_t{unit} * kUnitBytes;
    sums.add(load_unit(row, bytes, granule), sum.places->weight[i], sum.weighted, i == 0);
  }
  stage_sums(sums, to, unit, as_floats);
}
TUTTI_GPU void stage_sum(const RowSum& sum, std::byte* to, bool as_floats) {
  const uint32_t units = (sum.row_bytes + kUnitBytes - 1) / kUnitBytes;
  const bool aligned = granule_of(address_of(sum.rows) | sum.row_bytes) == kUnitBytes;
  uint32_t unit = lane_id();
  if (!aligned) {
    TUTTI_NO_UNROLL
    for (; unit < units; unit += kWarpThreads) {
      TUTTI_PROOF_LOOP("edge", 0, 1);
      sum_edge(sum, to, unit, as_floats);
    }
    return;
  }
  TUTTI_NO_UNROLL
  for (; unit + (kRowUnits - 1) * kWarpThreads < units; unit += kRowUnits * kWarpThreads) {
    TUTTI_PROOF_LOOP("sums", 0, 0);
    sum_units<kRowUnits>(sum, to, unit, as_floats);
  }
  TUTTI_NO_UNROLL
  for (; unit < units; unit += kWarpThreads) {
    TUTTI_PROOF_LOOP("sums", 0, 0);
    sum_units<1>(sum, to, unit, as_floats);
  }
}

// The sum of n staged sums that lie one after the other.
struct StagedSum {
  const std::byte* sums;
  uint32_t stride;
  uint32_t n;
};
template <bool kFloats, uint32_t kUnits>
TUTTI_GPU void gather_units(const StagedSum& sum, uint32_t unit, Sums* sums) {
  constexpr uint32_t kParts = kFloats ? 2 : 1;
  TUTTI_UNROLL
  for (uint32_t u = 0; u < kUnits; ++u) sums[u].zero();
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < sum.n; ++i) {
    TUTTI_PROOF_LOOP("terms", 0, kUnits * kParts);
    const std::byte* const row = sum.sums + uint64_t{i} * sum.stride;
    Vec16 v[kUnits * kParts];
    TUTTI_UNROLL
    for (uint32_t p = 0; p < kUnits * kParts; ++p)
      v[p] = load_row_unit(row + ((unit + p / kParts * kWarpThreads) * kParts + p % kParts) *
                                     uint64_t{kUnitBytes});
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kUnits; ++u) {
      if constexpr (kFloats) {
        sums[u].add_floats(0, v[2 * u], i == 0);
        sums[u].add_floats(4, v[2 * u + 1], i == 0);
      } else {
        sums[u].add(v[u], 0.0F, false, i == 0);
      }
    }
  }
}
template <bool kFloats>
TUTTI_GPU void gather_row(const StagedSum& sum, std::byte* to, uint32_t bytes) {
  constexpr uint32_t kUnits = kFloats ? kRowUnits / 2 : kRowUnits;
  const uint32_t granule = granule_of(address_of(to) | bytes);
  const uint32_t units = (bytes + kUnitBytes - 1) / kUnitBytes;
  uint32_t unit = lane_id();
  TUTTI_NO_UNROLL
  for (; granule == kUnitBytes && unit + (kUnits - 1) * kWarpThreads < units;
       unit += kUnits * kWarpThreads) {
    TUTTI_PROOF_LOOP("sums", 0, 0);
    Sums sums[kUnits];
    gather_units<kFloats, kUnits>(sum, unit, sums);
    TUTTI_UNROLL
    for (uint32_t u = 0; u < kUnits; ++u)
      store(reinterpret_cast<Vec16*>(to) + unit + u * kWarpThreads, sums[u].rounded());
  }
  TUTTI_NO_UNROLL
  for (; unit < units; unit += kWarpThreads) {
    TUTTI_PROOF_LOOP("edge", 0, 1);
    Sums sums[1];
    gather_units<kFloats, 1>(sum, unit, sums);
    const uint32_t at = unit * kUnitBytes;
    store_unit(to + at, sums[0].rounded(), least_of(kUnitBytes, bytes - at), granule);
  }
}

}  // namespace tutti::gpu
