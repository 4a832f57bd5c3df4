// SPDX-License-Identifier: Apache-2.0
// Resolves a program's lanes for one size, and runs them.
#include "src/exec/straight_line.h"

#include <algorithm>

namespace tutti::exec {
namespace {

using transport::MessageKind;
using transport::Peeked;

constexpr uint32_t kEagerPolls = 64;  // without a pause: about the time that a line needs to come

void count_sent(transport::SendConnection& to, MessageKind kind, size_t bytes) noexcept {
  PeerTraffic::Protocol& counted = to.traffic().protocols[static_cast<size_t>(kind)];
  add(counted.sent_messages, 1);
  add(counted.sent_bytes, bytes);
}

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
    if (program_.lanes.size() > kMostLanes || tiling_.n_tiles != 1 || !fits) return false;
    for (size_t lane = 0; lane < program_.lanes.size(); ++lane) {
      if (program_.lanes[lane].n_steps > UINT8_MAX || !add_ready(lane)) return false;
    }
    while (true) {
      bool added = false;
      for (size_t lane = 0; lane < program_.lanes.size(); ++lane) {
        if (next_[lane] == program_.lanes[lane].n_steps) continue;
        added = true;
        if (!add(lane) || !add_ready(lane)) return false;
      }
      if (!added) return true;
    }
  }

 private:
  using Kind = CompiledOperand::Kind;
  struct Extent {
    size_t offset = 0;  // elements from the block's start
    size_t count = 0;
  };

  Extent extent_of(const CompiledStep& step) const noexcept {
    const size_t begin = static_cast<size_t>(step.chunk) * tiling_.chunk_elems;
    const size_t end = std::min(size_.block_count, tiling_.tile_elems);
    if (step.signal || begin >= end) return {};
    return {begin, std::min(end - begin, tiling_.chunk_elems)};
  }

  const CompiledStep& next_step(size_t lane) const noexcept {
    return program_.steps[program_.lanes[lane].first_step + next_[lane]];
  }

  bool receives(const CompiledStep& step) const noexcept {
    const CompiledOperand* const source = program_.operands.data() + step.first_source;
    return std::any_of(source, source + step.n_sources,
                       [](const CompiledOperand& o) { return o.kind == Kind::kPeer; });
  }

  // The lane's next steps, as far as they receive nothing.
  bool add_ready(size_t lane) noexcept {
    while (next_[lane] != program_.lanes[lane].n_steps && !receives(next_step(lane))) {
      if (!add(lane)) return false;
    }
    return true;
  }

