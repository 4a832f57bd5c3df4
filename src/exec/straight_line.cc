// SPDX-License-Identifier: Apache-2.0
// Resolves a program's lanes for one size, and runs them.
#include "src/exec/straight_line.h"

#include <algorithm>
#include <span>

namespace tutti::exec {
namespace {

using transport::MessageKind;

constexpr uint32_t kEagerPolls = 64;  // without a pause: about the time that a line needs to come

}  // namespace

// Fills one straight line; gives up at the first thing that it is not for.
class StraightLine::Builder {
 public:
  Builder(StraightLine& line, const Program& program, const Connections& connections,
          const Tiling& tiling, const CallSize& size, const MessagePolicy& policy) noexcept
      : line_(line),
        program_(program),
        connections_(connections),
        tiling_(tiling),
        size_(size),
        policy_(policy),
        elem_bytes_(size_of(size.dtype)) {}

  // What waits for nobody comes first: then no lane keeps another one from sending.
  bool build() noexcept {
    const bool fits = static_cast<uint64_t>(program_.shape.n_ranks) * size_.block_count <
                      UINT32_MAX / elem_bytes_;
    const size_t n_lanes = program_.lanes.size();
    if (n_lanes > kMostLanes || tiling_.n_tiles > kMostSteps || !fits) return false;
    for (size_t lane = 0; lane < n_lanes; ++lane) {
      if (program_.lanes[lane].n_steps > UINT8_MAX || !add_ready(lane)) return false;
    }
    while (true) {
      bool added = false;
      for (size_t lane = 0; lane < n_lanes; ++lane) {
        if (ended(lane) || !may_go_on(lane)) continue;
        added = true;
        if (!add(lane) || !add_ready(lane)) return false;
      }
      // The lane that is furthest behind may always go on.
      if (!added) return !line_.refers_ || add_drain();
    }
  }

 private:
  using Kind = CompiledOperand::Kind;
  struct Extent {
    size_t offset = 0;  // elements from the block's start
    size_t count = 0;
  };

  Extent extent_of(const CompiledStep& step, size_t tile) const noexcept {
    const size_t tile_begin = tile * tiling_.tile_elems;
    const size_t begin = tile_begin + static_cast<size_t>(step.chunk) * tiling_.chunk_elems;
    const size_t end = std::min(size_.block_count, tile_begin + tiling_.tile_elems);
    if (step.signal || begin >= end) return {};
    return {begin, std::min(end - begin, tiling_.chunk_elems)};
  }

  bool ended(size_t lane) const noexcept {
    return tile_of(lane) == tiling_.n_tiles || program_.lanes[lane].n_steps == 0;
  }
  // The tile of the lane's next step.
  size_t tile_of(size_t lane) const noexcept {
    return next_[lane] / std::max(1u, program_.lanes[lane].n_steps);
  }
  // As Operation::may_start_tile().
  bool may_go_on(size_t lane) const noexcept {
    const size_t tile = tile_of(lane);
    const auto window = static_cast<size_t>(program_.tiles_in_flight);
    if (tile < window) return true;
    for (size_t other = 0; other < program_.lanes.size(); ++other) {
      if (tile_of(other) <= tile - window && program_.lanes[other].n_steps != 0) return false;
    }
    return true;
  }

  const CompiledStep& next_step(size_t lane) const noexcept {
    const CompiledLane& code = program_.lanes[lane];
    return program_.steps[code.first_step + next_[lane] % code.n_steps];
  }

  bool receives(const CompiledStep& step) const noexcept {
    const CompiledOperand* const source = program_.operands.data() + step.first_source;
    return std::any_of(source, source + step.n_sources,
                       [](const CompiledOperand& o) { return o.kind == Kind::kPeer; });
  }

  // The lane's next steps, as far as they receive nothing.
  bool add_ready(size_t lane) noexcept {
    while (!ended(lane) && may_go_on(lane) && !receives(next_step(lane))) {
      if (!add(lane)) return false;
    }
    return true;
  }

