// SPDX-License-Identifier: Apache-2.0
// Steps with LL and LL128 operands: data and flag travel together, so that a message needs neither
// fence nor header (device_program.h has the layouts).
//
// Threads move units of 16 bytes: all sources of a unit are read, waiting where they have not come,
// folded, and written to all sinks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/exec/cuda/lane.h"

namespace tutti::exec {

using gpu::kUnitBytes;
using gpu::Vec16;
using gpu::Vec8;

// --- LL

TUTTI_GPU bool ll_arrived(Vec16 line, uint32_t flag) { return line.y == flag && line.w == flag; }

// The two lines of one unit.
TUTTI_GPU bool ll_load(const Lane& lane, uint32_t source, const std::byte* at, uint32_t step,
                       Vec16* v) {
  const auto* lines = reinterpret_cast<const Vec16*>(at);
  const uint32_t flag = lane.shared.source_flag[source];
  Wait wait(lane, WaitFor::kMessage, lane.shared.source_peer[source], step);
  for (;;) {
    const Vec16 a = gpu::load_volatile(lines);
    const Vec16 b = gpu::load_volatile(lines + 1);
    if (ll_arrived(a, flag) && ll_arrived(b, flag)) {
      wait.end();
      *v = {a.x, a.z, b.x, b.z};
      return true;
    }
    if (!wait.again()) return false;
  }
}
TUTTI_GPU void ll_store(std::byte* at, Vec16 v, uint32_t flag) {
  auto* lines = reinterpret_cast<Vec16*>(at);
  gpu::store_volatile(lines, Vec16{v.x, flag, v.y, flag});
  gpu::store_volatile(lines + 1, Vec16{v.z, flag, v.w, flag});
}
TUTTI_GPU void ll_store_head(std::byte* slot, uint32_t signature, uint32_t flag) {
  gpu::store_volatile(reinterpret_cast<Vec16*>(slot), Vec16{signature, flag, signature, flag});
}

// The message's first line, which has its signature.
TUTTI_GPU bool ll_check_head(const Lane& lane, const DeviceEndpoint& from, const std::byte* slot,
                             uint32_t signature, uint32_t step) {
  const auto flag = static_cast<uint32_t>(from.count + 1);
  Wait wait(lane, WaitFor::kMessage, from.peer, step);
  for (;;) {
    const Vec16 head = gpu::load_volatile(reinterpret_cast<const Vec16*>(slot));
    if (ll_arrived(head, flag)) {
      wait.end();
      if (head.x == signature && head.z == signature) return true;
      fail(lane, Failure::kMismatch, from.peer, head.x);
      return false;
    }
    if (!wait.again()) return false;
  }
}

// 1 to 16 bytes in memory, at any address.
TUTTI_GPU Vec16 memory_load(const std::byte* at, uint32_t bytes) {
  return gpu::load_unit(at, bytes, gpu::granule_of(gpu::address_of(at) | bytes));
}
TUTTI_GPU void memory_store(std::byte* at, Vec16 v, uint32_t bytes) {
  gpu::store_unit(at, v, bytes, gpu::granule_of(gpu::address_of(at) | bytes));
}

TUTTI_GPU bool ll_source(const Lane& lane, uint32_t i, uint64_t unit, uint32_t bytes, uint32_t step,
                         Vec16* v) {
  const LaneShared& s = lane.shared;
  if (s.source_access[i] == Access::kLL) {
    const uint64_t at = kLLHeadBytes + unit * 2 * kUnitBytes;
    return ll_load(lane, i, s.move.sources[i] + at, step, v);
  }
  *v = memory_load(s.move.sources[i] + unit * kUnitBytes, bytes);
  return true;
}
TUTTI_GPU void ll_sink(const LaneShared& s, uint32_t i, uint64_t unit, uint32_t bytes, Vec16 v) {
  if (s.sink_access[i] == Access::kLL) {
    ll_store(s.move.sinks[i] + kLLHeadBytes + unit * 2 * kUnitBytes, v, s.sink_flag[i]);
  } else {
    memory_store(s.move.sinks[i] + unit * kUnitBytes, v, bytes);
  }
}

template <DType kType>
TUTTI_GPU bool ll_unit(const Lane& lane, uint64_t unit, uint32_t bytes, uint32_t step) {
  const gpu::Move& m = lane.shared.move;
  const gpu::Reduction r = reduction_of(lane);
  const bool copy = gpu::is_copy(m, r);
  Vec16 v;
  gpu::Block<kType> folded;
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < m.n_sources; ++i) {
    if (!ll_source(lane, i, unit, bytes, step, &v)) return false;
    if (!copy) gpu::merge_any(folded, v, i, m, r);
  }
  if (!copy) v = gpu::result_any(folded, m, r);
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < m.n_sinks; ++i) ll_sink(lane.shared, i, unit, bytes, v);
  return true;
}

