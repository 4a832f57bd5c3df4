// SPDX-License-Identifier: Apache-2.0
// What one rank has called, in memory that its peers can read, so that whoever is stuck can say
// what the others do.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/plan/collective.h"

namespace tutti::comm {

// What all ranks of one collective must agree on.
struct CallFacts {
  uint64_t count = 0;   // elements of a block; of all blocks together when uneven
  uint64_t counts = 0;  // hash of the block counts when uneven, else 0
  uint64_t plan = 0;    // hash of the plan
  int32_t root = 0;
  plan::Collective collective = plan::Collective::kBarrier;
  DType dtype = DType::kInt8;
  Op op = Op::kSum;
  bool operator==(const CallFacts&) const = default;
};

struct SendFacts {
  uint64_t count = 0;
  DType dtype = DType::kInt8;
};

// Layout, in 8-byte words:
//   [0]                    state: 0 open, 1 closed (finalized or destroyed)
//   [8 .. 8+64*2)          calls: at n % 64 collective n: {n + 1 : 63 | ended : 1}, 0: none yet; {n
//   : 16 | version : 48} [136 .. 136+128*8)     what collectives were called with, at version %
//   128:
//                          {version, count, counts, plan, root:32|collective:8|dtype:8|op:8,
//                          unused, unused, version}
//   [1160 .. 1160+32*2)    sends: {ordinal + 1 : 32 | peer : 24 | dtype : 8}, count
// All words are atomic: release stores by the owner pair with acquire loads by the readers. A
// description is overwritten last version first and read first version first, so equal versions
// mean that nothing changed in between. A call's second word is written first, and repeats the
// number.
class Journal {
 public:
  static constexpr size_t kCalls = 64;   // a power of two
  static constexpr size_t kSlots = 128;  // a power of two
  static constexpr size_t kSends = 32;   // a power of two
  static constexpr uint64_t kVersionMask = (uint64_t{1} << 48) - 1;
  static constexpr size_t kSlotWords = 8;
  static constexpr size_t kFirstCall = 8;
  static constexpr size_t kFirstSlot = kFirstCall + kCalls * 2;
  static constexpr size_t kFirstSend = kFirstSlot + kSlots * kSlotWords;
  static constexpr size_t kWords = kFirstSend + kSends * 2;

  explicit Journal(uint64_t* words) noexcept : words_(words) {}  // zeroed; owned by the caller

  // Writes the facts and returns their version, for begin().
  uint64_t describe(const CallFacts& facts) noexcept;
  // False when the description would be overwritten while a call that begins now is still on
  // record: then describe anew.
  bool lasts(uint64_t version) const noexcept { return version_ - version < kSlots - kCalls; }
  // On the path of every collective.
  void begin(uint64_t number, uint64_t version) noexcept {
    uint64_t* const call = call_words(number);
    put(call[1], number << 48 | version);
    put(call[0], (number + 1) << 1);
  }
  // begin() and end() in one.
  void note(uint64_t number, uint64_t version) noexcept {
    uint64_t* const call = call_words(number);
    put(call[1], number << 48 | version);
    put(call[0], (number + 1) << 1 | 1);
  }
  void end(uint64_t number) noexcept { put(call_words(number)[0], (number + 1) << 1 | 1); }
  // The `ordinal`-th send to the peer (from 0).
  void note_send(uint32_t ordinal, int peer, const SendFacts& facts) noexcept;
  void close() noexcept { store(0, 1); }

 private:
  uint64_t* call_words(uint64_t number) const noexcept {
    return words_ + (number & (kCalls - 1)) * 2 + kFirstCall;
  }
  static void put(uint64_t& word, uint64_t value) noexcept {
    // release: pairs with the acquire loads of RemoteRegion::read()
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  void store(size_t word, uint64_t value) noexcept { put(words_[word], value); }
  uint64_t* words_;
  uint64_t version_ = 0;
  uint64_t sends_ = 0;
};

// A copy of a rank's journal.
class JournalCopy {
 public:
  std::span<uint64_t> words() noexcept { return words_; }
  bool closed() const noexcept { return words_[0] != 0; }
  // The last collective that the rank has begun; nullopt when none.
  struct Last {
    uint64_t number = 0;
    bool ended = false;
  };
  std::optional<Last> last() const noexcept;
  bool begun(uint64_t number) const noexcept {
    return last().has_value() && last()->number >= number;
  }
  // What the rank called as its collective `number`; nullopt when it has not, or it is too long
  // ago, or it was being written.
  std::optional<CallFacts> facts(uint64_t number) const noexcept;
  std::optional<SendFacts> send(int peer, uint32_t ordinal) const noexcept;

 private:
  std::array<uint64_t, Journal::kWords> words_{};
};

}  // namespace tutti::comm