  // The lane's next step.
  bool add(size_t lane) noexcept {
    const CompiledStep& step = next_step(lane);
    const size_t tile = tile_of(lane);
    const size_t index = next_[lane]++ % program_.lanes[lane].n_steps;
    if (step.n_waits != 0) return false;
    const Extent extent = extent_of(step, tile);
    if (extent.count == 0 && !step.signal) return true;  // both ends of its messages skip it
    if (line_.n_sources_ + step.n_sources > kMostOperands ||
        line_.n_sinks_ + step.n_sinks > kMostOperands) {
      return false;
    }
    Step made{.first_source = line_.n_sources_,
              .first_sink = line_.n_sinks_,
              .n_sources = static_cast<uint8_t>(step.n_sources),
              .n_sinks = static_cast<uint8_t>(step.n_sinks),
              .copies = is_plain_copy(program_, step, size_.op),
              .post = step.post,
              .lane = static_cast<uint8_t>(lane),
              .lane_step = static_cast<uint8_t>(index),
              .tile = static_cast<uint8_t>(tile),
              .count = static_cast<uint32_t>(extent.count),
              .bytes = static_cast<uint32_t>(extent.count * elem_bytes_)};
    const CompiledOperand* operand = program_.operands.data() + step.first_source;
    for (uint16_t i = 0; i < step.n_sources; ++i) {
      if (!add_source(operand[i], extent)) return false;
    }
    operand = program_.operands.data() + step.first_sink;
    for (uint16_t i = 0; i < step.n_sinks; ++i) {
      if (!add_sink(operand[i], extent, made)) return false;
    }
    return append(made);
  }

  // A small copy to a peer and to a local chunk is two steps: what the peer waits for, and what
  // never waits, so that a call is not handed over in between.
  bool append(const Step& step) noexcept {
    const Operand* const sinks = line_.sinks_.data() + step.first_sink;
    const auto is_local = [](const Operand& operand) {
      return operand.from == nullptr && operand.to == nullptr;
    };
    const bool splits = step.copies && step.n_sinks == 2 && step.bytes != 0 &&
                        is_local(line_.sources_[step.first_source]) &&
                        is_local(sinks[0]) != is_local(sinks[1]) &&
                        step.bytes < transport::SlotStores::kMinBytes;
    if (!splits) return append_one(step);
    const uint8_t local = is_local(sinks[0]) ? 0 : 1;
    Step part = step;
    part.n_sinks = 1;
    part.first_sink = static_cast<uint8_t>(step.first_sink + 1 - local);
    if (!append_one(part)) return false;
    part.first_sink = static_cast<uint8_t>(step.first_sink + local);
    return append_one(part);
  }

  bool append_one(const Step& step) noexcept {
    if (line_.n_steps_ == kMostSteps) return false;
    Step& made = line_.steps_[line_.n_steps_++];
    made = step;
    line_.set_form(made);
    return true;
  }

  bool add_drain() noexcept {
    if (line_.n_steps_ == kMostSteps) return false;
    line_.steps_[line_.n_steps_++] = {.form = Form::kDrain};
    return true;
  }

  Operand local(const CompiledOperand& operand, const Extent& extent) const noexcept {
    const size_t block = static_cast<size_t>(operand.block_position) * size_.block_count;
    return {.offset = static_cast<uint32_t>((block + extent.offset) * elem_bytes_),
            .output = operand.kind == Kind::kOutput};
  }

  bool add_source(const CompiledOperand& operand, const Extent& extent) noexcept {
    if (operand.kind == Kind::kScratch) return false;
    line_.from_[line_.n_sources_].pre = operand.pre;
    Operand& source = line_.sources_[line_.n_sources_++];
    if (operand.kind != Kind::kPeer) {
      source = local(operand, extent);
      return true;
    }
    source = {.from = connections_.recv[operand.endpoint]};
    return !source.from->needs_progress;
  }

