// SPDX-License-Identifier: Apache-2.0
// The two ends of a connection between GPUs, and how they tell each other where its memory lies.
//
// Everybody polls what lies in the memory of its own GPU and writes to the peer's: lines, slots and
// the inline slots are the receiver's, the words that count what was given back the sender's. The
// ends tell each other by messages over two connections through host memory, which are dropped
// afterwards:
//
//   sender    connect(): cuts its words; opens the request
//             ready(): request open -> says where the words are and what layout it wants
//   receiver  try_accept(): request read -> cuts the FIFO, reaches the words, opens the answer;
//             answer open -> says where the FIFO is
//   sender    ready(): answer read -> reaches the FIFO, says so over the request; true
//   receiver  try_accept(): that read -> the end is made
//
// Whoever has its end has reached the other's memory, and the other its own: so either may be done
// at once and end, even its process, while the other has not looked again. A receiver gets its end
// only while the sender asks ready(), as programs do with all of their connections at once. Views
// stay empty: the host sees no message.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "transport/cuda_p2p/memory.h"
#include "transport/transport.h"

namespace tutti::transport::cuda_p2p {

// Of the sender's part: what was given back of the lines, then of the inline slots.
inline constexpr size_t kWordsBytes = 2 * sizeof(ReleaseWord);

// Where an end's part lies, as one staged message.
struct Note {
  Place place;
  FifoLayout layout;
  uint32_t n_inline_slots;
  uint32_t inline_slot_bytes;
  uint32_t reserved;
};
static_assert(sizeof(Note) == 112 && std::is_trivially_copyable_v<Note>);
// The second line is for what the sender says at last.
inline constexpr FifoLayout kNoteLayout{.n_lines = 2, .n_areas = 1, .area_bytes = 128};

// The connections through host memory that carry the notes about `id`.
ConnectionId request_of(const ConnectionId& id) noexcept;
ConnectionId answer_of(const ConnectionId& id) noexcept;
// Of the communicator that the transports through host memory see: the rank may have others of
// them.
uint64_t host_comm_id(uint64_t comm_id) noexcept;

// False while it has not come. Throws RemoteError when something else has.
bool read_note(RecvConnection& from, int rank, Note* note);
void send_note(SendConnection& to, const Note& note) noexcept;
// The sender, over its request: it has reached the FIFO.
bool has_reached(RecvConnection& from, int rank);  // throws as read_note()

// What both ends know.
struct Pair {
  std::shared_ptr<const cuda::Gpu> gpu;  // this rank's; shared: by all that uses its memory
  std::weak_ptr<Transport> host;         // to the peer; ends may outlive it
  Peer peer;                             // as `host` knows it
  bool same_process = false;
  bool whole_lines = false;
};

class P2pSend final : public SendConnection {
 public:
  P2pSend(const ConnectionId& id, Pair pair, const FifoLayout& layout, Part words,
          std::unique_ptr<SendConnection> request);
  Status ready(bool* is_ready) noexcept override;

 private:
  void advance();  // throws
  void attach(const Note& note);

  ConnectionId id_;
  Pair pair_;
  FifoLayout layout_;
  Part words_;
  std::unique_ptr<SendConnection> request_;  // until all has been said
  bool asked_ = false;                       // over it
  std::unique_ptr<RecvConnection> answer_;
  std::optional<PeerPart> fifo_;
  Status failure_;
};

class P2pRecv final : public RecvConnection {
 public:
  // The sender's note was `request`. Throws.
  P2pRecv(Pair pair, Pool& pool, const Note& request);
  // For the sender, which is told now.
  Note answer();

 private:
  Pair pair_;
  FifoLayout layout_;
  Part fifo_;
  PeerPart words_;
};

}  // namespace tutti::transport::cuda_p2p
