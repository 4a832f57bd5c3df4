// SPDX-License-Identifier: Apache-2.0
#include "perf/compare/ranks/limit_loops.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tutti::compare {
namespace {

// Outputs from here on do not stay in any cache anyway.
constexpr size_t kStreamingBytes = 4U << 20;

void wait_for(const Line& line, uint64_t value) {
  while (line.flag.load(std::memory_order_acquire) < value) {  // pairs with post
  }
}

void post(Line& line, uint64_t value) {
  line.flag.store(value, std::memory_order_release);  // pairs with wait_for
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void copy_avx2(std::byte* to, const std::byte* from, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i), a);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i + 32), b);
  }
  _mm_sfence();
}

__attribute__((target("avx2"))) void add_avx2(float* to, float* also, const float* a,
                                              const float* b, size_t elems) {
  for (size_t i = 0; i < elems; i += 16) {
    const __m256 x = _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
    const __m256 y = _mm256_add_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
    _mm256_stream_ps(to + i, x);
    _mm256_stream_ps(to + i + 8, y);
    if (also != nullptr) {
      _mm256_storeu_ps(also + i, x);
      _mm256_storeu_ps(also + i + 8, y);
    }
  }
  _mm_sfence();
}

bool can_stream(const void* to, size_t bytes) {
  static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  return avx2 && bytes % 64 == 0 && reinterpret_cast<uintptr_t>(to) % 32 == 0;
}
#else
void copy_avx2(std::byte* to, const std::byte* from, size_t bytes) { std::memcpy(to, from, bytes); }
void add_avx2(float*, float*, const float*, const float*, size_t) {}
bool can_stream(const void*, size_t) { return false; }
#endif

// to = also = a + b; `also` may be nullptr.
void add(float* to, float* also, const float* a, const float* b, size_t elems, bool streaming) {
  if (streaming && can_stream(to, elems * sizeof(float))) {
    add_avx2(to, also, a, b, elems);
    return;
  }
  if (also == nullptr) {
    for (size_t i = 0; i < elems; ++i) {
      to[i] = a[i] + b[i];
    }
    return;
  }
  for (size_t i = 0; i < elems; ++i) {
    to[i] = also[i] = a[i] + b[i];
  }
}

void copy(void* to, const void* from, size_t bytes, bool streaming) {
  if (streaming && can_stream(to, bytes)) {
    copy_streaming(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), bytes);
  } else {
    std::memcpy(to, from, bytes);
  }
}

void all_reduce_one_shot(LimitRank& me, const float* in, float* out, size_t elems) {
  const uint64_t call = ++me.calls;
  const size_t bytes = elems * sizeof(float);
  const bool in_line = bytes <= kLinePayloadBytes;
  // Writing what was written two calls ago: the other has posted its last call since it read that.
  std::byte* const slot = in_line ? me.mine->line[call % 2].payload : me.mine->inputs[call % 2];
  const std::byte* const theirs =
      in_line ? me.theirs->line[call % 2].payload : me.theirs->inputs[call % 2];
  std::memcpy(slot, in, bytes);
  post(me.mine->line[call % 2], call);
  wait_for(me.theirs->line[call % 2], call);
  add(out, nullptr, in, reinterpret_cast<const float*>(theirs), elems, false);
}

// One chunk of the two-shot loop: this rank reduces its own half and gets the other.
struct Chunk {
  size_t own_first = 0, own_elems = 0;
  size_t other_first = 0, other_elems = 0;
};

Chunk chunk_at(size_t index, size_t elems, int rank) {
  const size_t slot_elems = kSlotBytes / sizeof(float);
  const size_t first = index * 2 * slot_elems;
  const size_t total = std::min(2 * slot_elems, elems - first);
  const size_t low = total / 2 / 16 * 16;  // the cut is at a cache line
  const Chunk zero{first, low, first + low, total - low};
  const Chunk one{first + low, total - low, first, low};
  return rank == 0 ? zero : one;
}