  bool add_sink(const CompiledOperand& operand, const Extent& extent, const Step& step) noexcept {
    if (operand.kind == Kind::kScratch) return false;
    Operand& sink = line_.sinks_[line_.n_sinks_++];
    if (operand.kind != Kind::kPeer) {
      sink = local(operand, extent);
      return true;
    }
    const bool fits_inline = policy_.allow_inline && step.bytes <= transport::kInlineBytes;
    sink = {.to = connections_.send[operand.endpoint], .staged = step.bytes > 0 && !fits_inline};
    line_.sent_mask_ |=
        1u << static_cast<unsigned>(sink.staged ? MessageKind::kStaged : MessageKind::kInline);
    if (sink.staged && step.copies && step.bytes >= policy_.direct_min_bytes) {
      const Operand& source = line_.sources_[step.first_source];
      const Endpoint& to = program_.send_peers[operand.endpoint];
      const bool may_refer = source.from == nullptr && !sink.to->by_value;
      sink.refer_in_place = may_refer && to.reference_safe_in_place;
      sink.refer_out_of_place = may_refer && to.reference_safe_out_of_place;
      line_.refers_ |= sink.refer_in_place || sink.refer_out_of_place;
    }
    return !sink.to->needs_progress && step.bytes < policy_.pull_min_bytes;
  }

