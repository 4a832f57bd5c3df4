// SPDX-License-Identifier: Apache-2.0
// One lane of a plan on its thread block: its state in shared memory, and how it waits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/exec/cuda/device_program.h"
#include "src/kernels/cuda/launch.h"
#include "src/kernels/cuda/reduce_copy.h"

namespace tutti::exec {

using gpu::Failure;
using gpu::kLongPolls;
using gpu::kPauseNs;
using gpu::kPollsPerLook;
using gpu::make_failure;
using gpu::make_report;
using gpu::Scope;
using gpu::WaitFor;

// How an operand of the running step is accessed.
enum class Access : uint32_t { kMemory, kLL, kLL128 };

// A piece of a block: one chunk of one tile, in elements.
struct DeviceSpan {
  uint64_t offset;
  uint64_t count;
};
// One step in one tile.
struct Running {
  DeviceStep step;
  DeviceSpan span;
  uint32_t number;  // within the lane
  uint32_t tile;
  uint32_t signature;
};

// In shared memory: what all threads of the block know.
struct LaneShared {
  DeviceLane record;
  uint32_t epoch;
  uint32_t cached_bytes;  // of the code, in the arena
  uint32_t stop;          // a wait has failed
  uint64_t pre;           // as gpu::Scaling::pre

  // Of the running step; written by the threads that resolve its operands, read after a barrier.
  Running now;
  gpu::Move move;
  Access source_access[gpu::kMostOperands];
  Access sink_access[gpu::kMostOperands];
  uint32_t source_flag[gpu::kMostOperands];  // inline protocols: sequence number
  uint32_t sink_flag[gpu::kMostOperands];
  int32_t source_peer[gpu::kMostOperands];   // for reports
  uint32_t clean_bytes[gpu::kMostOperands];  // sinks: not 0: write the slot in full, of so many
};

// Reads a record of words from global memory.
template <class T>
TUTTI_GPU T load_record(const T* from) {
  static_assert(sizeof(T) % 4 == 0);
  struct Words {
    uint32_t word[sizeof(T) / 4];
  } words;
  TUTTI_UNROLL
  for (size_t i = 0; i < sizeof(T) / 4; ++i) {
    words.word[i] = gpu::load(reinterpret_cast<const uint32_t*>(from) + i);
  }
  return __builtin_bit_cast(T, words);
}

struct Lane {
  const PlanArgs& args;
  LaneShared& shared;

  TUTTI_GPU uint32_t index() const { return gpu::block_index().x; }
  TUTTI_GPU gpu::Team team() const { return {gpu::thread_index().x, gpu::block_threads()}; }
  // The arena: the lane's endpoints, then the first cached_bytes of its code.
  TUTTI_GPU DeviceEndpoint* endpoints() const {
    return static_cast<DeviceEndpoint*>(gpu::shared_arena());
  }
  TUTTI_GPU std::byte* cached_code() const {
    return reinterpret_cast<std::byte*>(endpoints() + shared.record.n_endpoints);
  }
  template <class T>
  TUTTI_GPU T code_at(uint32_t offset) const {
    if (offset + sizeof(T) <= shared.cached_bytes) {
      return *reinterpret_cast<const T*>(cached_code() + offset);
    }
    return load_record(reinterpret_cast<const T*>(shared.record.code + offset));
  }
  TUTTI_GPU DeviceOperand operand(const DeviceStep& step, uint32_t i) const {
    const auto at = static_cast<uint32_t>((step.first_operand + i) * sizeof(DeviceOperand));
    return code_at<DeviceOperand>(shared.record.operands_offset + at);
  }
};

// Of the call, with the scalar that the lane has read.
TUTTI_GPU gpu::Reduction reduction_of(const Lane& lane) {
  gpu::Reduction reduction = lane.args.reduction;
  reduction.scaling.pre = lane.shared.pre;
  return reduction;
}

TUTTI_GPU void fail(const Lane& lane, Failure what, int32_t rank, uint32_t got) {
  gpu::give_up(lane.args.watch, what, rank, got);
  lane.shared.stop = 1;
}

// A wait of one thread: counts its polls, looks for reasons to give up, and tells the host when it
// takes long.
class Wait {
 public:
  TUTTI_GPU Wait(const Lane& lane, WaitFor what, int32_t rank, uint32_t step)
      : lane_(lane),
        report_(make_report(what, rank, step)),
        rank_(what == WaitFor::kLane ? -1 : rank) {}

  // After a poll that found nothing. False: give up, the lane has failed.
  TUTTI_GPU bool again() {
    ++polls_;
    if (polls_ % kPollsPerLook != 0) return true;
    if (gpu::load_volatile(lane_.args.watch.abort) != 0) {
      fail(lane_, Failure::kAborted, rank_, 0);
      return false;
    }
    if (gpu::has_stopped(lane_.args.watch)) {
      lane_.shared.stop = 1;
      return false;
    }
    if (polls_ < kLongPolls) return true;
    // Threads of the lane share its report, see gpu::WatchedWait.
    if (gpu::load_volatile(report()) == 0) gpu::store_volatile(report(), report_);
    gpu::nano_sleep(kPauseNs);
    return true;
  }
  TUTTI_GPU bool is_long() const { return polls_ >= kPollsPerLook; }
  // When what was waited for has come.
  TUTTI_GPU void end() const {
    if (polls_ >= kLongPolls && gpu::load_volatile(report()) == report_)
      gpu::store_volatile(report(), uint64_t{0});
  }

 private:
  TUTTI_GPU uint64_t* report() const { return lane_.args.watch.reports + lane_.index(); }

