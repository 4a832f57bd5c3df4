// SPDX-License-Identifier: Apache-2.0
// The host executor: runs the lanes of a compiled program, one step at a time, without ever
// blocking.
#include "src/exec/operation.h"

#include <algorithm>

namespace tutti::exec {
namespace {

using transport::MessageKind;

constexpr size_t kChunkAlignBytes = 64;  // chunks start on cache lines of their block

constexpr size_t divide_up(size_t a, size_t b) noexcept { return (a + b - 1) / b; }

size_t largest_block(const plan::Shape& shape, const Binding& binding) noexcept {
  if (shape.chunks_per_block == 0) return 0;
  if (binding.block_counts == nullptr) return binding.block_count;
  const size_t n = static_cast<size_t>(shape.n_ranks) *
                   (shape.collective == plan::Collective::kAllToAll ? 2 : 1);
  return *std::max_element(binding.block_counts, binding.block_counts + n);
}

// Some ranks only send while others only receive; so they work at the same time on different
// pieces.
bool flows_one_way(plan::Collective collective) noexcept { return plan::has_root(collective); }

}  // namespace

Tiling make_tiling(const plan::Shape& shape, const Binding& binding, size_t max_chunk_bytes,
                   bool counts_agreed) noexcept {
  Tiling tiling;
  const auto chunks = static_cast<size_t>(shape.chunks_per_block);
  if (chunks == 0) return tiling;
  const size_t elem = size_of(binding.dtype);
  const size_t align = kChunkAlignBytes / elem;
  const size_t largest = largest_block(shape, binding);
  tiling.chunk_elems = max_chunk_bytes / elem / align * align;
  if (counts_agreed && flows_one_way(shape.collective)) {
    tiling.chunk_elems = pipelined_bytes(largest * elem, max_chunk_bytes) / elem / align * align;
  }
  if (counts_agreed) {
    const size_t even = divide_up(divide_up(largest, chunks), align) * align;
    tiling.chunk_elems = std::clamp(even, align, tiling.chunk_elems);
  }
  tiling.tile_elems = tiling.chunk_elems * chunks;
  tiling.n_tiles =
      static_cast<uint32_t>(std::max<size_t>(1, divide_up(largest, tiling.tile_elems)));
  return tiling;
}

size_t scratch_bytes(const Program& program, const Tiling& tiling, DType dtype) noexcept {
  return static_cast<size_t>(program.scratch_chunks) * program.tiles_in_flight *
         tiling.chunk_elems * size_of(dtype);
}

size_t bounce_bytes(const Program& program) noexcept { return program.most_sources * kBouncePiece; }

void Operation::start(const Launch& launch) {
  launch_ = launch;
  const Program& program = *launch.program;
  const Binding& binding = launch.binding;
  kernel_ = kernels::reduce_copy_for(binding.dtype, binding.op);
  elem_bytes_ = size_of(binding.dtype);
  const auto n_out =
      static_cast<size_t>(plan::blocks_in(program.shape, program.rank, plan::Buffer::kOutput));
  streaming_ = n_out * launch.tiling.n_tiles * launch.tiling.tile_elems * elem_bytes_ >=
               launch.policy.streaming_min_bytes;
  lanes_.assign(program.lanes.size(), LaneState{});
  lanes_done_ = 0;
  referenced_.assign(program.send_peers.size(), 0);
  any_referenced_ = false;
  sources_.reserve(program.most_sources);
  incoming_.reserve(program.most_sources);
  sinks_.reserve(program.most_sinks);
  outgoing_.reserve(program.most_sinks);
}

Status Operation::progress(bool* advanced) noexcept {
  const Program& program = *launch_.program;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    LaneState& lane = lanes_[i];
    if (lane.tile == launch_.tiling.n_tiles) continue;
    const Status status = run_lane(lane, program.lanes[i], advanced);
    if (!status.ok()) return status;
    if (lane.tile == launch_.tiling.n_tiles) ++lanes_done_;
  }
  if (lanes_done_ < lanes_.size()) return kInProgressStatus;
  Status failure;
  const bool through = references_consumed(&failure);
  return !failure.ok() ? failure : through ? kOkStatus : kInProgressStatus;
}

