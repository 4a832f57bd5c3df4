// SPDX-License-Identifier: Apache-2.0
// Writes the flight recording of one rank of one communicator: always on, so begin() and end() are
// a few stores each.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/file.h"
#include "src/base/memory_budget.h"
#include "src/base/ticks.h"
#include "src/trace/counters.h"
#include "src/trace/record.h"

namespace tutti::trace {

// What a call is, as far as the recording is concerned.
struct Call {
  const char* name = "";
  uint8_t kind = 0;
  uint8_t dtype = 0;
  uint8_t op = 0;
  uint8_t flags = 0;
  int32_t root = -1;  // or peer
  uint32_t transfers = 0;
  uint64_t count = 0;
};

struct RecorderOptions {
  uint64_t comm_id = 0;
  int rank = 0;
  int n_ranks = 1;
  std::string comm_name;
  std::string folder;        // empty: memory only
  std::string metrics_file;  // see write_metrics_file(); empty: none
  std::string job;
  uint32_t entries = 1024;
  MemoryBudget* budget = nullptr;  // outlives the recorder
};

// Except where "any thread" is said, functions are called by the owner of the communicator's
// progress. Several records may be open at once. One *other thread* may follow records, each from
// some time after its begin() until it has ended, while the owner goes on with others.
class Recorder {
 public:
  // Throws SystemError when the folder can't be used or the memory cap is reached.
  explicit Recorder(const RecorderOptions& options);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Any thread: a call has to wait for its turn. Never waits; the entry is lost when the queue is
  // full.
  struct Queued {
    uint64_t issued = 0;  // 0: not queued
    int entry = -1;
  };
  Queued queue(const Call& call) noexcept;
  // Any thread: it got its turn, or never will.
  void dequeue(Queued& queued) noexcept;

  // The words of a record that depend only on what was called; kept by callers that call the same
  // again and again.
  struct Described {
    const char* name = nullptr;
    uint64_t count = 0;
    uint64_t facts = 0;  // number 0
    uint64_t ranks = 0;
    uint64_t details = 0;
    uint64_t bytes = 0;
    CallCounters* counters = nullptr;
  };
  Described describe(const Call& call, const char* algorithm) noexcept;

  // `number` of the collective; `issued` 0: now. Returns what names the record below.
  uint64_t begin(const Described& call, uint64_t number, uint64_t issued) noexcept {
    const uint64_t version = last_ += kVersionStep;
    Record& record = at(version);
    put(record, kVersion, with_state(version, State::kWriting));
    put(record, kIssued, issued);
    put(record, kBegun, read_ticks(by_counter_));
    put_description(record, call, number);
    publish(record, with_state(version, State::kRunning));
    count(call);
    if ((version & kAnchorMask) == 0) [[unlikely]]
      refresh_anchor();
    return version;
  }
  // begin() and end() in one, of a call that has not waited: it has begun and ended now.
  void note(const Described& call, uint64_t number, int protocol) noexcept {
    const uint64_t version = last_ += kVersionStep;
    Record& record = at(version);
    put(record, kVersion, with_state(version, State::kWriting));
    put(record, kIssued, 0);
    const uint64_t now = read_ticks(by_counter_);
    put(record, kBegun, now);
    put(record, kEnded, now);
    put_description(record, call, number);
    count(call);
    publish(record, with_state(version, State::kDone, protocol));
    if ((version & kAnchorMask) == 0) [[unlikely]]
      refresh_anchor();
  }
  // Complete. `protocol`: 0 none, else 1 + the most direct kind of message that it sent.
  void end(uint64_t version, int protocol) noexcept {
    Record& record = at(version);
    put(record, kEnded, read_ticks(by_counter_));
    publish(record, with_state(version, State::kDone, protocol));
  }
  // The same by the other thread. Nothing happens when the record has been overwritten meanwhile.
  void end_aside(uint64_t version, int protocol) noexcept;
  // kConnecting or kRunning.
  void change(uint64_t version, State state) noexcept {
    publish(at(version), with_state(version, state));
  }
  // Whom a running record waits for. Also keeps the clocks together, so call it now and then. This
  // and fail() by the other thread too.
  void waiting(uint64_t version, int peer) noexcept;
  void fail(uint64_t version, int waiting_for, int result) noexcept;
  // How the communicator ended; the first call counts. Any thread.
  void failed(std::string_view message) noexcept;
  void finalized() noexcept;
  // A table entry: what carries the messages of this peer.
  void set_transport(int rank, const char* name) noexcept {
    // Pairs with counters(), which then reads the name.
    peers_[rank].transport.store(number_of(name), std::memory_order_release);
  }
  // What has been counted so far. Any thread.
  Counters counters() const;
  PeerCounters counters_of(int peer) const;
  CallTotals calls_of(uint8_t kind) const noexcept;

