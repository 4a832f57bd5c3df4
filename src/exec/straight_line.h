// SPDX-License-Identifier: Apache-2.0
// The short way through a compiled program: a small call's steps one after the other, with
// everything resolved that does not depend on the call's buffers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "src/exec/operation.h"
#include "src/exec/pair_exchange.h"

namespace tutti::exec {

// What the calls have in common that one straight line is for.
struct CallSize {
  size_t block_count = 0;  // elements of every block
  DType dtype = DType::kInt8;
  Op op = Op::kSum;
};

// A call's buffers, as in Binding.
struct CallBuffers {
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  bool in_place = false;
};

// Made from a program whose lanes do not wait for each other, for calls of a few tiles, whose
// messages nobody pulls, and which need no scratch: then nothing is left to be looked up, and each
// step is a few dozen instructions. Its last step waits until references of ours have been
// consumed, if it may send any. What it does to the connections is what Operation
// does, so ranks may differ in which of the two they use, and a call may change over from this to
// an Operation between two steps. Holds everything in itself.
class StraightLine {
 public:
  StraightLine() = default;
  StraightLine(const StraightLine&) = delete;
  StraightLine& operator=(const StraightLine&) = delete;
  // False, and nothing to run, when the program is not of that form. The connections outlive it.
  // `post_divisor`: see kernels::Scaling.
  bool make(const Program& program, const Connections& connections, const Tiling& tiling,
            const CallSize& size, const MessagePolicy& policy, int32_t post_divisor) noexcept;

  uint32_t n_steps() const noexcept { return n_steps_; }
  // Which step of which lane of the program it is; not for the one that waits for references.
  struct Place {
    uint32_t lane = 0;
    uint32_t tile = 0;
    uint32_t step = 0;
  };
  Place place_of(uint32_t step) const noexcept {
    return {steps_[step].lane, steps_[step].tile, steps_[step].lane_step};
  }

  // Before the first step.
  void start() noexcept { referred_mask_ = 0; }
  // Runs the steps from `next` on until one has to wait; returns that step, or n_steps(). Whatever
  // is unusual (a mismatch, a broken connection) counts as waiting: an Operation that goes on from
  // that step knows what to do.
  [[gnu::always_inline]] uint32_t run(const CallBuffers& buffers, uint32_t signature,
                                      uint32_t next) noexcept {
    while (next != n_steps_ && run_step(steps_[next], buffers, signature)) ++next;
    return next;
  }
  // The same, looking `polls` times more.
  uint32_t poll(const CallBuffers& buffers, uint32_t signature, uint32_t next,
                uint32_t polls) noexcept;
  // The kinds of message that the last run has sent, as in SentKinds.
  uint32_t sent_mask() const noexcept { return sent_mask_ | referred_mask_; }
  // It may send references, to any of its peers.
  bool refers() const noexcept { return refers_; }
  // The same two steps in a form of its own, which keeps nothing in between: either may be done by
  // it, or by run(). Null: the line is longer, or of another form.
  const PairExchange* pair() const noexcept { return is_pair_ ? &pair_ : nullptr; }

 private:
  static constexpr size_t kMostSteps = 16;
  static constexpr size_t kMostLanes = 16;
  static constexpr size_t kMostOperands = 24;  // sources, and sinks

  // A local chunk, or a peer.
  struct Operand {
    transport::RecvConnection* from = nullptr;
    transport::SendConnection* to = nullptr;
    uint32_t offset = 0;  // local: bytes from the buffer's start
    bool output = false;  // local: of the output
    bool staged = false;  // to a peer: not inline
    // To a peer: by reference where the memory allows it, which is proved for calls of that kind.
    bool refer_in_place = false;
    bool refer_out_of_place = false;
  };
  // What most steps of small calls are. kSend: inline, kStage: through a slot; kFold: of two
  // sources; kCopy: between local chunks; kDrain: references of ours have been consumed.
  enum class Form : uint8_t { kAny, kSend, kStage, kReceive, kFold, kCopy, kDrain };
  struct alignas(64) Step {  // found by a shift
    Form form = Form::kAny;
    bool output = false;  // kSend, kStage, kFold, kCopy: the local source is of the output
    bool second = false;  // kFold: the peer's bytes are the second source
    uint8_t first_source = 0;
    uint8_t first_sink = 0;
    uint8_t n_sources = 0;
    uint8_t n_sinks = 0;
    bool copies = false;  // one source whose bytes do not change
    bool post = false;
    uint8_t lane = 0;
    uint8_t lane_step = 0;
    uint8_t tile = 0;
    uint32_t count = 0;  // elements
    uint32_t bytes = 0;
    uint32_t from = 0;                    // kSend, kFold, kCopy: offset of the local source; bytes
    uint32_t to = 0;                      // kReceive, kFold, kCopy: offset in the output; bytes
    transport::SendView* send = nullptr;  // kSend, kStage
    transport::RecvView* receive = nullptr;    // kReceive, kFold
    PeerTraffic::Protocol* counted = nullptr;  // by kind of message with that peer
  };
  class Builder;