// Runs the lane until it has to wait or has finished its last tile.
Status Operation::run_lane(LaneState& lane, const CompiledLane& code, bool* advanced) noexcept {
  const uint32_t n_tiles = launch_.tiling.n_tiles;
  while (lane.tile < n_tiles) {
    if (lane.step == code.n_steps) {
      lane.step = 0;
      ++lane.tile;
      continue;
    }
    if (lane.step == 0 && !may_start_tile(lane.tile)) return kOkStatus;
    const CompiledStep& step = launch_.program->steps[code.first_step + lane.step];
    if (step.n_waits != 0 && !waits_done(step, lane.tile)) return kOkStatus;
    Status failure;
    const Outcome outcome = run_step(step, lane.tile, &failure);
    if (outcome == Outcome::kFailed) return failure;
    if (outcome == Outcome::kBlocked) return kOkStatus;
    ++lane.step;
    *advanced = true;
  }
  return kOkStatus;
}

// Scratch exists tiles_in_flight times: every lane must have left tile - tiles_in_flight.
bool Operation::may_start_tile(uint32_t tile) const noexcept {
  const auto window = static_cast<uint32_t>(launch_.program->tiles_in_flight) +
                      (planted(PlantedBug::kScratchWindowOff) ? 1 : 0);
  if (tile < window) return true;
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [&](const LaneState& lane) { return lane.tile > tile - window; });
}

bool Operation::waits_done(const CompiledStep& step, uint32_t tile) const noexcept {
  if (planted(PlantedBug::kWaitIgnored)) return true;
  const plan::Wait* wait = launch_.program->waits.data() + step.first_wait;
  return std::all_of(wait, wait + step.n_waits, [&](const plan::Wait& w) {
    const LaneState& other = lanes_[w.lane];
    return other.tile > tile || (other.tile == tile && other.step > w.step);
  });
}

Span Operation::span_of(const CompiledStep& step, uint32_t tile) const noexcept {
  if (step.signal) return {};
  const Binding& binding = launch_.binding;
  const size_t block =
      binding.block_counts != nullptr ? binding.block_counts[step.block] : binding.block_count;
  const size_t tile_begin = size_t{tile} * launch_.tiling.tile_elems;
  const size_t tile_end = std::min(block, tile_begin + launch_.tiling.tile_elems);
  const size_t begin = tile_begin + static_cast<size_t>(step.chunk) * launch_.tiling.chunk_elems;
  if (begin >= tile_end) return {};
  return {begin, std::min(tile_end - begin, launch_.tiling.chunk_elems)};
}

Operation::Outcome Operation::run_step(const CompiledStep& step, uint32_t tile,
                                       Status* failure) noexcept {
  const Span span = span_of(step, tile);
  if (span.count == 0 && !step.signal) return Outcome::kDone;  // both ends of its messages skip it
  Outcome outcome = gather_sources(step, span, tile, failure);
  if (outcome != Outcome::kDone) return outcome;
  outcome = gather_sinks(step, span, tile, failure);
  if (outcome != Outcome::kDone) return outcome;
  if (is_plain_copy(*launch_.program, step, launch_.binding.op)) {
    // A copy onto itself (one's own block in place) must not touch memory that peers may be
    // reading: the proof counts on it.
    std::erase_if(sinks_, [&](const kernels::Sink& sink) { return sink.data == sources_[0].data; });
  }
  const size_t bytes = span.count * elem_bytes_;
  if (planted(PlantedBug::kCommitBeforeData)) commit_sinks(bytes);
  if (planted(PlantedBug::kReleaseBeforeRead)) release_sources(bytes);
  if (!sources_.empty() && !sinks_.empty()) {
    *failure = read_and_move(step, span);
    if (!failure->ok()) return Outcome::kFailed;
  }
  if (!planted(PlantedBug::kCommitBeforeData)) commit_sinks(bytes);
  if (!planted(PlantedBug::kReleaseBeforeRead)) release_sources(bytes);
  return Outcome::kDone;
}

std::byte* Operation::local(const CompiledOperand& operand, const Span& span,
                            uint32_t tile) const noexcept {
  using Kind = CompiledOperand::Kind;
  const Binding& b = launch_.binding;
  if (operand.kind == Kind::kScratch) {
    const Program& program = *launch_.program;
    const size_t slot =
        size_t{tile % static_cast<uint32_t>(program.tiles_in_flight)} * program.scratch_chunks +
        static_cast<size_t>(operand.chunk);
    return launch_.scratch + slot * launch_.tiling.chunk_elems * elem_bytes_;
  }
  const bool input = operand.kind == Kind::kInput;
  const size_t* offsets = input ? b.input_offsets : b.output_offsets;
  const auto position = static_cast<size_t>(operand.block_position);
  const size_t block = offsets != nullptr ? offsets[position] : position * b.block_count;
  // The input is never a sink (the verifier proves it), so dropping const here writes nothing.
  std::byte* base = input ? const_cast<std::byte*>(b.input) : b.output;
  return base + (block + span.offset) * elem_bytes_;
}