  PeerTraffic& peer(int rank) noexcept { return peers_[rank]; }
  const PeerTraffic& peer(int rank) const noexcept { return peers_[rank]; }
  uint64_t operations() const noexcept { return last_ / kVersionStep; }
  const std::string& metrics_file() const noexcept { return metrics_file_; }
  int rank() const noexcept { return header_->rank; }

 private:
  // How often begin() looks at the clock: every 256th time.
  static constexpr uint64_t kAnchorMask = 256 * kVersionStep - 1;

  // ring_[ring_index()], in fewer instructions.
  Record& at(uint64_t version) const noexcept {
    static_assert(kVersionStep / sizeof(Record) == 4);
    return *reinterpret_cast<Record*>(ring_ + (version >> 2 & byte_mask_));
  }
  static void put(Record& record, Word word, uint64_t value) noexcept {
    // Release: whoever reads the word finds the version changed (see record.h).
    record.words[word].store(value, std::memory_order_release);
  }
  static void publish(Record& record, uint64_t version) noexcept {
    // Pairs with the readers' acquire load (see record.h).
    record.words[kVersion].store(version, std::memory_order_release);
  }
  static void put_description(Record& record, const Described& call, uint64_t number) noexcept {
    put(record, kCount, call.count);
    put(record, kFacts, number << 24 | call.facts);
    put(record, kRanks, call.ranks);
    put(record, kDetails, call.details);
  }
  static void count(const Described& call) noexcept {
    CallCounters& counters = *call.counters;
    add(counters.begun, 1);
    add(counters.bytes, call.bytes);
  }
  static bool still_there(const Record& record, uint64_t version) noexcept {
    return record.words[kVersion].load(std::memory_order_relaxed) / kVersionStep ==
           version / kVersionStep;
  }
  void settle(uint64_t version, uint64_t outcome) noexcept;
  // The text's number; a new text gets one.
  uint8_t number_of(const char* text) noexcept;
  void refresh_anchor() noexcept;
  void note_memory() noexcept;
  FileDescriptor create_backing(const RecorderOptions& options, size_t bytes);
  void write_header(const RecorderOptions& options, size_t bytes);

  bool by_counter_;
  uint64_t last_ = 0;  // version of the last record, without its state
  uint64_t byte_mask_ = 0;
  std::byte* ring_ = nullptr;
  PeerTraffic* peers_ = nullptr;
  CallCounters* calls_ = nullptr;

  const std::string metrics_file_;
  const MemoryBudget* budget_;  // null: none
  bool metrics_written_ = false;
  MemoryCharge charge_;
  FileDescriptor fd_;  // kept open: how `tutti top` finds the memory
  Mapping mapping_;
  std::vector<Record> own_memory_;  // where no mapping could be made
  Header* header_ = nullptr;
  char* names_ = nullptr;
  Record* queue_ = nullptr;
  size_t n_names_ = 1;
  std::atomic<bool> has_ended_{false};   // relaxed: whoever changes it says how
  std::atomic_flag refreshing_;          // held by whoever writes the clocks' words
  std::atomic<uint32_t> queue_hint_{0};  // relaxed: where to look for a free entry first
};

}  // namespace tutti::trace