// The heads are written by the threads that resolve the operands.
template <DType kType>
TUTTI_GPU void ll_move(const Lane& lane, uint32_t step) {
  const uint64_t bytes = lane.shared.move.bytes;
  uint64_t at = uint64_t{lane.team().rank} * kUnitBytes;
  bool going = true;
  TUTTI_NO_UNROLL
  for (; going && at < bytes; at += uint64_t{lane.team().count} * kUnitBytes) {
    TUTTI_PROOF_LOOP("ll", 0, 1);
    const uint64_t left = bytes - at;
    const auto part = static_cast<uint32_t>(left < kUnitBytes ? left : kUnitBytes);
    going = ll_unit<kType>(lane, at / kUnitBytes, part, step);
  }
}
// Beyond the message, so that no line keeps a flag for long.
TUTTI_GPU void ll_clean(const Lane& lane, std::byte* slot, uint32_t flag, uint32_t slot_bytes) {
  const uint64_t used = (lane.shared.move.bytes + kUnitBytes - 1) / kUnitBytes;
  const uint64_t n = slot_capacity(DeviceProtocol::kLL, slot_bytes) / kUnitBytes;
  for (uint64_t unit = used + lane.team().rank; unit < n; unit += lane.team().count) {
    ll_store(slot + kLLHeadBytes + unit * 2 * kUnitBytes, Vec16{0, 0, 0, 0}, flag);
  }
}

// --- LL128

// Pairs of lines that a half warp has in flight: as many as there are registers for. Not a matter
// of the layout.
template <DType kType>
inline constexpr int kLinesOf = gpu::CodecOf<kType>::kAccs > 8 ? 1 : 2;

// Where a lane stands in its pair: it has one unit, or at the end of each line half of unit 14 and
// the flag.
struct LL128Place {
  bool has_flag;
  uint32_t line_offset;  // bytes within the pair's lines
  uint32_t data_offset;  // bytes within the pair's data
  uint32_t bytes;

  TUTTI_GPU explicit LL128Place(uint32_t lane_in_pair) {
    const uint32_t half = lane_in_pair / 8;
    const uint32_t piece = lane_in_pair % 8;
    has_flag = piece == 7;
    line_offset = lane_in_pair * kUnitBytes;
    data_offset = has_flag ? 14 * kUnitBytes + half * 8 : (half * 7 + piece) * kUnitBytes;
    bytes = has_flag ? 8 : kUnitBytes;
  }
};

// The lane's part of each of kLines pairs, kApart pairs from each other.
struct LL128Pairs {
  uint64_t first;  // of this lane
  uint64_t end;    // pairs of the message
  uint64_t bytes;  // of the message
  static constexpr uint32_t kApart = 2;

  TUTTI_GPU uint64_t pair(int k) const { return first + static_cast<uint32_t>(k) * kApart; }
  TUTTI_GPU bool active(int k) const { return pair(k) < end; }
  // Bytes of the message that the lane has in pair k.
  TUTTI_GPU uint32_t left(int k, const LL128Place& place) const {
    const uint64_t at = pair(k) * kLL128PairData + place.data_offset;
    if (at >= bytes) return 0;
    return static_cast<uint32_t>(bytes - at < place.bytes ? bytes - at : place.bytes);
  }
};