Operation::Outcome Operation::gather_sources(const CompiledStep& step, const Span& span,
                                             uint32_t tile, Status* failure) noexcept {
  sources_.clear();
  incoming_.clear();
  const CompiledOperand* operand = launch_.program->operands.data() + step.first_source;
  for (uint16_t i = 0; i < step.n_sources; ++i, ++operand) {
    IncomingMessage message;
    if (operand->kind == CompiledOperand::Kind::kPeer) {
      const Arrival arrival =
          peek_message(*launch_.connections->recv[operand->endpoint],
                       launch_.program->recv_peers[operand->endpoint].peer, launch_.signature,
                       span.count * elem_bytes_, &message, failure);
      if (arrival == Arrival::kNothing) return Outcome::kBlocked;
      if (arrival == Arrival::kFailed) return Outcome::kFailed;
      sources_.push_back({message.data, operand->pre});
    } else {
      sources_.push_back({local(*operand, span, tile), operand->pre});
    }
    incoming_.push_back(message);
  }
  return Outcome::kDone;
}

// Bytes may stay where they are when the step only copies an input or output chunk and the proof
// covers this mode.
bool Operation::may_reference(const CompiledStep& step, const Endpoint& to,
                              size_t bytes) const noexcept {
  const MessagePolicy& policy = launch_.policy;
  if (bytes < policy.direct_min_bytes && bytes < policy.pull_min_bytes) return false;
  if (!is_plain_copy(*launch_.program, step, launch_.binding.op)) return false;
  const CompiledOperand& source = launch_.program->operands[step.first_source];
  if (source.kind != CompiledOperand::Kind::kInput && source.kind != CompiledOperand::Kind::kOutput)
    return false;
  return launch_.binding.in_place ? to.reference_safe_in_place : to.reference_safe_out_of_place;
}

Operation::Outcome Operation::gather_sinks(const CompiledStep& step, const Span& span,
                                           uint32_t tile, Status* failure) noexcept {
  sinks_.clear();
  outgoing_.clear();
  const size_t bytes = span.count * elem_bytes_;
  const CompiledOperand* operand = launch_.program->operands.data() + step.first_sink;
  for (uint16_t i = 0; i < step.n_sinks; ++i, ++operand) {
    if (operand->kind != CompiledOperand::Kind::kPeer) {
      sinks_.push_back({local(*operand, span, tile), streaming_ && operand->never_read_back});
      continue;
    }
    const Endpoint& to = launch_.program->send_peers[operand->endpoint];
    const void* referable = may_reference(step, to, bytes) ? sources_[0].data : nullptr;
    OutgoingMessage message;
    if (!acquire_message(*launch_.connections->send[operand->endpoint],
                         {bytes, referable, &launch_.policy}, &message, failure)) {
      return failure->ok() ? Outcome::kBlocked : Outcome::kFailed;
    }
    if (message.slot != nullptr) {
      if (bytes != 0) sinks_.push_back({message.slot, message.streaming});
    } else {
      referenced_[operand->endpoint] = 1;
      any_referenced_ = true;
    }
    outgoing_.push_back(message);
  }
  return Outcome::kDone;
}

// What was read from a peer's own memory counts only if the peer still takes part afterwards;
// checked before anything that follows from it is published.
Status Operation::read_and_move(const CompiledStep& step, const Span& span) noexcept {
  Status status = begin_reading(incoming_);
  if (status.ok()) status = move_data(step, span);
  const Status after = end_reading(incoming_);
  return status.ok() ? after : status;
}

Status Operation::move_data(const CompiledStep& step, const Span& span) noexcept {
  const kernels::ReduceCopy call{.sources = sources_.data(),
                                 .n_sources = sources_.size(),
                                 .sinks = sinks_.data(),
                                 .n_sinks = sinks_.size(),
                                 .count = span.count,
                                 .post = step.post,
                                 .scaling = &launch_.binding.scaling};
  const bool pulled = std::any_of(sources_.begin(), sources_.end(),
                                  [](const kernels::Source& s) { return s.data == nullptr; });
  if (pulled && is_plain_copy(*launch_.program, step, launch_.binding.op) && sinks_.size() == 1) {
    transport::RecvConnection& from = *incoming_[0].connection;
    return from.pull(from.view.line().direct, 0, static_cast<std::byte*>(sinks_[0].data),
                     span.count * elem_bytes_);
  }
  if (pulled) return pull_and_reduce(call);
  kernel_(call);
  return kOkStatus;
}

