// SPDX-License-Identifier: Apache-2.0
#include "src/kernels/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "perf/kernels/stream.cc"
#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

#include "perf/kernels/stream.h"

HWY_BEFORE_NAMESPACE();
namespace tutti::perf::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One step reads kUnroll vectors of every source, then writes them.
inline constexpr size_t kUnroll = 4;
inline constexpr size_t kAheadBytes = 2048;

template <size_t kSources, size_t kSinks, bool kStreaming, bool kPrefetch>
void loop(const Streams& streams) {
  const hn::CappedTag<uint8_t, 64> tag;
  constexpr size_t kLanes = hn::MaxLanes(tag);
  for (size_t at = 0; at != streams.bytes; at += kUnroll * kLanes) {
    hn::Vec<decltype(tag)> words[kUnroll];
    for (size_t i = 0; i < kSources; ++i) {
      const uint8_t* from = streams.sources[i] + at;
      if constexpr (kPrefetch) {
        for (size_t line = 0; line < kUnroll * kLanes; line += 64)
          hwy::Prefetch(from + kAheadBytes + line);
      }
      for (size_t u = 0; u < kUnroll; ++u) {
        const auto loaded = hn::LoadU(tag, from + u * kLanes);
        words[u] = i == 0 ? loaded : hn::Xor(words[u], loaded);
      }
    }
    for (size_t i = 0; i < kSinks; ++i) {
      for (size_t u = 0; u < kUnroll; ++u) {
        uint8_t* to = streams.sinks[i] + at + u * kLanes;
        if constexpr (kStreaming) {
          hn::Stream(words[u], tag, to);
        } else {
          hn::Store(words[u], tag, to);
        }
      }
    }
  }
  if constexpr (kStreaming) hwy::FlushStream();
}

template <size_t kSources, size_t kSinks>
void any_loop(const Streams& streams, bool prefetch) {
  if (streams.streaming) {
    prefetch ? loop<kSources, kSinks, true, true>(streams)
             : loop<kSources, kSinks, true, false>(streams);
  } else {
    prefetch ? loop<kSources, kSinks, false, true>(streams)
             : loop<kSources, kSinks, false, false>(streams);
  }
}

void run_stream(const Streams& streams, bool prefetch) {
  if (streams.n_sources == 8) return any_loop<8, 1>(streams, prefetch);
  if (streams.n_sources == 4) return any_loop<4, 1>(streams, prefetch);
  if (streams.n_sources == 2) return any_loop<2, 1>(streams, prefetch);
  if (streams.n_sinks == 2) return any_loop<1, 2>(streams, prefetch);
  any_loop<1, 1>(streams, prefetch);
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
#if HWY_TARGET == HWY_AVX3
#define TUTTI_FULL "%%zmm"
#define TUTTI_HALF "%%ymm"
#else
#define TUTTI_FULL "%%ymm"
#define TUTTI_HALF "%%xmm"
#endif
#define TUTTI_ADD(i) "vpaddd " TUTTI_FULL #i "," TUTTI_FULL #i "," TUTTI_FULL #i "\n"
#define TUTTI_DIVPS(i) "vdivps " TUTTI_FULL #i "," TUTTI_FULL #i "," TUTTI_FULL #i "\n"
#define TUTTI_DIVPD(i) "vdivpd " TUTTI_FULL #i "," TUTTI_FULL #i "," TUTTI_FULL #i "\n"
#define TUTTI_CONVERT(i)                       \
  "vcvtph2ps " TUTTI_HALF #i "," TUTTI_FULL #i \
  "\n"                                         \
  "vcvtps2ph $0," TUTTI_FULL #i "," TUTTI_HALF #i "\n"
#define TUTTI_EIGHT(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define TUTTI_PROBE(body)                                                                    \
  asm volatile(body ::                                                                       \
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                     "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
bool probe(Probe kind, size_t count) {
  for (size_t done = 0; done < count; done += 16) {
    switch (kind) {
      case Probe::kAdd:
        TUTTI_PROBE(TUTTI_EIGHT(TUTTI_ADD) TUTTI_EIGHT(TUTTI_ADD));
        break;
      case Probe::kConvert:
        TUTTI_PROBE(TUTTI_EIGHT(TUTTI_CONVERT));
        break;
      case Probe::kDivideFloat:
        TUTTI_PROBE(TUTTI_EIGHT(TUTTI_DIVPS) TUTTI_EIGHT(TUTTI_DIVPS));
        break;
      case Probe::kDivideDouble:
        TUTTI_PROBE(TUTTI_EIGHT(TUTTI_DIVPD) TUTTI_EIGHT(TUTTI_DIVPD));
        break;
    }
  }
  return true;
}
#else
bool probe(Probe, size_t) { return false; }
#endif

}  // namespace tutti::perf::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tutti::perf {

HWY_EXPORT(run_stream);
HWY_EXPORT(probe);

void stream(const Streams& streams, StreamLoop loop) {
  HWY_DYNAMIC_DISPATCH(run_stream)(streams, loop == StreamLoop::kPrefetching);
}

bool run_probe(Probe kind, size_t count) { return HWY_DYNAMIC_DISPATCH(probe)(kind, count); }

void run_chain(size_t count) {
  size_t value = 0;
  for (size_t done = 0; done < count; done += 8) {
    for (int i = 0; i < 8; ++i) {
      value += done;
      asm volatile("" : "+r"(value));
    }
  }
}

}  // namespace tutti::perf
#endif  // HWY_ONCE
