// SPDX-License-Identifier: Apache-2.0
// Layout of a flight recording: what one rank of one communicator has done last, in memory that
// outlives the process or that other processes look into.
//
//   offset
//   0       Header            who wrote it, clocks, how the communicator ended
//   3072    CallCounters calls[kCallKinds]  how often what was called
//   4096    names             kNames texts of kNameBytes; texts of calls and algorithms, by number
//   12288   Record queue[kQueueEntries]   calls that wait for their turn (many writers)
//   16384   Record ring[entries]          the last `entries` operations (one writer)
//           PeerTraffic peers[n_ranks]    counters by peer
//
// One record is one cache line of eight words:
//
//   0  version   {sequence + 1 : 56 | outcome : 5 | state : 3}; 0: never written. Lies at index
//                (sequence + 1) % entries. Outcome of kDone: 0, or 1 + the most direct kind of
//                message that it sent; of kFailed: the result code
//   1  issued    ticks when the user called; 0: the same as begun
//   2  begun     ticks when it got its turn
//   3  ended     ticks; valid when done or failed
//   4  count     elements of a block; of all blocks together when uneven; bytes of a group of sends
//   5  facts     {number : 40 | kind : 8 | dtype : 8 | op : 8}; number: of the collective, or how
//                many were before
//   6  ranks     {waiting_for : 32 | root or peer : 32}, -1: none
//   7  details   {transfers : 24 | flags : 8 | name : 8 | algorithm : 8 | unused : 16}
//
// How a reader tells a whole record from a torn one. The writer stores the version with state
// kWriting, then the other words and the version with its state, each with release order. The
// reader loads the version and the other words, each with acquire order, and the version again: a
// word that is new brings the new version with it, so both equal and not kWriting means that words
// 1 to 7 did not change in between, since a sequence never comes back. A writer that is killed
// half-way leaves kWriting behind. While a record is connecting or running, two words may still
// change: `ended`, which nobody reads before the version (stored after it, with release order) says
// done or failed; and `ranks`, whose upper half follows whom it waits for, each value being right
// for its moment.
//
// A queue entry has many possible writers; whoever changes its version from 0 to kWriting by
// compare-exchange owns it until it stores 0 again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/base/traffic.h"
#include "src/base/wait.h"
#include "src/plan/collective.h"

