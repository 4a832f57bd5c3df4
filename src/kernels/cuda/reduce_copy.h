// SPDX-License-Identifier: Apache-2.0
// The bulk of what GPUs do: sinks <- reduce(sources) by many threads, in one pass over memory.
//
// Bytes per element of size e: (n_sources + n_sinks) * e, each once. Where all operands lie alike
// within 16 bytes, all but up to 15 bytes at each end move in 16-byte accesses; operands that lie
// differently are moved in accesses of the width that all of them allow.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/fold.h"
#include "src/kernels/cuda/unit.h"

namespace tutti::gpu {

// Who takes part: thread `rank` of `count`.
struct Team {
  uint32_t rank;
  uint32_t count;
};

// Vectors that a thread loads of each source before it uses the first: several lines in flight per
// thread hide the latency of memory. 8-bit floats need 16 accumulators per vector.
template <DType kType>
inline constexpr int kUnroll = CodecOf<kType>::kAccs > 8 ? 2 : 4;
inline constexpr int kCopyUnroll = 8;

TUTTI_GPU bool is_copy(const Move& m, const Reduction& r) {
  return m.n_sources == 1 && !(r.pre && (m.pre_mask & 1) != 0) && !(r.post && m.post);
}

// kUnits vectors, a team apart.
template <int kUnits>
TUTTI_GPU void load_units(const std::byte* from, uint32_t apart, Vec16* v) {
  TUTTI_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    v[u] = load_stream(reinterpret_cast<const Vec16*>(from + uint64_t{apart} * u));
  }
}
template <int kUnits>
TUTTI_GPU void store_units(const Move& m, uint64_t at, uint32_t apart, const Vec16* v) {
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < m.n_sinks; ++i) {
    TUTTI_PROOF_LOOP("sinks", kUnits, 0);
    std::byte* to = m.sinks[i] + at;
    TUTTI_UNROLL
    for (int u = 0; u < kUnits; ++u) {
      store(reinterpret_cast<Vec16*>(to + uint64_t{apart} * u), v[u]);
    }
  }
}

// PreMulSum is the fold whose sources may be multiplied first; it is Sum otherwise.
template <Op kOp>
inline constexpr Op kMergeOf = kOp == Op::kPreMulSum ? Op::kSum : kOp;

TUTTI_GPU bool is_pre(const Move& m, const Reduction& r, uint32_t source) {
  return r.pre && ((m.pre_mask >> source) & 1) != 0;
}
template <DType kType, Op kOp>
TUTTI_GPU Block<kType> decoded(Vec16 v, bool pre, const Reduction& r) {
  Block<kType> block;
  block.set(v);
  if constexpr (kOp == Op::kPreMulSum) {
    if (pre) block.multiply(r.scaling);
  }
  return block;
}

// kUnits vectors of every source at byte `at`. Those of the first two sources are on their way
// before any is used; a lone source (which is scaled, or it were a copy) is read twice. All loads
// of a vector precede its stores, and one thread does both, so a sink may be a source.
template <DType kType, Op kOp, int kUnits>
TUTTI_GPU void step_of_fold(const Move& m, const Reduction& r, uint64_t at, uint32_t apart) {
  TUTTI_PROOF_LOOP("fold", kOp, kUnits);
  const bool alone = m.n_sources == 1;
  Vec16 v[kUnits];
  Vec16 second[kUnits];
  load_units<kUnits>(m.sources[0] + at, apart, v);
  load_units<kUnits>(m.sources[alone ? 0 : 1] + at, apart, second);
  Block<kType> folded[kUnits];
  TUTTI_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    folded[u] = decoded<kType, kOp>(v[u], is_pre(m, r, 0), r);
    if (alone) continue;
    folded[u].template merge<kMergeOf<kOp>>(decoded<kType, kOp>(second[u], is_pre(m, r, 1), r));
  }
  TUTTI_NO_UNROLL
  for (uint32_t i = 2; i < m.n_sources; ++i) {
    TUTTI_PROOF_LOOP("source", kOp, kUnits);
    load_units<kUnits>(m.sources[i] + at, apart, v);
    TUTTI_UNROLL
    for (int u = 0; u < kUnits; ++u) {
      folded[u].template merge<kMergeOf<kOp>>(decoded<kType, kOp>(v[u], is_pre(m, r, i), r));
    }
  }
  const bool post = r.post && m.post;
  TUTTI_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    if constexpr (kOp == Op::kSum) {
      if (post) folded[u].divide(r.scaling);
    }
    v[u] = folded[u].result();
  }
  store_units<kUnits>(m, at, apart, v);
}

