// SPDX-License-Identifier: Apache-2.0
// Counters of what one rank exchanges with one peer; they may lie in memory that other processes
// read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/wait.h"

namespace tutti {

inline constexpr int kProtocols = 4;  // inline, staged, mapped, pulled: as transport::MessageKind

// One writer, the owner of the communicator's progress, but of `waits` and `waited_ns`, which are
// added to by exchanges; every word relaxed: a statistic of its own.
struct alignas(kCacheLineBytes) PeerTraffic {
  // Side by side, so that what a small message counts, in both directions, is on one line.
  struct Protocol {
    std::atomic<uint64_t> sent_messages;
    std::atomic<uint64_t> sent_bytes;
    std::atomic<uint64_t> received_messages;
    std::atomic<uint64_t> received_bytes;
  };
  std::array<Protocol, kProtocols> protocols;
  std::atomic<uint64_t> retries;    // messages that found no free line or slot at first
  std::atomic<uint64_t> fallbacks;  // large messages that were copied: no reference was possible
  std::atomic<uint64_t> waits;      // silences of at least a millisecond
  std::atomic<uint64_t> waited_ns;  // their length
  std::atomic<uint64_t> transport;  // number of its name; 0: no connection yet
  uint64_t reserved[3];
};
static_assert(sizeof(PeerTraffic) == 192 && sizeof(PeerTraffic::Protocol) == 32);
static_assert(offsetof(PeerTraffic, retries) == 128 && offsetof(PeerTraffic, transport) == 160);

// By the one writer, who alone may change it. One instruction where compilers make three of it:
// they never fuse what is atomic. An aligned word is loaded and stored as a whole, which is all
// that relaxed asks for.
inline void add(std::atomic<uint64_t>& counter, uint64_t amount) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  asm("addq %1, %0" : "+m"(reinterpret_cast<uint64_t&>(counter)) : "er"(amount) : "cc");
#else
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
#endif
}

}  // namespace tutti