  // The lane's next step.
  bool add(size_t lane) noexcept {
    const CompiledStep& step = next_step(lane);
    const size_t index = next_[lane]++;
    if (step.n_waits != 0) return false;
    const Extent extent = extent_of(step);
    if (extent.count == 0 && !step.signal) return true;  // both ends of its messages skip it
    if (line_.n_steps_ == kMostSteps || line_.n_sources_ + step.n_sources > kMostOperands ||
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
    line_.set_form(made);
    line_.steps_[line_.n_steps_++] = made;
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
    const bool referable = step.copies && (step.bytes >= policy_.direct_min_bytes ||
                                           step.bytes >= policy_.pull_min_bytes);
    return !sink.to->needs_progress && !(sink.staged && referable);
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
  folds_ = false;
  sent_mask_ = 0;
  kernel_ = kernels::reduce_copy_for(size.dtype, size.op);
  scaling_.post_divisor = post_divisor;
  if (!Builder(*this, program, connections, tiling, size, policy).build()) n_steps_ = 0;
  return n_steps_ != 0;
}

inline const std::byte* StraightLine::local(const Operand& operand,
                                            const CallBuffers& buffers) noexcept {
  return (operand.output ? buffers.output : buffers.input) + operand.offset;
}

// Null: it has not come, or is for an Operation to look at.
inline const std::byte* StraightLine::find(const Operand& source, const CallBuffers& buffers,
                                           uint32_t signature, size_t bytes) noexcept {
  if (source.from == nullptr) return local(source, buffers);
  MessageKind kind;
  const transport::RecvView& view = source.from->view;
  if (view.peek(message_signature(signature, bytes), &kind) != Peeked::kMessage) return nullptr;
  const transport::SlotLine& line = view.line();
  if (kind == MessageKind::kInline) [[likely]]
    return line.inline_bytes;
  if (kind != MessageKind::kStaged || line.staged.bytes != bytes) return nullptr;
  return view.area(line.staged.area);
}

// Null: there is no room for the message.
inline std::byte* StraightLine::place(const Operand& sink, const CallBuffers& buffers) noexcept {
  if (sink.to == nullptr) return buffers.output + sink.offset;  // never the input, as is proved
  transport::SendView& view = sink.to->view;
  if (sink.staged) return view.area_free() ? view.area() : nullptr;
  return view.line_free() ? view.line().inline_bytes : nullptr;
}

inline void StraightLine::move(const Step& step) const noexcept {
  if (step.bytes == 0 || step.n_sinks == 0 || step.n_sources == 0) return;
  const kernels::Source* const from = from_.data() + step.first_source;
  const kernels::Sink* const to = to_.data() + step.first_sink;
  if (!step.copies) {
    kernel_({.sources = from,
             .n_sources = step.n_sources,
             .sinks = to,
             .n_sinks = step.n_sinks,
             .count = step.count,
             .post = step.post,
             .scaling = &scaling_});
    return;
  }
  for (size_t i = 0; i < step.n_sinks; ++i) {
    // Onto itself (one's own block in place): see Operation::run_step.
    if (to[i].data == from->data) continue;
    kernels::copy_bytes(to[i].data, from->data, step.bytes, false);
  }
}

inline void StraightLine::commit(const Step& step, uint32_t signature) const noexcept {
  const uint32_t signed_length = message_signature(signature, step.bytes);
  const Operand* sink = sinks_.data() + step.first_sink;
  for (size_t i = 0; i < step.n_sinks; ++i, ++sink) {
    if (sink->to == nullptr) continue;
    MessageKind kind = MessageKind::kInline;
    if (sink->staged) {
      kind = MessageKind::kStaged;
      sink->to->view.commit_staged(signed_length, step.bytes);
    } else {
      sink->to->view.commit(signed_length, kind);
    }
    count_sent(*sink->to, kind, step.bytes);
  }
}

inline void StraightLine::release(const Step& step) const noexcept {
  const Operand* source = sources_.data() + step.first_source;
  for (size_t i = 0; i < step.n_sources; ++i, ++source) {
    if (source->from == nullptr) continue;
    // Relaxed: find() has acquired this header.
    const uint64_t header = source->from->view.line().header.load(std::memory_order_relaxed);
    release_message({.connection = source->from, .kind = static_cast<MessageKind>(header & 3)},
                    step.bytes);
  }
}

void StraightLine::set_form(Step& step) noexcept {
  if (step.n_sinks != 1 || step.bytes == 0 || step.bytes > transport::kInlineBytes) return;
  const Operand* const source = sources_.data() + step.first_source;
  const Operand& sink = sinks_[step.first_sink];
  const auto inline_of = [](transport::Counted& connection) {
    return &connection.traffic().protocols[static_cast<size_t>(MessageKind::kInline)];
  };
  step.to = sink.offset;
  if (sink.to != nullptr) {
    if (!step.copies || source->from != nullptr || sink.staged) return;
    step.form = Form::kSend;
    step.output = source->output;
    step.from = source->offset;
    step.send = &sink.to->view;
    step.counted = inline_of(*sink.to);
    return;
  }
  // What comes from a peer is inline like what goes to it; where it is not, arrived() sees it.
  step.second = step.n_sources == 2 && source[0].from == nullptr;
  const Operand& theirs = source[step.second ? 1 : 0];
  if (theirs.from == nullptr) return;
  step.receive = &theirs.from->view;
  step.counted = inline_of(*theirs.from);
  if (step.copies) step.form = Form::kReceive;
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

// False: nothing has been done.
bool StraightLine::run_any(const Step& step, const CallBuffers& buffers,
                           uint32_t signature) noexcept {
  for (size_t i = step.first_source; i < size_t{step.first_source} + step.n_sources; ++i) {
    from_[i].data = find(sources_[i], buffers, signature, step.bytes);
    if (from_[i].data == nullptr) return false;
  }
  for (size_t i = step.first_sink; i < size_t{step.first_sink} + step.n_sinks; ++i) {
    to_[i].data = place(sinks_[i], buffers);
    if (to_[i].data == nullptr) return false;
  }
  if (planted(PlantedBug::kCommitBeforeData)) commit(step, signature);
  if (planted(PlantedBug::kReleaseBeforeRead)) release(step);
  move(step);
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