template <int kUnits>
TUTTI_GPU void step_of_copy(const Move& m, uint64_t at, uint32_t apart) {
  TUTTI_PROOF_LOOP("copy", 0, kUnits);
  Vec16 v[kUnits];
  load_units<kUnits>(m.sources[0] + at, apart, v);
  store_units<kUnits>(m, at, apart, v);
}

// [begin, end) in bytes, in groups of kUnits vectors per thread as far as there are whole ones.
// Returns where they end.
template <int kUnits, class Step>
TUTTI_GPU uint64_t groups(Team team, uint64_t begin, uint64_t end, Step step) {
  const uint32_t apart = team.count * kUnitBytes;
  const uint64_t group = uint64_t{apart} * kUnits;
  TUTTI_NO_UNROLL
  for (; end - begin >= group; begin += group) {
    step.template run<kUnits>(begin + uint64_t{team.rank} * kUnitBytes, apart);
  }
  return begin;
}

template <DType kType, Op kOp>
struct FoldStep {
  const Move& m;
  const Reduction& r;
  template <int kUnits>
  TUTTI_GPU void run(uint64_t at, uint32_t apart) const {
    step_of_fold<kType, kOp, kUnits>(m, r, at, apart);
  }
};
struct CopyStep {
  const Move& m;
  template <int kUnits>
  TUTTI_GPU void run(uint64_t at, uint32_t apart) const {
    step_of_copy<kUnits>(m, at, apart);
  }
};

// What a call may be: kCopies has one source and no scaling.
enum class Calls : uint8_t { kAll, kCopies };

// The operation is chosen outside of the loops.
template <DType kType, Calls kCalls>
TUTTI_GPU uint64_t bulk(const Move& m, const Reduction& r, Team team, uint64_t begin,
                        uint64_t end) {
  constexpr int kUnits = kUnroll<kType>;
  if (kCalls == Calls::kCopies || is_copy(m, r)) {
    return groups<kCopyUnroll>(team, begin, end, CopyStep{m});
  }
  if (r.pre) return groups<kUnits>(team, begin, end, FoldStep<kType, Op::kPreMulSum>{m, r});
  switch (r.fold) {
    case Op::kProd:
      return groups<kUnits>(team, begin, end, FoldStep<kType, Op::kProd>{m, r});
    case Op::kMin:
      return groups<kUnits>(team, begin, end, FoldStep<kType, Op::kMin>{m, r});
    case Op::kMax:
      return groups<kUnits>(team, begin, end, FoldStep<kType, Op::kMax>{m, r});
    default:
      return groups<kUnits>(team, begin, end, FoldStep<kType, Op::kSum>{m, r});
  }
}

// Folds whose operation is known only when they run, for what is not bulk.
template <DType kType>
TUTTI_GPU void merge_any(Block<kType>& into, Vec16 v, uint32_t source, const Move& m,
                         const Reduction& r) {
  Block<kType> next;
  next.set(v);
  if (is_pre(m, r, source)) next.multiply(r.scaling);
  if (source == 0) {
    into = next;
  } else {
    into.merge(r.fold, next);
  }
}
template <DType kType>
TUTTI_GPU Vec16 result_any(Block<kType>& folded, const Move& m, const Reduction& r) {
  if (r.post && m.post) folded.divide(r.scaling);
  return folded.result();
}

