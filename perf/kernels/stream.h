// SPDX-License-Identifier: Apache-2.0
// What memory allows: plain vector loops that read as many streams and write as many as a kernel
// does, with the same kind of stores, and do one bitwise operation per vector read. And what the
// core allows: how many vector instructions it starts per cycle.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::perf {

inline constexpr size_t kMostSources = 8;
inline constexpr size_t kMostSinks = 2;

struct Streams {
  const uint8_t* sources[kMostSources] = {};
  size_t n_sources = 0;             // 1, 2, 4 or 8
  uint8_t* sinks[kMostSinks] = {};  // aligned to 64 bytes
  size_t n_sinks = 0;               // 1; or 2 with one source
  size_t bytes = 0;                 // per buffer, a multiple of 256
  bool streaming = false;           // non-temporal stores
};

// The loop as one writes it, and the same with explicit prefetch: which of them is faster differs
// by machine and size.
enum class StreamLoop : uint8_t { kPlain, kPrefetching };
inline constexpr int kStreamLoops = 2;
void stream(const Streams& streams, StreamLoop loop);

// Each runs `count` instructions of full vectors, none of which waits for another but the one 16
// before. False where there is no such measurement.
enum class Probe : uint8_t { kAdd, kConvert, kDivideFloat, kDivideDouble };
inline constexpr int kProbes = 4;
bool run_probe(Probe probe, size_t count);

// `count` additions that wait for each other: that many cycles.
void run_chain(size_t count);

}  // namespace tutti::perf
