// SPDX-License-Identifier: Apache-2.0
// The connections of one handle: a FIFO of messages to each rank and one from each, whose slots are
// filled and read in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/base/error.h"
#include "src/comm/links.h"
#include "transport/transport.h"

namespace tutti::moe {

// Ranks are those of the group; failures name the communicator's. Owned by the communicator's
// progress.
class Mesh {
 public:
  struct Shape {
    int self = 0;
    std::vector<int> comm_ranks;  // by rank; -1: masked
    int channel = 0;
    transport::FifoLayout layout;
    uint64_t direct_min_bytes = UINT64_MAX;  // rows from this size on go by reference
  };
  Mesh(comm::Links& links, Shape shape);

  bool active(int rank) const noexcept { return comm_rank(rank) >= 0; }
  int comm_rank(int rank) const noexcept { return shape_.comm_ranks[static_cast<size_t>(rank)]; }
  int n_ranks() const noexcept { return static_cast<int>(shape_.comm_ranks.size()); }
  int self() const noexcept { return shape_.self; }
  size_t slot_bytes() const noexcept { return shape_.layout.area_bytes; }

  // Starts what is missing of the sending ends. Throws Error.
  void open();
  // Keeps what set-up throws in the functions below; null: nothing is kept.
  void keep_errors_in(std::optional<Error>* caught) noexcept { caught_ = caught; }

  // Where the next message to the rank is to be written, which has at most so many bytes (no more
  // than a slot); null when there is no slot now, or *failure says why there never will be.
  // Repeatable until it is committed.
  std::byte* acquire(int rank, size_t most_bytes, Status* failure) noexcept;
  void commit(int rank, uint32_t signature, size_t bytes) noexcept;
  // Sends a message that fits in a line; false when there is no room now.
  bool send_inline(int rank, uint32_t signature, const void* data, size_t bytes,
                   Status* failure) noexcept;

  struct Incoming {
    const std::byte* data = nullptr;
    size_t bytes = 0;  // at most; a message in a line says nothing of its length
  };
  // The message at the head of the connection from the rank; false when there is none yet, or it
  // has failed. Repeatable until it is released.
  bool peek(int rank, uint32_t signature, Incoming* message, Status* failure) noexcept;
  // That message is in a line.
  bool is_inline(int rank) const noexcept {
    return ports_[static_cast<size_t>(rank)].head == transport::MessageKind::kInline;
  }
  void release(int rank, size_t bytes) noexcept;

  // Bytes that stay where they are until the rank has read them: true when it can, and then they go
  // by `reference`. They are read when drained(). Only after acquire() has found a slot.
  bool refer(int rank, const void* data, size_t bytes, size_t row_bytes,
             transport::DirectReference* reference) noexcept;
  void count_referred(int rank, size_t bytes) noexcept;
  // The rank has consumed all that was sent to it.
  bool drained(int rank, Status* failure) noexcept;
  // Where the rank's bytes lie; false while that is not known yet, or it has failed.
  bool find(int rank, const transport::DirectReference& reference, const std::byte** data,
            Status* failure) noexcept;
  // Around reading them. False: the rank has given up, and what was read is worth nothing.
  bool begin_reading(int rank) noexcept;
  bool end_reading(int rank) noexcept;

  // Kinds of messages sent, for the communicator's statistics.
  uint32_t sent_kinds() const noexcept { return sent_kinds_; }

 private:
  struct Port {
    transport::SendConnection* send = nullptr;
    bool send_ready = false;
    transport::RecvConnection* recv = nullptr;  // null: not known yet
    size_t most_bytes = 0;                      // of the message that is being written
    transport::MessageKind head = transport::MessageKind::kInline;
  };
  Port& port(int rank) noexcept { return ports_[static_cast<size_t>(rank)]; }
  bool ready_to_send(int rank, Status* failure) noexcept;
  bool ready_to_receive(int rank, Status* failure) noexcept;
  void count_sent(Port& port, transport::MessageKind kind, size_t bytes) noexcept;

  comm::Links& links_;
  Shape shape_;
  std::vector<Port> ports_;  // by rank
  std::optional<Error>* caught_ = nullptr;
  uint32_t sent_kinds_ = 0;
};

}  // namespace tutti::moe
