// SPDX-License-Identifier: Apache-2.0
// Plain copies: memcpy, or non-temporal stores where the caller says that the data will not be read
// soon.
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/kernels/copy.cc"
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "src/kernels/copy.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kPages = 4;
inline constexpr size_t kLineBytes = 64;

// One line, `to` aligned to it.
HWY_INLINE void stream_line(const uint8_t* from, uint8_t* to) {
  const hn::CappedTag<uint8_t, kLineBytes> tag;
  constexpr size_t kLanes = hn::MaxLanes(tag);
  for (size_t i = 0; i < kLineBytes; i += kLanes) hn::Stream(hn::LoadU(tag, from + i), tag, to + i);
}

// Whole lines, `to` aligned to a line. Four pages advance together: a hardware prefetcher stops at
// the end of a page, so four of its streams hide each other's restarts (18 -> 24 GB/s from DRAM on
// Sapphire Rapids).
void stream_lines(const uint8_t* from, uint8_t* to, size_t bytes) {
  size_t at = 0;
  for (; bytes - at >= kPages * kPageBytes; at += kPages * kPageBytes) {
    for (size_t line = 0; line < kPageBytes; line += 2 * kLineBytes) {
      for (size_t page = 0; page < kPages; ++page) {
        const size_t offset = at + page * kPageBytes + line;
        stream_line(from + offset, to + offset);
        stream_line(from + offset + kLineBytes, to + offset + kLineBytes);
      }
    }
  }
  for (; at != bytes; at += kLineBytes) stream_line(from + at, to + at);
}

void copy_streaming(const uint8_t* from, uint8_t* to, size_t bytes) {
  const size_t head = std::min(bytes, (0 - reinterpret_cast<uintptr_t>(to)) % kLineBytes);
  memcpy(to, from, head);
  const size_t lines = (bytes - head) / kLineBytes * kLineBytes;
  stream_lines(from + head, to + head, lines);
  memcpy(to + head + lines, from + head + lines, bytes - head - lines);
  hwy::FlushStream();
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
namespace {

HWY_EXPORT(copy_streaming);

// Below this a non-temporal copy costs more than it saves: heads, tails and the final fence.
constexpr size_t kStreamingMinBytes = 4096;
// With several sinks the source is read piece by piece, each piece small enough to stay in the
// first-level cache.
constexpr size_t kPieceBytes = 16384;

}  // namespace

HWY_NOINLINE void copy_large(void* sink, const void* source, size_t bytes,
                             bool streaming) noexcept {
  if (streaming && bytes >= kStreamingMinBytes) {
    HWY_DYNAMIC_DISPATCH(copy_streaming)
    (static_cast<const uint8_t*>(source), static_cast<uint8_t*>(sink), bytes);
  } else {
    memcpy(sink, source, bytes);
  }
}

namespace {

HWY_NOINLINE void copy_to_many(const ReduceCopy& call, size_t bytes) noexcept {
  const auto* source = static_cast<const uint8_t*>(call.sources[0].data);
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    for (size_t i = 0; i < call.n_sinks; ++i) {
      copy_bytes(static_cast<uint8_t*>(call.sinks[i].data) + at, source + at,
                 std::min(kPieceBytes, bytes - at), call.sinks[i].streaming);
    }
  }
}

}  // namespace

void copy_to_sinks(const ReduceCopy& call, size_t bytes) noexcept {
  if (call.n_sinks != 1) return copy_to_many(call, bytes);
  copy_bytes(call.sinks[0].data, call.sources[0].data, bytes, call.sinks[0].streaming);
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