  void set_form(Step& step) noexcept;
  void set_pair() noexcept;
  bool run_step(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  bool run_any(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  static bool send(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  static void copy(const Step& step, const CallBuffers& buffers) noexcept;
  static bool receive(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  bool fold(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  static const std::byte* local(const Operand& operand, const CallBuffers& buffers) noexcept;
  static bool stage(const Step& step, const CallBuffers& buffers, uint32_t signature) noexcept;
  static const std::byte* arrived(const Step& step, uint32_t signature,
                                  transport::MessageKind* kind) noexcept;
  static void count_sent(const Step& step, transport::MessageKind kind) noexcept;
  static void release(const Step& step, transport::MessageKind kind) noexcept;
  bool find(const Step& step, size_t source, const CallBuffers& buffers,
            uint32_t signature) noexcept;
  bool place(const Step& step, size_t sink, const CallBuffers& buffers) noexcept;
  bool move(const Step& step) noexcept;
  void commit(const Step& step, uint32_t signature) noexcept;
  void release(const Step& step) const noexcept;
  bool drained() const noexcept;

  uint32_t n_steps_ = 0;
  uint8_t n_sources_ = 0;
  uint8_t n_sinks_ = 0;
  bool folds_ = false;
  bool refers_ = false;
  bool is_pair_ = false;
  uint32_t sent_mask_ = 0;
  uint32_t referred_mask_ = 0;  // of the run: kMapped, once it has sent a reference
  kernels::ReduceCopyFn kernel_ = nullptr;
  kernels::FoldPairFn fold_pair_ = nullptr;
  kernels::ReduceCopy fold_;  // of the only step of that form, but for the addresses in from_, to_
  kernels::Scaling scaling_;
  std::array<Step, kMostSteps> steps_;
  std::array<Operand, kMostOperands> sources_;
  std::array<Operand, kMostOperands> sinks_;
  // Parallel to them: where the bytes of the step that runs lie.
  std::array<kernels::Source, kMostOperands> from_;
  std::array<kernels::Sink, kMostOperands> to_;
  std::array<IncomingMessage, kMostOperands> incoming_;
  std::array<OutgoingMessage, kMostOperands> outgoing_;
  alignas(kCacheLineBytes) PairExchange pair_;
};

// The rest is inlined where the calls begin: prologues would cost more than the work.

// Null: it has not come, or is not as usual.
inline const std::byte* StraightLine::arrived(const Step& step, uint32_t signature,
                                              transport::MessageKind* kind) noexcept {
  const transport::RecvView& view = *step.receive;
  const transport::SlotLine& line = view.line();
  if (view.peek_at(line, message_signature(signature, step.bytes), kind) !=
      transport::Peeked::kMessage) {
    return nullptr;
  }
  if (*kind == transport::MessageKind::kInline) [[likely]]
    return line.inline_bytes;
  const bool staged = *kind == transport::MessageKind::kStaged && line.staged.bytes == step.bytes;
  return staged ? view.area(line.staged, step.bytes) : nullptr;
}

inline void StraightLine::count_sent(const Step& step, transport::MessageKind kind) noexcept {
  PeerTraffic::Protocol& counted = step.counted[static_cast<size_t>(kind)];
  add(counted.sent_messages, 1);
  add(counted.sent_bytes, step.bytes);
}

inline void StraightLine::release(const Step& step, transport::MessageKind kind) noexcept {
  PeerTraffic::Protocol& counted = step.counted[static_cast<size_t>(kind)];
  add(counted.received_messages, 1);
  add(counted.received_bytes, step.bytes);
  step.receive->release();
}

[[gnu::always_inline]] inline bool StraightLine::send(const Step& step, const CallBuffers& buffers,
                                                      uint32_t signature) noexcept {
  transport::SendView& view = *step.send;
  if (!view.line_free()) return false;
  transport::SlotLine& line = view.line();
  const size_t bytes = step.bytes;
  kernels::copy_small(line.inline_bytes, (step.output ? buffers.output : buffers.input) + step.from,
                      bytes);
  view.commit_at(line, message_signature(signature, bytes), transport::MessageKind::kInline);
  count_sent(step, transport::MessageKind::kInline);
  return true;
}

[[gnu::always_inline]] inline void StraightLine::copy(const Step& step,
                                                      const CallBuffers& buffers) noexcept {
  kernels::copy_bytes(buffers.output + step.to,
                      (step.output ? buffers.output : buffers.input) + step.from, step.bytes,
                      false);
}

[[gnu::always_inline]] inline bool StraightLine::receive(const Step& step,
                                                         const CallBuffers& buffers,
                                                         uint32_t signature) noexcept {
  transport::MessageKind kind;
  const std::byte* const theirs = arrived(step, signature, &kind);
  if (theirs == nullptr) return false;
  kernels::copy_bytes(buffers.output + step.to, theirs, step.bytes, false);
  release(step, kind);
  return true;
}

[[gnu::always_inline]] inline bool StraightLine::fold(const Step& step, const CallBuffers& buffers,
                                                      uint32_t signature) noexcept {
  transport::MessageKind kind;
  const std::byte* const theirs = arrived(step, signature, &kind);
  if (theirs == nullptr) return false;
  kernels::Source* const sources = from_.data() + step.first_source;
  sources[step.second ? 1 : 0].data = theirs;
  sources[step.second ? 0 : 1].data = (step.output ? buffers.output : buffers.input) + step.from;
  to_[step.first_sink].data = buffers.output + step.to;
  kernel_(fold_);
  release(step, kind);
  return true;
}

// False: nothing has been done.
[[gnu::always_inline]] inline bool StraightLine::run_step(const Step& step,
                                                          const CallBuffers& buffers,
                                                          uint32_t signature) noexcept {
  // Compared one after the other: a jump through a table costs more than the most usual forms do.
  if (step.form == Form::kSend) return send(step, buffers, signature);
  if (step.form == Form::kFold) return fold(step, buffers, signature);
  if (step.form == Form::kReceive) return receive(step, buffers, signature);
  if (step.form == Form::kCopy) {
    copy(step, buffers);
    return true;
  }
  if (step.form == Form::kStage) return stage(step, buffers, signature);
  return step.form == Form::kDrain ? drained() : run_any(step, buffers, signature);
}

}  // namespace tutti::exec