  StraightLine& line_;
  const Program& program_;
  const Connections& connections_;
  const Tiling& tiling_;
  const CallSize& size_;
  const MessagePolicy& policy_;
  const size_t elem_bytes_;
  std::array<uint32_t, kMostLanes> next_{};  // by lane
};

bool StraightLine::make(const Program& program, const Connections& connections,
                        const Tiling& tiling, const CallSize& size, const MessagePolicy& policy,
                        int32_t post_divisor) noexcept {
  n_steps_ = 0;
  n_sources_ = n_sinks_ = 0;
  folds_ = refers_ = is_pair_ = false;
  sent_mask_ = referred_mask_ = 0;
  kernel_ = kernels::reduce_copy_for(size.dtype, size.op);
  fold_pair_ = kernels::fold_pair_for(size.dtype, size.op);
  scaling_.post_divisor = post_divisor;
  if (!Builder(*this, program, connections, tiling, size, policy).build()) n_steps_ = 0;
  set_pair();
  return n_steps_ != 0;
}

void StraightLine::set_pair() noexcept {
  const Step& first = steps_[0];
  const Step& last = steps_[1];
  is_pair_ = n_steps_ == 2 && first.form == Form::kSend && last.form == Form::kFold &&
             !first.output && !last.output && first.counted == last.counted &&
             first.bytes == last.bytes && first.bytes != 0;
  if (!is_pair_) return;
  is_pair_ = fold_pair_ != nullptr && first.send->peer_bell != nullptr &&
             last.receive->peer_bell != nullptr;
  pair_.set({.send = first.send,
             .receive = last.receive,
             .counted = first.counted,
             .fold = fold_pair_,
             .bytes = first.bytes,
             .sent = first.from,
             .own = last.from,
             .to = last.to,
             .peer_second = last.second});
}

inline const std::byte* StraightLine::local(const Operand& operand,
                                            const CallBuffers& buffers) noexcept {
  return (operand.output ? buffers.output : buffers.input) + operand.offset;
}

// False: it has not come, or is for an Operation to look at.
inline bool StraightLine::find(const Step& step, size_t source, const CallBuffers& buffers,
                               uint32_t signature) noexcept {
  const Operand& operand = sources_[source];
  IncomingMessage& message = incoming_[source];
  if (operand.from == nullptr) {
    message = {};
    from_[source].data = local(operand, buffers);
    return true;
  }
  Status failure;
  const Arrival arrival =
      peek_message(*operand.from, -1, signature, step.bytes, &message, &failure);
  from_[source].data = message.data;
  return arrival == Arrival::kMessage && message.data != nullptr;
}

// False: there is no room for the message.
inline bool StraightLine::place(const Step& step, size_t sink,
                                const CallBuffers& buffers) noexcept {
  const Operand& operand = sinks_[sink];
  OutgoingMessage& message = outgoing_[sink];
  message.connection = operand.to;
  if (operand.to == nullptr) {
    to_[sink] = {buffers.output + operand.offset, false};  // never the input, as is proved
    return true;
  }
  transport::SendView& view = operand.to->view;
  message.kind = operand.staged ? MessageKind::kStaged : MessageKind::kInline;
  if (!operand.staged) {
    to_[sink] = {view.line().inline_bytes, false};
    return view.line_free();
  }
  const bool may_refer = buffers.in_place ? operand.refer_in_place : operand.refer_out_of_place;
  if (may_refer && operand.to->reference(from_[step.first_source].data, step.bytes, false,
                                         &message.kind, &message.reference)) {
    to_[sink].data = nullptr;
    return view.line_free();
  }
  message.fell_back = may_refer;
  if (!view.area_free()) return false;
  to_[sink] = {view.area(step.bytes), operand.to->stores.begin(step.bytes)};
  return true;
}

// False: what was read does not count, for its sender has given up.
inline bool StraightLine::move(const Step& step) noexcept {
  if (step.bytes == 0 || step.n_sinks == 0 || step.n_sources == 0) return true;
  const std::span<const IncomingMessage> incoming{incoming_.data() + step.first_source,
                                                  step.n_sources};
  if (!begin_reading(incoming).ok()) return false;
  const kernels::Source* const from = from_.data() + step.first_source;
  const kernels::Sink* const to = to_.data() + step.first_sink;
  if (step.copies) {
    size_t n_sinks = 0;
    std::array<kernels::Sink, kMostOperands> sinks;
    for (size_t i = 0; i < step.n_sinks; ++i) {
      // References move nothing; onto itself (one's own block in place): see Operation::run_step.
      if (to[i].data != nullptr && to[i].data != from->data) sinks[n_sinks++] = to[i];
    }
    if (n_sinks == 1) {
      kernels::copy_bytes(sinks[0].data, from->data, step.bytes, sinks[0].streaming);
    } else if (n_sinks != 0) {
      kernel_({.sources = from,
               .n_sources = 1,
               .sinks = sinks.data(),
               .n_sinks = n_sinks,
               .count = step.count,
               .scaling = &scaling_});
    }
  } else {
    kernel_({.sources = from,
             .n_sources = step.n_sources,
             .sinks = to,
             .n_sinks = step.n_sinks,
             .count = step.count,
             .post = step.post,
             .scaling = &scaling_});
  }
  return end_reading(incoming).ok();
}

inline void StraightLine::commit(const Step& step, uint32_t signature) noexcept {
  SentKinds sent;
  for (size_t i = step.first_sink; i < size_t{step.first_sink} + step.n_sinks; ++i) {
    if (outgoing_[i].connection != nullptr) {
      commit_message(outgoing_[i], signature, step.bytes, sent);
    }
  }
  constexpr uint32_t kReferences = 1u << static_cast<unsigned>(MessageKind::kMapped);
  referred_mask_ |= sent.mask & kReferences;
}

inline void StraightLine::release(const Step& step) const noexcept {
  for (size_t i = step.first_source; i < size_t{step.first_source} + step.n_sources; ++i) {
    if (incoming_[i].connection != nullptr) release_message(incoming_[i], step.bytes);
  }
}

bool StraightLine::drained() const noexcept {
  if (referred_mask_ == 0 || planted(PlantedBug::kReferencesForgotten)) return true;
  return std::all_of(sinks_.begin(), sinks_.begin() + n_sinks_, [](const Operand& sink) {
    return sink.to == nullptr || sink.to->view.drained();
  });
}

void StraightLine::set_form(Step& step) noexcept {
  const bool from_nothing = step.n_sources == 0 && step.n_sinks == 1;  // signals
  const bool to_nothing = step.n_sources == 1 && step.n_sinks == 0;
  // Larger ones may be stored past the caches, or referred to.
  if (step.bytes >= transport::SlotStores::kMinBytes || (step.n_sinks != 1 && !to_nothing)) return;
  if (step.bytes == 0 && !from_nothing && !to_nothing) return;
  const auto counters_of = [](transport::Counted& connection) {
    return &connection.traffic().protocols[0];
  };
  const Operand* const source = sources_.data() + step.first_source;
  const Operand* const sink = sinks_.data() + step.first_sink;
  const bool sends = !to_nothing && sink->to != nullptr;
  step.to = sends || to_nothing ? 0 : sink->offset;
  if (sends) {
    const bool refers = sink->refer_in_place || sink->refer_out_of_place;
    if (refers || (!from_nothing && (!step.copies || source->from != nullptr))) return;
    step.form = sink->staged ? Form::kStage : Form::kSend;
    step.output = !from_nothing && source->output;
    step.from = from_nothing ? 0 : source->offset;
    step.send = &sink->to->view;
    step.counted = counters_of(*sink->to);
    return;
  }
  if (step.copies && source->from == nullptr) {
    step.form = Form::kCopy;
    step.output = source->output;
    step.from = source->offset;
    return;
  }
  step.second = step.n_sources == 2 && source[0].from == nullptr;
  const Operand& theirs = source[step.second ? 1 : 0];
  if (theirs.from == nullptr) return;
  step.receive = &theirs.from->view;
  step.counted = counters_of(*theirs.from);
  if (step.copies || to_nothing) step.form = Form::kReceive;
  if (step.n_sources != 2 || folds_) return;
  const Operand& ours = source[step.second ? 0 : 1];
  if (ours.from != nullptr) return;
  folds_ = true;
  fold_ = {.sources = from_.data() + step.first_source,
           .n_sources = 2,
           .sinks = to_.data() + step.first_sink,
           .n_sinks = 1,
           .count = step.count,
           .post = step.post,
           .scaling = &scaling_};
  step.form = Form::kFold;
  step.output = ours.output;
  step.from = ours.offset;
}

// Fewer bytes than are worth timing.
bool StraightLine::stage(const Step& step, const CallBuffers& buffers,
                         uint32_t signature) noexcept {
  transport::SendView& view = *step.send;
  if (!view.area_free()) return false;
  const size_t bytes = step.bytes;
  kernels::copy_bytes(view.area(bytes), (step.output ? buffers.output : buffers.input) + step.from,
                      bytes, false);
  view.commit_staged(message_signature(signature, bytes), bytes);
  count_sent(step, MessageKind::kStaged);
  return true;
}

// False: nothing has been done that anybody sees.
bool StraightLine::run_any(const Step& step, const CallBuffers& buffers,
                           uint32_t signature) noexcept {
  for (size_t i = step.first_source; i < size_t{step.first_source} + step.n_sources; ++i) {
    if (!find(step, i, buffers, signature)) return false;
  }
  for (size_t i = step.first_sink; i < size_t{step.first_sink} + step.n_sinks; ++i) {
    if (!place(step, i, buffers)) return false;
  }
  if (planted(PlantedBug::kCommitBeforeData)) commit(step, signature);
  if (planted(PlantedBug::kReleaseBeforeRead)) release(step);
  if (!move(step)) return false;
  if (!planted(PlantedBug::kCommitBeforeData)) commit(step, signature);
  if (!planted(PlantedBug::kReleaseBeforeRead)) release(step);
  return true;
}

uint32_t StraightLine::poll(const CallBuffers& buffers, uint32_t signature, uint32_t next,
                            uint32_t polls) noexcept {
  const uint32_t pausing = polls > kEagerPolls ? polls - kEagerPolls : 0;
  for (; polls != 0; --polls) {
    next = run(buffers, signature, next);
    if (next == n_steps_) return next;
    if (polls <= pausing) cpu_relax();
  }
  return next;
}

}  // namespace tutti::exec