  const Lane& lane_;
  const uint64_t report_;
  const int32_t rank_;  // -1: for a lane of this rank
  uint32_t polls_ = 0;
};

// Until step `step` of `tile` of another lane has finished.
TUTTI_GPU bool wait_for_count(const Lane& lane, uint32_t other, uint64_t count, uint32_t step) {
  const uint64_t wanted = uint64_t{lane.shared.epoch & 0xffffffu} << kDoneBits | count;
  Wait wait(lane, WaitFor::kLane, static_cast<int32_t>(other), step);
  for (;;) {
    // Pairs with publish(): what the other lane did before is seen after the block's next barrier.
    const uint64_t done = gpu::load_acquire<Scope::kGpu>(&lane.args.lane_states[other].done);
    if (done >> kDoneBits == wanted >> kDoneBits && done >= wanted) break;
    if (!wait.again()) return false;
  }
  wait.end();
  return true;
}

// By one thread, after a barrier of the block.
TUTTI_GPU void publish(const Lane& lane, uint64_t count) {
  const uint64_t done = uint64_t{lane.shared.epoch & 0xffffffu} << kDoneBits | count;
  gpu::store_release<Scope::kGpu>(&lane.args.lane_states[lane.index()].done, done);
}

// --- Messages of kSimple connections (transport/fifo.h)

TUTTI_GPU std::byte* line_of(const DeviceEndpoint& end) {
  return end.lines + (end.count & (end.n_lines - 1)) * kLineBytes;
}
TUTTI_GPU uint64_t* words_of(std::byte* at) { return reinterpret_cast<uint64_t*>(at); }

// The message at the head of the connection, with the signature that is expected; returns its kind.
TUTTI_GPU bool wait_for_header(const Lane& lane, const DeviceEndpoint& from, uint32_t signature,
                               uint32_t step, uint32_t* kind) {
  const uint64_t expected = (from.count + 1) << 32 | signature;
  const uint64_t* header = words_of(line_of(from));
  Wait wait(lane, WaitFor::kMessage, from.peer, step);
  for (;;) {
    // Pairs with send_message(), and with transport::SendView::commit of a host.
    const uint64_t found = gpu::load_acquire<Scope::kSystem>(header);
    *kind = static_cast<uint32_t>(found - expected);
    if (found - expected < kKinds) break;
    if (found >> 32 == expected >> 32) {
      fail(lane, Failure::kMismatch, from.peer, static_cast<uint32_t>(found) & ~(kKinds - 1));
      return false;
    }
    if (!wait.again()) return false;
  }
  wait.end();
  return true;
}

// Where the message's bytes are; null: it is none that a GPU takes. In a line they are only 8-byte
// aligned. Whatever the payload says, they lie within the staging memory.
TUTTI_GPU const std::byte* bytes_of_message(const Lane& lane, const DeviceEndpoint& from,
                                            uint32_t kind, uint64_t bytes, uint32_t signature) {
  std::byte* payload = line_of(from) + kLinePayload;
  if (kind == kInlineKind && bytes <= kLineCapacity) return payload;
  if (kind > kStagedKind) {
    fail(lane, Failure::kReference, from.peer, kind);
    return nullptr;
  }
  const uint64_t place = gpu::load(words_of(payload) + 1);  // {offset:32 | slot:32}
  if (kind != kStagedKind || gpu::load(words_of(payload)) != bytes || bytes > from.slot_bytes) {
    fail(lane, Failure::kMismatch, from.peer, signature);
    return nullptr;
  }
  const uint64_t room = from.slot_bytes - bytes;
  const uint64_t offset = place >> 32;
  const uint64_t slot = place & (from.n_slots - 1);
  return from.slots + slot * from.slot_bytes + (offset < room ? offset : room);
}

// After a barrier that follows the stores of the message's bytes.
TUTTI_GPU void send_message(const DeviceEndpoint& to, uint32_t signature, uint64_t bytes) {
  std::byte* line = line_of(to);
  gpu::store(words_of(line + kLinePayload), bytes);
  gpu::store(words_of(line + kLinePayload) + 1, to.count & (to.n_slots - 1));  // at offset 0
  // Pairs with wait_for_header(), and with transport::RecvView::peek of a host.
  gpu::store_release<Scope::kSystem>(words_of(line),
                                     (to.count + 1) << 32 | signature | kStagedKind);
}

// A slot that the receiver has given back, or that was never used.
TUTTI_GPU bool wait_for_slot(const Lane& lane, DeviceEndpoint& to, uint32_t step) {
  Wait wait(lane, WaitFor::kSlot, to.peer, step);
  while (static_cast<uint32_t>(to.count) - to.seen_released >= to.window) {
    // Pairs with release_slot(), and with transport::RecvView::release: the loads came before. What
    // this has acquired the block's barriers and the ends of launches hand on.
    const uint64_t released = gpu::load_acquire<Scope::kSystem>(to.released);
    to.seen_released = static_cast<uint32_t>(released);
    if (to.count - released < to.window) break;
    if (!wait.again()) return false;
  }
  wait.end();
  return true;
}
// After a barrier that follows the loads of the message's bytes. Inline protocols have used every
// value that they loaded by then (its flag was compared), so there is nothing to order.
TUTTI_GPU void release_slot(const DeviceEndpoint& from) {
  if (from.protocol == DeviceProtocol::kSimple) {
    gpu::store_release<Scope::kSystem>(from.released, from.count + 1);
  } else {
    gpu::store_relaxed<Scope::kSystem>(from.released, from.count + 1);
  }
}

}  // namespace tutti::exec