template <int kLines>
TUTTI_GPU bool ll128_wait(const Lane& lane, const LL128Pairs& pairs, const LL128Place& place,
                          uint32_t source, uint32_t signature, uint32_t step, Vec16* v) {
  const std::byte* slot = lane.shared.move.sources[source];
  const uint32_t sequence = lane.shared.source_flag[source];
  const int32_t peer = lane.shared.source_peer[source];
  Wait wait(lane, WaitFor::kMessage, peer, step);
  for (;;) {
    bool missing = false;
    TUTTI_UNROLL
    for (int k = 0; k < kLines; ++k) {
      const std::byte* at = slot + pairs.pair(k) * kLL128PairBytes + place.line_offset;
      v[k] = gpu::load_line(reinterpret_cast<const Vec16*>(at), pairs.active(k));
    }
    bool mismatch = false;
    uint32_t got = 0;
    TUTTI_UNROLL
    for (int k = 0; k < kLines; ++k) {
      if (!place.has_flag || !pairs.active(k)) continue;
      missing |= v[k].z != sequence || v[k].w != signature;
      if (v[k].z == sequence && v[k].w != signature) {
        mismatch = true;
        got = v[k].w;
      }
    }
    if (!gpu::warp_any(missing)) break;
    if (mismatch) fail(lane, Failure::kMismatch, peer, got);
    if (gpu::warp_any(mismatch || !wait.again())) return false;
  }
  wait.end();
  return true;
}

template <int kLines, bool kWhole>
TUTTI_GPU void ll128_memory_load(const LL128Pairs& pairs, const LL128Place& place,
                                 const std::byte* from, Vec16* v) {
  TUTTI_UNROLL
  for (int k = 0; k < kLines; ++k) {
    const std::byte* at = from + pairs.pair(k) * kLL128PairData + place.data_offset;
    v[k] = {0, 0, 0, 0};
    if constexpr (kWhole) {
      if (!pairs.active(k)) continue;
      if (place.has_flag) {
        const Vec8 half = gpu::load(reinterpret_cast<const Vec8*>(at));
        v[k].x = half.x;
        v[k].y = half.y;
      } else {
        v[k] = gpu::load(reinterpret_cast<const Vec16*>(at));
      }
    } else {
      const uint32_t bytes = pairs.left(k, place);
      if (bytes != 0) v[k] = memory_load(at, bytes);
    }
  }
}
template <int kLines, bool kWhole>
TUTTI_GPU void ll128_memory_store(const LL128Pairs& pairs, const LL128Place& place, std::byte* to,
                                  const Vec16* v) {
  TUTTI_UNROLL
  for (int k = 0; k < kLines; ++k) {
    std::byte* at = to + pairs.pair(k) * kLL128PairData + place.data_offset;
    if constexpr (kWhole) {
      if (!pairs.active(k)) continue;
      if (place.has_flag) {
        gpu::store(reinterpret_cast<Vec8*>(at), Vec8{v[k].x, v[k].y});
      } else {
        gpu::store(reinterpret_cast<Vec16*>(at), v[k]);
      }
    } else {
      const uint32_t bytes = pairs.left(k, place);
      if (bytes != 0) memory_store(at, v[k], bytes);
    }
  }
}
template <int kLines>
TUTTI_GPU void ll128_line_store(const LL128Pairs& pairs, const LL128Place& place, std::byte* slot,
                                uint32_t sequence, uint32_t signature, const Vec16* v) {
  TUTTI_UNROLL
  for (int k = 0; k < kLines; ++k) {
    Vec16 out = v[k];
    if (place.has_flag) {
      out.z = sequence;
      out.w = signature;
    }
    std::byte* at = slot + pairs.pair(k) * kLL128PairBytes + place.line_offset;
    gpu::store_line(reinterpret_cast<Vec16*>(at), out, pairs.active(k));
  }
}

// All lanes of the warp together.
template <int kLines, bool kWhole>
TUTTI_GPU bool ll128_source(const Lane& lane, const LL128Pairs& pairs, const LL128Place& place,
                            uint32_t i, uint32_t signature, uint32_t step, Vec16* v) {
  const LaneShared& s = lane.shared;
  if (s.source_access[i] == Access::kLL128) {
    if (!ll128_wait<kLines>(lane, pairs, place, i, signature, step, v)) return false;
    TUTTI_UNROLL
    for (int k = 0; k < kLines; ++k) {
      if (place.has_flag) v[k].z = v[k].w = 0;
    }
    return true;
  }
  ll128_memory_load<kLines, kWhole>(pairs, place, s.move.sources[i], v);
  return true;
}

