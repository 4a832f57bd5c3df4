// SPDX-License-Identifier: Apache-2.0
// One collective in flight on one rank: a compiled program bound to a call's buffers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/exec/message.h"
#include "src/exec/program.h"
#include "src/exec/task.h"
#include "src/kernels/reduce_copy.h"
#include "transport/transport.h"

namespace tutti::exec {

// A call's buffers and sizes, in elements of dtype. Arrays must outlive the operation.
struct Binding {
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  DType dtype = DType::kInt8;
  Op op = Op::kSum;
  kernels::Scaling scaling;
  bool in_place = false;
  size_t block_count = 0;                // elements of every block, when block_counts is null
  const size_t* block_counts = nullptr;  // by CompiledStep::block (see block_index)
  const size_t* input_offsets =
      nullptr;  // by block position in the input; null: position * block_count
  const size_t* output_offsets = nullptr;
};

// How a call is cut: each block into tiles of tile_elems, each tile into chunks of chunk_elems. A
// pure function of agreed values.
struct Tiling {
  size_t chunk_elems = 1;
  size_t tile_elems = 1;  // chunk_elems * chunks_per_block
  uint32_t n_tiles = 1;   // of this rank; ranks that know of different blocks may differ
};
// `counts_agreed`: all ranks see the same block counts (not AllToAllv, Gatherv, Scatterv), so the
// chunk may shrink with them. max_chunk_bytes: bytes of a staging slot.
Tiling make_tiling(const plan::Shape& shape, const Binding& binding, size_t max_chunk_bytes,
                   bool counts_agreed) noexcept;

// Endpoints in the order of Program::send_peers and recv_peers; they outlive the operation.
struct Connections {
  std::vector<transport::SendConnection*> send;
  std::vector<transport::RecvConnection*> recv;
};

struct Launch {
  const Program* program = nullptr;
  const Connections* connections = nullptr;
  Binding binding;
  Tiling tiling;
  MessagePolicy policy;
  uint32_t signature = 0;        // the same on all ranks for this call; see transport::to_signature
  std::byte* scratch = nullptr;  // scratch_bytes(program, tiling, dtype), 64-byte aligned
  std::span<std::byte> bounce;   // at least kBouncePiece * (largest number of sources of a step),
                                 // for pulled references
  SentKinds* sent = nullptr;
};
inline constexpr size_t kBouncePiece = 32 << 10;
size_t scratch_bytes(const Program& program, const Tiling& tiling, DType dtype) noexcept;
size_t bounce_bytes(const Program& program) noexcept;

// A piece of a block: one chunk of one tile.
struct Span {
  size_t offset = 0;  // elements from the block's start
  size_t count = 0;   // elements
};

// Reusable: start() may be called again when the last run has ended. Allocates only in its
// constructor and when a program has more lanes than any before.
class Operation final : public Task {
 public:
  void start(const Launch& launch);
  // After start(): references of ours may be on their way to any peer.
  void expect_references() noexcept {
    referenced_.assign(referenced_.size(), 1);
    any_referenced_ = true;
  }
  // After start(): the lane's steps up to this one of this tile have been done.
  void skip(uint32_t lane, uint32_t tile, uint32_t step) noexcept {
    lanes_[lane] = {.step = step + 1, .tile = tile};
  }
  Status progress(bool* advanced) noexcept override;
  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;

 private:
  struct LaneState {
    uint32_t step = 0;  // index within the lane
    uint32_t tile = 0;
  };
  // What became of a step that was tried.
  enum class Outcome : uint8_t { kBlocked, kDone, kFailed };

  bool may_start_tile(uint32_t tile) const noexcept;
  bool waits_done(const CompiledStep& step, uint32_t tile) const noexcept;
  Span span_of(const CompiledStep& step, uint32_t tile) const noexcept;
  Status run_lane(LaneState& lane, const CompiledLane& code, bool* advanced) noexcept;
  Outcome run_step(const CompiledStep& step, uint32_t tile, Status* failure) noexcept;
  Outcome gather_sources(const CompiledStep& step, const Span& span, uint32_t tile,
                         Status* failure) noexcept;
  Outcome gather_sinks(const CompiledStep& step, const Span& span, uint32_t tile,
                       Status* failure) noexcept;
  bool may_reference(const CompiledStep& step, const Endpoint& to, size_t bytes) const noexcept;
  Status read_and_move(const CompiledStep& step, const Span& span) noexcept;
  Status move_data(const CompiledStep& step, const Span& span) noexcept;
  Status pull_and_reduce(const kernels::ReduceCopy& whole) noexcept;
  void commit_sinks(size_t bytes) noexcept;
  void release_sources(size_t bytes) noexcept;
  std::byte* local(const CompiledOperand& operand, const Span& span, uint32_t tile) const noexcept;
  bool references_consumed(Status* failure) noexcept;
  int blocked_on(const LaneState& lane, const CompiledLane& code) const noexcept;

  Launch launch_;
  kernels::ReduceCopyFn kernel_ = nullptr;
  size_t elem_bytes_ = 1;
  bool streaming_ = false;  // output is larger than what caches are worth
  std::vector<LaneState> lanes_;
  size_t lanes_done_ = 0;
  std::vector<uint8_t> referenced_;  // per send endpoint: it has been sent references in this run
  bool any_referenced_ = false;

  // Of the step being tried; sized at start() for the widest step.
  std::vector<kernels::Source> sources_;
  std::vector<IncomingMessage> incoming_;  // parallel to sources_
  std::vector<kernels::Sink> sinks_;       // those that bytes are written to
  std::vector<OutgoingMessage> outgoing_;  // one per peer sink
};

}  // namespace tutti::exec