// Reads pulled sources piece by piece into the bounce buffer, so that the kernel finds every
// operand in memory of this process.
Status Operation::pull_and_reduce(const kernels::ReduceCopy& whole) noexcept {
  const size_t piece_elems = kBouncePiece / elem_bytes_;
  for (size_t done = 0; done < whole.count; done += piece_elems) {
    const size_t count = std::min(piece_elems, whole.count - done);
    for (size_t i = 0; i < sources_.size(); ++i) {
      if (incoming_[i].kind != MessageKind::kPulled || incoming_[i].connection == nullptr) continue;
      std::byte* into = launch_.bounce.data() + i * kBouncePiece;
      transport::RecvConnection& connection = *incoming_[i].connection;
      const Status status = connection.pull(connection.view.line().direct, done * elem_bytes_, into,
                                            count * elem_bytes_);
      if (!status.ok()) return status;
      sources_[i].data = into;
    }
    kernels::ReduceCopy piece = whole;
    piece.count = count;
    kernel_(piece);
    const size_t step_bytes = count * elem_bytes_;
    for (kernels::Source& s : sources_) s.data = static_cast<const std::byte*>(s.data) + step_bytes;
    for (kernels::Sink& s : sinks_) s.data = static_cast<std::byte*>(s.data) + step_bytes;
  }
  return kOkStatus;
}

void Operation::commit_sinks(size_t bytes) noexcept {
  for (const OutgoingMessage& message : outgoing_) {
    commit_message(message, launch_.signature, bytes, *launch_.sent);
  }
}

void Operation::release_sources(size_t bytes) noexcept {
  for (const IncomingMessage& message : incoming_) {
    if (message.connection != nullptr) release_message(message, bytes);
  }
}

bool Operation::references_consumed(Status* failure) noexcept {
  if (!any_referenced_ || planted(PlantedBug::kReferencesForgotten)) return true;
  for (size_t i = 0; i < referenced_.size(); ++i) {
    if (referenced_[i] != 0 && !consumed(*launch_.connections->send[i], failure)) return false;
  }
  return true;
}

// The peer that the lane's current step waits for, -1 when it waits for another lane or for
// nothing.
int Operation::blocked_on(const LaneState& lane, const CompiledLane& code) const noexcept {
  if (lane.step == code.n_steps) return -1;
  if (lane.step == 0 && !may_start_tile(lane.tile)) return -1;
  const Program& program = *launch_.program;
  const CompiledStep& step = program.steps[code.first_step + lane.step];
  if (!waits_done(step, lane.tile)) return -1;
  const Span span = span_of(step, lane.tile);
  if (span.count == 0 && !step.signal) return -1;
  const size_t bytes = span.count * elem_bytes_;
  const CompiledOperand* operand = program.operands.data() + step.first_source;
  for (uint16_t i = 0; i < step.n_sources; ++i, ++operand) {
    if (operand->kind != CompiledOperand::Kind::kPeer) continue;
    MessageKind kind;
    const transport::RecvView& view = launch_.connections->recv[operand->endpoint]->view;
    if (view.peek(message_signature(launch_.signature, bytes), &kind) ==
        transport::Peeked::kNothing) {
      return program.recv_peers[operand->endpoint].peer;
    }
  }
  operand = program.operands.data() + step.first_sink;
  for (uint16_t i = 0; i < step.n_sinks; ++i, ++operand) {
    if (operand->kind != CompiledOperand::Kind::kPeer) continue;
    if (!launch_.connections->send[operand->endpoint]->view.area_free()) {
      return program.send_peers[operand->endpoint].peer;
    }
  }
  return -1;
}

int Operation::waiting_for() const noexcept {
  const Program& program = *launch_.program;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].tile == launch_.tiling.n_tiles) continue;
    const int peer = blocked_on(lanes_[i], program.lanes[i]);
    if (peer >= 0) return peer;
  }
  for (size_t i = 0; i < referenced_.size(); ++i) {
    if (referenced_[i] != 0 && !launch_.connections->send[i]->view.drained())
      return program.send_peers[i].peer;
  }
  return -1;
}

bool Operation::needs(int rank) const noexcept {
  const Program& program = *launch_.program;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (lanes_[i].tile < launch_.tiling.n_tiles && blocked_on(lanes_[i], program.lanes[i]) == rank)
      return true;
  }
  for (size_t i = 0; i < referenced_.size(); ++i) {
    if (referenced_[i] != 0 && program.send_peers[i].peer == rank &&
        !launch_.connections->send[i]->view.drained()) {
      return true;
    }
  }
  return false;
}

}  // namespace tutti::exec