template <DType kType, bool kWhole>
TUTTI_GPU bool ll128_pairs(const Lane& lane, const LL128Pairs& pairs, const LL128Place& place,
                           uint32_t signature, uint32_t step) {
  constexpr int kLines = kLinesOf<kType>;
  const LaneShared& s = lane.shared;
  const gpu::Reduction r = reduction_of(lane);
  const bool copy = s.move.n_sources == 0 || gpu::is_copy(s.move, r);
  Vec16 v[kLines] = {};
  gpu::Block<kType> folded[kLines];
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < s.move.n_sources; ++i) {
    if (!ll128_source<kLines, kWhole>(lane, pairs, place, i, signature, step, v)) return false;
    TUTTI_UNROLL
    for (int k = 0; k < kLines && !copy; ++k) {
      gpu::merge_any(folded[k], v[k], i, s.move, r);
    }
  }
  TUTTI_UNROLL
  for (int k = 0; k < kLines && !copy; ++k) v[k] = gpu::result_any(folded[k], s.move, r);
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < s.move.n_sinks; ++i) {
    if (s.sink_access[i] == Access::kLL128) {
      ll128_line_store<kLines>(pairs, place, s.move.sinks[i], s.sink_flag[i], signature, v);
    } else {
      ll128_memory_store<kLines, kWhole>(pairs, place, s.move.sinks[i], v);
    }
  }
  return true;
}

// True when every operand in memory is 16-byte aligned.
TUTTI_GPU bool memory_is_aligned(const LaneShared& s) {
  uint64_t bits = 0;
  for (uint32_t i = 0; i < s.move.n_sources; ++i) bits |= gpu::address_of(s.move.sources[i]);
  for (uint32_t i = 0; i < s.move.n_sinks; ++i) bits |= gpu::address_of(s.move.sinks[i]);
  return bits % kUnitBytes == 0;  // slots are, messages in lines are not
}

template <DType kType>
TUTTI_GPU void ll128_move(const Lane& lane, uint32_t signature, uint32_t step) {
  const LaneShared& s = lane.shared;
  const uint64_t bytes = s.move.bytes;
  const uint64_t whole = memory_is_aligned(s) ? bytes / kLL128PairData : 0;
  const uint64_t all = bytes == 0 ? 1 : (bytes + kLL128PairData - 1) / kLL128PairData;
  constexpr uint32_t kPairs = LL128Pairs::kApart * kLinesOf<kType>;  // of a warp at a time
  const uint32_t warps = lane.team().count / gpu::kWarpThreads;
  const LL128Place place(gpu::lane_id() % 16);
  const uint32_t pair_in_warp = gpu::lane_id() / 16;
  uint64_t first = uint64_t{lane.team().rank / gpu::kWarpThreads} * kPairs;
  bool going = true;
  TUTTI_NO_UNROLL
  for (; going && first + kPairs <= whole; first += uint64_t{warps} * kPairs) {
    TUTTI_PROOF_LOOP("ll128", 0, kLinesOf<kType>);
    going =
        ll128_pairs<kType, true>(lane, {first + pair_in_warp, all, bytes}, place, signature, step);
  }
  TUTTI_NO_UNROLL
  for (; going && first < all; first += uint64_t{warps} * kPairs) {
    TUTTI_PROOF_LOOP("edge", 0, 0);
    going =
        ll128_pairs<kType, false>(lane, {first + pair_in_warp, all, bytes}, place, signature, step);
  }
}
TUTTI_GPU void ll128_clean(const Lane& lane, std::byte* slot, uint32_t sequence, uint32_t signature,
                           uint32_t slot_bytes) {
  const uint64_t bytes = lane.shared.move.bytes;
  const uint64_t used = bytes == 0 ? 1 : (bytes + kLL128PairData - 1) / kLL128PairData;
  const uint64_t n = slot_bytes / kLL128PairBytes;
  constexpr uint32_t kPairs = LL128Pairs::kApart;
  const uint32_t warps = lane.team().count / gpu::kWarpThreads;
  const LL128Place place(gpu::lane_id() % 16);
  const Vec16 zero[1] = {};
  for (uint64_t first = used + uint64_t{lane.team().rank / gpu::kWarpThreads} * kPairs; first < n;
       first += uint64_t{warps} * kPairs) {
    ll128_line_store<1>({first + gpu::lane_id() / 16, n, bytes}, place, slot, sequence, signature,
                        zero);
  }
}

}  // namespace tutti::exec
