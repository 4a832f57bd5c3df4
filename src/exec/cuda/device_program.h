// SPDX-License-Identifier: Apache-2.0
// A compiled plan as thread blocks run it: flat arrays of plain records, written by the host, read
// by the kernels tutti_plan_simple_<dtype> and tutti_plan_inline_<dtype> (plan_kernel.h).
//
// One thread block runs one lane. All records of a lane lie in one piece of memory (its *code*),
// which the block copies into shared memory when it starts, as far as that goes:
//
//   DeviceStep steps[n_steps]
//   DeviceOperand operands[...]   of each step its sources, then its sinks
//   DeviceWait waits[...]
//
// What a step means is what plan::Step means (docs/adr/0002): it waits for steps of other lanes, a
// message from each source peer and a free slot of each sink peer, moves the bytes, then publishes
// one message per sink peer and releases one per source peer. A step whose span is empty in a tile
// is skipped with its messages.
//
// Everything here is read by the device only after the launch it belongs to, and written by the
// device only where the comment says so. Records without initialisers also lie in shared memory;
// make them with {}. Pointers are device addresses (or host memory that is
// mapped on the device).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "src/kernels/cuda/move.h"
#include "src/kernels/cuda/report.h"

namespace tutti::exec {

enum class OperandKind : uint8_t { kInput, kOutput, kScratch, kPeer };

struct DeviceOperand {
  OperandKind kind = OperandKind::kInput;
  uint8_t pre = 0;
  uint16_t endpoint = 0;       // kPeer: index into the lane's endpoints
  int32_t block_position = 0;  // kInput, kOutput: block within the buffer
  int32_t chunk = 0;           // kInput, kOutput: within the block; kScratch: scratch chunk
};
struct DeviceWait {
  uint32_t lane = 0;
  uint32_t step = 0;  // within that lane
};
struct DeviceStep {
  uint32_t first_operand;  // within the lane's operands
  uint32_t first_wait;     // within the lane's waits
  uint16_t n_sources;      // at most gpu::kMostOperands
  uint16_t n_sinks;        // at most gpu::kMostOperands
  uint16_t n_waits;
  uint8_t post;
  uint8_t signal;     // no extent: never skipped, moves no bytes
  int32_t block;      // index into block_counts
  int32_t chunk;      // within the block
  uint32_t awaited;   // 1: a step of another lane waits for this one
  uint32_t reserved;  // keeps the size a multiple of 16
};
static_assert(sizeof(DeviceOperand) == 12 && sizeof(DeviceWait) == 8 && sizeof(DeviceStep) == 32);

// --- Connections
//
// A connection is a FIFO of messages; message k (from 0) has sequence number k + 1. Its memory may
// lie with the sender, the receiver or the host; only visibility is asked for. All of it is zero at
// first.
//
//   kSimple  the FIFO of transport/fifo.h, so that the other end may be a host rank or a mirror of
//   a
//            network's connection. Line k % n_lines: {sequence:32 | signature:30 | kind:2}, 56
//            bytes of payload. As sender a GPU sends kStaged messages only, in staging slot k %
//            n_slots from its first byte: it writes the data and the payload {bytes:64, slot:32,
//            offset:32}, then stores the header with release order at system scope. As receiver it
//            acquires the header, reads the data in the line (kInline) or in the slot that the
//            payload names (kStaged), then stores `released`. References (kMapped, kPulled) it
//            can't follow.
//   kLL      slot k % n_slots: lines of 16 bytes {data, flag, data, flag}, written by one store
//            each, whose flag is the sequence number. Line 0 has the signature in both data words
//            and carries no bytes of the message; 16 bytes of the message fill two lines from line
//            2 on (line 1 is unused). Capacity: (slot_bytes - 32) / 2.
//   kLL128   slot k % n_slots: pairs of lines of 128 bytes; the last 8 bytes of each line are
//            {signature:32 | sequence:32}, the other 240 of a pair are 15 units of 16 bytes of the
//            message: line 0 has units 0 to 6, then the low half of unit 14; line 1 has units 7 to
//            13, then the high half of unit 14. A message of no bytes has one pair. Capacity:
//            slot_bytes / 256 * 240. Only where 128 bytes of a warp arrive whole: NVLink, or within
//            a GPU.
//
// A ring of slots is used by one inline protocol for ever: old data of LL128 could be taken for
// flags of LL.
// The inline protocols need no fence and no header: who sees the flag sees the data. `released`
// counts messages that the receiver has given back; the sender writes a slot again only then.
// A flag of 32 bits could be one that a message left 2^32 messages ago in lines that have not been
// written since, so each slot is written in full once in kCleanPeriod messages.
enum class DeviceProtocol : uint32_t { kSimple = 0, kLL = 1, kLL128 = 2 };
inline constexpr uint32_t kLLHeadBytes = 32;
inline constexpr uint32_t kLL128PairBytes = 256;
inline constexpr uint32_t kLL128PairData = 240;
inline constexpr uint32_t kCleanPeriod = 1u << 28;

// Lines of kSimple, as transport::SlotLine (flatten.cc compares them).
inline constexpr uint32_t kLineBytes = 64;
inline constexpr uint32_t kLinePayload = 8;  // offset of the 56 bytes
inline constexpr uint32_t kLineCapacity = kLineBytes - kLinePayload;
inline constexpr uint32_t kKinds = 4;  // the two lowest bits of a header
inline constexpr uint32_t kInlineKind = 0;
inline constexpr uint32_t kStagedKind = 1;

// Bytes of a message that a slot holds.
constexpr uint32_t slot_capacity(DeviceProtocol protocol, uint32_t slot_bytes) noexcept {
  if (protocol == DeviceProtocol::kLL) return (slot_bytes - kLLHeadBytes) / 2 / 16 * 16;
  if (protocol == DeviceProtocol::kLL128) return slot_bytes / kLL128PairBytes * kLL128PairData;
  return slot_bytes / 16 * 16;
}

// One end of a connection. It persists between launches, and belongs to one lane of one launch at a
// time.
struct alignas(16) DeviceEndpoint {
  std::byte* slots = nullptr;  // kLL: 16-byte aligned; kLL128: 128; kSimple: staging slots, 64
  std::byte* lines = nullptr;  // kSimple
  uint64_t* released = nullptr;
  uint64_t count = 0;  // messages sent or released so far; updated by the kernel when it has ended
  uint32_t slot_bytes = 0;
  uint32_t n_slots = 1;  // kSimple: a power of two
  uint32_t n_lines = 1;  // kSimple: a power of two
  uint32_t window = 1;   // messages that may be on their way: a slot (and a line) for each
  DeviceProtocol protocol = DeviceProtocol::kSimple;
  int32_t peer = 0;        // rank, for reports
  uint32_t is_sender = 0;  // 1: this end sends
  // The sender's last look at `released`, modulo 2^32, so that it looks again only when it has used
  // up what it knows of: `released` may be the host's, a microsecond away. `count` is above it by
  // `window` at most. Updated as `count`.
  uint32_t seen_released = 0;
};
static_assert(sizeof(DeviceEndpoint) == 64);

// --- Lanes and the launch

struct DeviceLane {
  const std::byte* code;  // 16-byte aligned
  // Each to an end of a connection, which other programs of the communicator use too; of this lane
  // only while the launch runs.
  DeviceEndpoint* const* endpoints;
  uint32_t n_endpoints;
  uint32_t n_steps;
  uint32_t operands_offset;  // bytes from `code`
  uint32_t waits_offset;
  uint32_t code_bytes;  // multiple of 16
  uint32_t reserved;
};
static_assert(sizeof(DeviceLane) == 40);

// Where lanes tell each other, and the host, how far they are.
// `done` counts a lane's steps, and after each tile one more: step s of tile t is finished when
// done is above t * (n_steps + 1) + s, the tile when it is (t + 1) * (n_steps + 1). Published where
// somebody may wait for it: after steps that are awaited and after each tile.
struct alignas(128) DeviceLaneState {
  uint64_t done = 0;  // {epoch:24 | count:40}
};
inline constexpr int kDoneBits = 40;

// Of one program, in device memory; zero at first, kept between launches.
struct DeviceProgramState {
  uint32_t epoch = 0;  // launches that have ended; written by the last lane to end
};

// One transfer of a group of sends and receives, cut by itself.
struct DeviceTransfer {
  uint64_t chunk_bytes = 1;  // of each of its messages; the last may be shorter
  uint32_t signature = 0;    // as PlanArgs::signature
  uint32_t n_messages = 1;   // also of no bytes: one
};
static_assert(sizeof(DeviceTransfer) == 16);

// The kernels' argument. Blocks: one per lane. Threads: a multiple of 32, up to gpu::kMostThreads.
// All blocks must be resident together. Dynamic shared memory: device_arena_bytes().
struct PlanArgs {
  const DeviceLane* lanes = nullptr;
  DeviceLaneState* lane_states = nullptr;
  DeviceProgramState* state = nullptr;
  gpu::Watch watch;
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  std::byte* scratch = nullptr;             // tiles_in_flight * scratch_chunks * chunk_bytes
  const uint64_t* block_counts = nullptr;   // elements, by DeviceStep::block; null: block_count
  const uint64_t* input_offsets = nullptr;  // elements, by block position; null: dense
  const uint64_t* output_offsets = nullptr;
  // By DeviceStep::block. Not null: the launch is a group of transfers of bytes, a step each. A
  // lane ends a step before it begins the next, no step waits for another lane's, and what is said
  // below of chunks, tiles and the signature is said by the transfer.
  const DeviceTransfer* transfers = nullptr;
  uint64_t block_count = 0;  // elements
  uint64_t chunk_elems = 1;
  uint64_t tile_elems = 1;
  gpu::Reduction reduction;
  // Not null: PreMulSum's scalar, which each lane reads when it starts. Any alignment.
  const std::byte* pre_scalar = nullptr;
  uint32_t n_lanes = 0;
  uint32_t n_tiles = 1;
  uint32_t tiles_in_flight = 1;
  uint32_t scratch_chunks = 0;
  uint32_t signature = 0;    // of the call, the same on all ranks; the message's length is added
  uint32_t arena_bytes = 0;  // of dynamic shared memory
  DeviceProtocol protocol = DeviceProtocol::kSimple;  // the fastest of the connections; see below
  uint32_t reserved = 0;
};
// `protocol` fixes how threads share a message and which kernel is launched: tutti_plan_simple for
// kSimple, else tutti_plan_inline. kLL and kLL128 connections can't be in one launch, kSimple ones
// may be in any.
static_assert(std::is_trivially_copyable_v<PlanArgs> && sizeof(PlanArgs) <= 4096);

// Shared memory for a lane's endpoints, and, as far as it goes, its code.
constexpr uint32_t device_arena_bytes(uint32_t n_endpoints, uint32_t code_bytes,
                                      uint32_t most_bytes) noexcept {
  const uint32_t wanted = n_endpoints * static_cast<uint32_t>(sizeof(DeviceEndpoint)) + code_bytes;
  return wanted < most_bytes ? wanted : most_bytes;
}

// The signature of one message, as exec::message_signature: counts that differ are noticed too.
constexpr uint32_t device_signature(uint32_t call, uint64_t bytes) noexcept {
  return call + static_cast<uint32_t>(bytes) * 4u;
}

}  // namespace tutti::exec
