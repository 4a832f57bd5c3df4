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

// Whole lines, `to` aligned to a line. `by_pages`: four pages advance together. A hardware
// prefetcher stops at the end of a page, so four of its streams hide each other's restarts (18 ->
// 24 GB/s from DRAM on Sapphire Rapids); where cores combine few lines at a time it breaks them up
// (15 -> 7 GB/s on Zen 3).
void stream_lines(const uint8_t* from, uint8_t* to, size_t bytes, bool by_pages) {
  size_t at = 0;
  for (; by_pages && bytes - at >= kPages * kPageBytes; at += kPages * kPageBytes) {
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

void copy_streaming(const uint8_t* from, uint8_t* to, size_t bytes, bool by_pages) {
  const size_t head = std::min(bytes, (0 - reinterpret_cast<uintptr_t>(to)) % kLineBytes);
  memcpy(to, from, head);
  const size_t lines = (bytes - head) / kLineBytes * kLineBytes;
  stream_lines(from + head, to + head, lines, by_pages);
  memcpy(to + head + lines, from + head + lines, bytes - head - lines);
  hwy::FlushStream();
}

// More than a line, both ends of the same alignment within a line: whole lines between the first
// one and the last one, which may overlap them.
void copy_aligned(const uint8_t* from, uint8_t* to, size_t bytes) {
#if HWY_TARGET == HWY_SCALAR
  memcpy(to, from, bytes);
#else
  const hn::CappedTag<uint8_t, kLineBytes> tag;
  constexpr size_t kStep = 4 * hn::MaxLanes(tag);
  const size_t head = kLineBytes - reinterpret_cast<uintptr_t>(to) % kLineBytes;
  copy_small(to, from, kLineBytes);
  size_t at = head;
  for (; bytes - at >= kStep; at += kStep) {
    const auto a = hn::Load(tag, from + at);
    const auto b = hn::Load(tag, from + at + kStep / 4);
    const auto c = hn::Load(tag, from + at + kStep / 2);
    const auto d = hn::Load(tag, from + at + kStep / 4 * 3);
    hn::Store(a, tag, to + at);
    hn::Store(b, tag, to + at + kStep / 4);
    hn::Store(c, tag, to + at + kStep / 2);
    hn::Store(d, tag, to + at + kStep / 4 * 3);
  }
  for (; bytes - at > kLineBytes; at += kLineBytes) copy_small(to + at, from + at, kLineBytes);
  copy_small(to + at, from + at, bytes - at);
#endif
}

// Whole steps to two sinks, each line read once; returns the bytes done. A streaming sink is
// aligned to a line.
size_t copy_to_two(const uint8_t* from, uint8_t* const* to, const bool* streaming, size_t bytes) {
  const hn::CappedTag<uint8_t, kLineBytes> tag;
  constexpr size_t kLanes = hn::MaxLanes(tag);
  constexpr size_t kStep = 4 * kLanes;
  size_t at = 0;
  for (; bytes - at >= kStep; at += kStep) {
    hn::Vec<decltype(tag)> words[4];
    for (size_t i = 0; i < 4; ++i) words[i] = hn::LoadU(tag, from + at + i * kLanes);
    for (size_t sink = 0; sink < 2; ++sink) {
      uint8_t* const line = to[sink] + at;
      if (streaming[sink]) {
        for (size_t i = 0; i < 4; ++i) hn::Stream(words[i], tag, line + i * kLanes);
      } else {
        for (size_t i = 0; i < 4; ++i) hn::StoreU(words[i], tag, line + i * kLanes);
      }
    }
  }
  hwy::FlushStream();
  return at;
}

}  // namespace tutti::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::kernels {
namespace {

HWY_EXPORT(copy_streaming);
HWY_EXPORT(copy_aligned);
HWY_EXPORT(copy_to_two);

// Where source and sink fit in the nearer caches, or come from those of another core, full vectors
// beat the C library's string instruction (by up to 1.7 in the first level of Zen 5, by 1.2 through
// a slot of Zen 3); elsewhere it is as fast or faster.
constexpr size_t kAlignedMinBytes = 2048;
constexpr size_t kAlignedMaxBytes = 65536;

bool lie_alike(const void* sink, const void* source) noexcept {
  return (reinterpret_cast<uintptr_t>(sink) - reinterpret_cast<uintptr_t>(source)) % 64 == 0;
}

bool streams_by_pages() noexcept {
#if defined(__x86_64__)
  static const bool intel = __builtin_cpu_is("intel") != 0;
  return intel;
#else
  return false;
#endif
}

// Below this a non-temporal copy costs more than it saves: heads, tails and the final fence.
constexpr size_t kStreamingMinBytes = 4096;
// With several sinks the source is read piece by piece, each piece small enough to stay in the
// first-level cache.
constexpr size_t kPieceBytes = 16384;

}  // namespace

HWY_NOINLINE void copy_large(void* sink, const void* source, size_t bytes,
                             bool streaming) noexcept {
  auto* to = static_cast<uint8_t*>(sink);
  const auto* from = static_cast<const uint8_t*>(source);
  if (bytes <= 2 * kSmallCopyBytes) return copy_two_words<Line>(to, from, bytes);
  if (streaming && bytes >= kStreamingMinBytes) {
    HWY_DYNAMIC_DISPATCH(copy_streaming)(from, to, bytes, streams_by_pages());
  } else if (bytes >= kAlignedMinBytes && bytes <= kAlignedMaxBytes && lie_alike(sink, source)) {
    HWY_DYNAMIC_DISPATCH(copy_aligned)(from, to, bytes);
  } else {
    memcpy(to, from, bytes);
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

// Brings the first sink that wants to stream to a line, and streams to those that are at one then.
HWY_NOINLINE void copy_to_pair(const ReduceCopy& call, size_t bytes) noexcept {
  const auto* from = static_cast<const uint8_t*>(call.sources[0].data);
  uint8_t* to[2] = {static_cast<uint8_t*>(call.sinks[0].data),
                    static_cast<uint8_t*>(call.sinks[1].data)};
  const size_t leader = call.sinks[0].streaming ? 0 : 1;
  const size_t head =
      std::min(bytes, (0 - reinterpret_cast<uintptr_t>(to[leader])) % kSmallCopyBytes);
  bool streaming[2];
  for (size_t i = 0; i < 2; ++i) {
    copy_bytes(to[i], from, head, false);
    to[i] += head;
    streaming[i] =
        call.sinks[i].streaming && reinterpret_cast<uintptr_t>(to[i]) % kSmallCopyBytes == 0;
  }
  from += head;
  const size_t rest = bytes - head;
  const size_t done = HWY_DYNAMIC_DISPATCH(copy_to_two)(from, to, streaming, rest);
  for (uint8_t* sink : to) copy_bytes(sink + done, from + done, rest - done, false);
}

bool is_in_place(const ReduceCopy& call) noexcept {
  return std::any_of(call.sinks, call.sinks + call.n_sinks,
                     [&](const Sink& sink) { return sink.data == call.sources[0].data; });
}

}  // namespace

void copy_to_sinks(const ReduceCopy& call, size_t bytes) noexcept {
  if (call.n_sinks == 2 && bytes >= kAlignedMinBytes && !is_in_place(call)) {
    return copy_to_pair(call, bytes);
  }
  if (call.n_sinks != 1) return copy_to_many(call, bytes);
  copy_bytes(call.sinks[0].data, call.sources[0].data, bytes, call.sinks[0].streaming);
}

}  // namespace tutti::kernels
#endif  // HWY_ONCE