// Slots are free again without acknowledgement: step s copies s+1, reduces s and takes s-1, so that
// the other's result s-2, which was waited for before, says that it is through with slot s-4.
void all_reduce_two_shot(LimitRank& me, const float* in, float* out, size_t elems) {
  const size_t chunks = (elems * sizeof(float) + 2 * kSlotBytes - 1) / (2 * kSlotBytes);
  const bool streaming = elems * sizeof(float) >= kStreamingBytes;
  const uint64_t base = me.messages;
  const auto expose = [&](size_t i) {
    const Chunk c = chunk_at(i, elems, me.rank);
    std::memcpy(me.mine->inputs[(base + i) % kSlots], in + c.other_first,
                c.other_elems * sizeof(float));
    post(me.mine->copied, base + i + 1);
  };
  const auto reduce = [&](size_t i) {
    const Chunk c = chunk_at(i, elems, me.rank);
    wait_for(me.theirs->copied, base + i + 1);
    add(out + c.own_first, reinterpret_cast<float*>(me.mine->results[(base + i) % kSlots]),
        in + c.own_first, reinterpret_cast<const float*>(me.theirs->inputs[(base + i) % kSlots]),
        c.own_elems, streaming);
    post(me.mine->reduced, base + i + 1);
  };
  const auto take = [&](size_t i) {
    const Chunk c = chunk_at(i, elems, me.rank);
    wait_for(me.theirs->reduced, base + i + 1);
    copy(out + c.other_first, me.theirs->results[(base + i) % kSlots],
         c.other_elems * sizeof(float), streaming);
  };
  expose(0);
  for (size_t i = 0; i < chunks; ++i) {
    if (i + 1 < chunks) {
      expose(i + 1);
    }
    reduce(i);
    if (i > 0) {
      take(i - 1);
    }
  }
  take(chunks - 1);
  me.messages += chunks;
}

}  // namespace

void copy_streaming(std::byte* to, const std::byte* from, size_t bytes) {
  const size_t whole = can_stream(to, bytes / 64 * 64) ? bytes / 64 * 64 : 0;
  copy_avx2(to, from, whole);
  std::memcpy(to + whole, from + whole, bytes - whole);
}

void limit_barrier(LimitRank& me) {
  post(me.mine->barrier, ++me.barriers);
  wait_for(me.theirs->barrier, me.barriers);
}

void line_round_trip(LimitRank& me) {
  const uint64_t call = ++me.calls;
  if (me.rank == 1) {
    wait_for(me.theirs->line[0], call);
  }
  post(me.mine->line[0], call);
  if (me.rank == 0) {
    wait_for(me.theirs->line[0], call);
  }
}

void payload_round_trip(LimitRank& me, const std::byte* in, std::byte* out, size_t bytes) {
  const uint64_t call = ++me.calls;
  const auto receive = [&] {
    wait_for(me.theirs->line[0], call);
    std::memcpy(out, me.theirs->line[0].payload, bytes);
  };
  if (me.rank == 1) {
    receive();
  }
  std::memcpy(me.mine->line[0].payload, in, bytes);
  post(me.mine->line[0], call);
  if (me.rank == 0) {
    receive();
  }
}

void all_reduce_private(LimitRank& me, const float* in, float* out, size_t elems) {
  if (elems * sizeof(float) <= kSlotBytes / 2) {
    all_reduce_one_shot(me, in, out, elems);
  } else {
    all_reduce_two_shot(me, in, out, elems);
  }
}

void all_reduce_shared(LimitRank& me, const MappedBuffers& buffers, size_t elems) {
  const size_t low = elems / 2 / 16 * 16;
  const size_t first = me.rank == 0 ? 0 : low;
  const size_t count = me.rank == 0 ? low : elems - low;
  const bool streaming = elems * sizeof(float) >= kStreamingBytes;
  limit_barrier(me);
  if (!streaming) {
    add(buffers.out + first, buffers.their_out + first, buffers.in + first,
        buffers.their_in + first, count, false);
  } else {
    constexpr size_t kPiece = 4096;  // elements: the copy finds the sums in the nearest cache
    for (size_t done = 0; done < count; done += kPiece) {
      const size_t at = first + done;
      const size_t n = std::min(kPiece, count - done);
      alignas(64) float sums[kPiece];
      add(buffers.out + at, sums, buffers.in + at, buffers.their_in + at, n, true);
      copy(buffers.their_out + at, sums, n * sizeof(float), true);
    }
  }
  limit_barrier(me);
}

}  // namespace tutti::compare
