// SPDX-License-Identifier: Apache-2.0
// What agents say to each other in frames of a session (docs/design/transfer.md). Little endian.
//
// An operation is one call of putv or getv, by a number of whoever called. Who called is the
// initiator, the other end serves.
//
//   put  initiator -> server  kBegin, and kTransferData {stream: region, number: offset, place: op}
//        server -> initiator  kDone, once all bytes have come and the counter has been raised
//   get  initiator -> server  kGet
//        server -> initiator  kTransferData {stream: descriptor, number: offset in it, place: op};
//                             kDone only when it fails
//   pull initiator -> server  kPull: a put whose bytes the server reads out of the initiator's
//                             process, on the same host; then kDone
//        either               kCancel ends what is left of an operation; not answered
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tutti::transfer {

// FrameHeader::word of a kTransferNote. place: the operation.
enum class Note : uint32_t {
  kBegin = 1,  // number: bytes in all; payload: SignalWire
  kGet,        // number: of the first descriptor; payload: RangeWire each
  kPull,       // payload: PullHead, then PullRange each
  kDone,       // stream: a StatusCode; payload: what went wrong, in words
  kCancel,     // in order
};

// Raises the server's counter once the operation's bytes are there. value 0: none.
struct SignalWire {
  uint64_t value = 0;
  uint32_t counter = 0;
  uint32_t reserved = 0;
};

struct RangeWire {
  uint32_t region = 0;
  uint32_t reserved = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// The word at `word_address` holds `word` for as long as the operation may be read: it is looked at
// after each piece, so nothing that came from memory that has been given back ever counts. The
// token shows that the initiator is a process of this host and user: nobody else may have the
// server read memory for him.
struct PullHead {
  SignalWire signal;
  uint64_t word_address = 0;
  uint64_t word = 0;
  uint64_t token = 0;    // ControlPage::pull_token of the server
  uint64_t host_id = 0;  // these five: the initiator's process
  uint64_t process_uid = 0;
  uint64_t start_ticks = 0;
  int32_t pid = 0;
  uint32_t uid = 0;
};

struct PullRange {
  RangeWire to;
  uint64_t address = 0;  // in the initiator's process
};

static_assert(sizeof(SignalWire) == 16 && sizeof(RangeWire) == 24 && sizeof(PullHead) == 72 &&
              sizeof(PullRange) == 32);
static_assert(std::is_trivially_copyable_v<PullHead> && std::is_trivially_copyable_v<PullRange>);

// A note's payload stays below what sessions take.
inline constexpr size_t kRangesPerNote = 8192;
// Descriptors of one operation.
inline constexpr size_t kMostDescriptors = size_t{1} << 20;

}  // namespace tutti::transfer