// One unit of at most 16 bytes, its operands at any addresses.
template <DType kType, Calls kCalls>
TUTTI_GPU void fold_unit(const Move& m, const Reduction& r, uint64_t at, uint32_t bytes,
                         uint32_t granule) {
  const bool copy = kCalls == Calls::kCopies || is_copy(m, r);
  Vec16 v;
  Block<kType> folded;
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < m.n_sources; ++i) {
    TUTTI_PROOF_LOOP("edge", 0, 0);
    v = load_unit(m.sources[i] + at, bytes, granule);
    if (!copy) merge_any(folded, v, i, m, r);
  }
  if (!copy) v = result_any(folded, m, r);
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < m.n_sinks; ++i) {
    TUTTI_PROOF_LOOP("edge", 0, 0);
    store_unit(m.sinks[i] + at, v, bytes, granule);
  }
}

// The operands' addresses: those bits in which any differs from the first, and all their bits.
struct Addresses {
  uint64_t different = 0;
  uint64_t any = 0;
};
TUTTI_GPU Addresses addresses_of(const Move& m) {
  const uint64_t first = address_of(m.sources[0]);
  Addresses found{0, first};
  for (uint32_t i = 1; i < m.n_sources; ++i) {
    found.different |= address_of(m.sources[i]) ^ first;
    found.any |= address_of(m.sources[i]);
  }
  for (uint32_t i = 0; i < m.n_sinks; ++i) {
    found.different |= address_of(m.sinks[i]) ^ first;
    found.any |= address_of(m.sinks[i]);
  }
  return found;
}

// What is left beside the bulk, in units. Where operands lie alike: what is before the first whole
// vector, what is after the last one, and vectors that do not make a group. Else everything.
struct Rest {
  bool alike;
  uint64_t begin;        // of the whole vectors
  uint64_t bulk_end;     // from here on vectors are left
  uint64_t end;          // of the whole vectors
  uint64_t bytes;        // of the operands
  uint64_t any_address;  // all addresses' bits

  TUTTI_GPU uint64_t n_units() const {
    if (!alike) return (bytes + kUnitBytes - 1) / kUnitBytes;
    return 2 + (end - bulk_end) / kUnitBytes;
  }
  TUTTI_GPU uint64_t first(uint64_t i) const {
    if (!alike) return i * kUnitBytes;
    return i == 0 ? 0 : i == 1 ? end : bulk_end + (i - 2) * kUnitBytes;
  }
  TUTTI_GPU uint32_t length(uint64_t i) const {
    const uint64_t left = (alike && i == 0 ? begin : bytes) - first(i);
    return static_cast<uint32_t>(left < kUnitBytes ? left : kUnitBytes);
  }
};

// By all threads of the team. At least one source and one sink. Orders nothing.
template <DType kType, Calls kCalls = Calls::kAll>
TUTTI_GPU void reduce_copy(const Move& m, const Reduction& r, Team team) {
  const Addresses where = addresses_of(m);
  const uint64_t phase = address_of(m.sources[0]) % kUnitBytes;
  Rest rest;
  rest.alike = where.different % kUnitBytes == 0 && phase % size_of(kType) == 0;
  rest.bytes = m.bytes;
  rest.any_address = where.any;
  rest.begin = (kUnitBytes - phase) % kUnitBytes;
  if (rest.begin > m.bytes) rest.begin = m.bytes;
  rest.end = m.bytes - (m.bytes - rest.begin) % kUnitBytes;
  rest.bulk_end = rest.alike ? bulk<kType, kCalls>(m, r, team, rest.begin, rest.end) : 0;
  TUTTI_NO_UNROLL
  for (uint64_t i = team.rank; i < rest.n_units(); i += team.count) {
    TUTTI_PROOF_LOOP("edge", 0, 0);
    const uint64_t at = rest.first(i);
    const uint32_t bytes = rest.length(i);
    const uint32_t granule = granule_of(rest.any_address | at | bytes);
    if (bytes != 0) fold_unit<kType, kCalls>(m, r, at, bytes, granule);
  }
}

}  // namespace tutti::gpu