namespace tutti::trace {

inline constexpr uint64_t kMagic = 0x63657249'74747554;  // "TuttIrec" as bytes in memory
inline constexpr uint32_t kLayoutVersion = 2;
inline constexpr const char* kMemfdName = "tutti-recorder";
inline constexpr const char* kFilePrefix = "tutti-";
inline constexpr const char* kFileSuffix = ".ring";

enum class State : uint8_t { kWriting, kQueued, kConnecting, kRunning, kDone, kFailed };
inline constexpr int kStateCount = 6;

// Collectives have the numbers of plan::Collective.
enum class Kind : uint8_t {
  kLastCollective = plan::kCollectiveCount - 1,
  kSend = 16,
  kRecv,
  kGroup,  // several sends and receives
  kSignal,
  kPut,
  kWait,
  kSetUp,
  kFinalize,
  kMoeDispatch,
  kMoeCombine,
};
inline constexpr size_t kCallKinds = 32;
static_assert(static_cast<size_t>(Kind::kMoeCombine) < kCallKinds);
inline constexpr bool is_collective(uint8_t kind) noexcept { return kind < plan::kCollectiveCount; }

inline constexpr uint8_t kUneven = 1;        // flags: block sizes differ
inline constexpr uint8_t kCountsDiffer = 2;  // flags: ranks may rightly differ in count

inline constexpr int kWords = 8;
struct alignas(kCacheLineBytes) Record {
  std::atomic<uint64_t> words[kWords];
};
static_assert(sizeof(Record) == 64);

// Indices into Record::words.
enum Word : int { kVersion, kIssued, kBegun, kEnded, kCount, kFacts, kRanks, kDetails };

constexpr uint64_t kVersionStep = 256;  // from one sequence to the next
constexpr uint64_t make_version(uint64_t sequence, State state) noexcept {
  return (sequence + 1) * kVersionStep | static_cast<uint64_t>(state);
}
// `version` has no state yet.
constexpr uint64_t with_state(uint64_t version, State state, int outcome = 0) noexcept {
  return version + (static_cast<uint64_t>(outcome) << 3 | static_cast<uint64_t>(state));
}
constexpr size_t ring_index(uint64_t version, uint64_t entries) noexcept {
  return version / kVersionStep & (entries - 1);
}
constexpr uint64_t make_facts(uint64_t number, uint8_t kind, uint8_t dtype, uint8_t op) noexcept {
  return number << 24 | uint64_t{kind} << 16 | uint64_t{dtype} << 8 | op;
}
constexpr uint64_t make_ranks(int32_t root, int32_t waiting_for) noexcept {
  return static_cast<uint64_t>(static_cast<uint32_t>(waiting_for)) << 32 |
         static_cast<uint32_t>(root);
}

// Of one kind of call, at calls[its number]. As PeerTraffic: one writer, relaxed.
struct CallCounters {
  std::atomic<uint64_t> begun;
  std::atomic<uint64_t> bytes;  // of those begun, as bandwidth tests count them
  std::atomic<uint64_t> failed;
  uint64_t reserved;
};
static_assert(sizeof(CallCounters) == 32);

enum class CommState : uint64_t { kOpen, kFinalized, kFailed };

inline constexpr size_t kTextBytes = 64;
inline constexpr size_t kFailureBytes = 1024;

// The first part is constant once `magic` is there (stored last, with release order).
struct Header {
  std::atomic<uint64_t> magic;
  uint32_t layout_version;
  uint32_t entries;  // a power of two
  uint64_t total_bytes;
  uint64_t comm_id;
  int32_t rank;
  int32_t n_ranks;
  uint64_t host_id;      // as in ProcessIdentity
  uint64_t process_uid;  // random, once per process
  uint64_t start_ticks;  // of the process, as in /proc/PID/stat
  int32_t pid;
  uint32_t uid;
  uint64_t serial;  // of the recording in its process
  uint64_t first_ticks;
  int64_t first_mono_ns;  // of first_ticks
  int64_t opened_mono_ns;
  int64_t opened_wall_ns;  // of opened_mono_ns
  char host[kTextBytes];   // texts end with 0
  char comm_name[kTextBytes];
  char program[kTextBytes];
  char job[kTextBytes];  // TUTTI_JOB

  // Below: changed by the owner of the communicator's progress.
  alignas(kCacheLineBytes) std::atomic<uint64_t> anchor_version;  // odd: being written
  std::atomic<uint64_t> last_ticks;
  std::atomic<uint64_t> last_mono_ns;  // of last_ticks
  std::atomic<uint64_t> comm_state;    // CommState; release: after `failure`
  std::atomic<uint64_t> queue_lost;    // calls that found the queue full
  std::atomic<uint64_t> memory_bytes;  // that the communicator holds, now and then looked at
  std::atomic<uint64_t> memory_peak_bytes;
  char failure[kFailureBytes];  // valid when comm_state is kFailed
};
static_assert(offsetof(Header, layout_version) == 8 && offsetof(Header, comm_id) == 24);
static_assert(offsetof(Header, rank) == 32 && offsetof(Header, pid) == 64);
static_assert(offsetof(Header, host) == 112 && offsetof(Header, anchor_version) == 384);
static_assert(std::atomic<uint64_t>::is_always_lock_free);

inline constexpr size_t kNames = 128;  // number 0 is the empty text
inline constexpr size_t kNameBytes = 64;
inline constexpr size_t kQueueEntries = 64;
inline constexpr size_t kCallsOffset = 3072;
inline constexpr size_t kNamesOffset = 4096;
inline constexpr size_t kQueueOffset = kNamesOffset + kNames * kNameBytes;
inline constexpr size_t kRingOffset = kQueueOffset + kQueueEntries * sizeof(Record);
static_assert(sizeof(Header) <= kCallsOffset);
static_assert(kCallsOffset + kCallKinds * sizeof(CallCounters) <= kNamesOffset);
static_assert(kQueueOffset == 12288 && kRingOffset == 16384);

constexpr size_t peers_offset(uint64_t entries) noexcept {
  return kRingOffset + entries * sizeof(Record);
}
constexpr size_t total_bytes(uint64_t entries, uint64_t n_ranks) noexcept {
  return peers_offset(entries) + n_ranks * sizeof(PeerTraffic);
}
inline constexpr uint64_t kMostEntries = 1u << 20;
inline constexpr int32_t kMostRanks = 1 << 20;

}  // namespace tutti::trace
