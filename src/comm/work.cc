// SPDX-License-Identifier: Apache-2.0
// Drives one unit of work.
#include "src/comm/work.h"

#include <utility>

#include "src/comm/device_watch.h"
#include "src/comm/recording.h"

namespace tutti::comm {
namespace {

constexpr int kLastPolls = 3;  // after a failure was seen: data may have come before it

}  // namespace

Work::Work(Communicator& comm, std::span<OrderedCall> calls, P2pGroup* p2p)
    : comm_(comm),
      ticket_(comm.order().take()),
      sequence_(comm, calls, caught_),
      p2p_(p2p),
      p2p_done_(p2p == nullptr) {
  if (!comm.order().is_turn(ticket_)) queue(calls);
}

Work::Work(Communicator& comm, OrderedCall& call, const Started& started)
    : comm_(comm),
      ticket_(started.ticket),
      sequence_(comm, {&call, 1}, caught_),
      p2p_(nullptr),
      state_(State::kRun),
      p2p_done_(true) {
  sequence_.take_over(started.record);
}

Work::Work(Communicator& comm, P2pGroup& p2p, const Started& started)
    : comm_(comm),
      ticket_(started.ticket),
      sequence_(comm, {}, caught_),
      p2p_(&p2p),
      state_(State::kRun),
      p2p_record_(started.record) {
  open_p2p();
}

void Work::queue(std::span<OrderedCall> calls) noexcept {
  trace::Call call = p2p_ != nullptr ? p2p_->recorded() : trace::Call{};
  if (!calls.empty()) {
    call = recorded_call(calls.front());
    call.transfers = static_cast<uint32_t>(calls.size());
  }
  queued_ = comm_.recorder().queue(call);
  sequence_.set_issued(queued_.issued);
}

void Work::progress(bool* advanced) noexcept {
  if (state_ == State::kTurn) {
    if (!comm_.order().is_turn(ticket_)) return;
    start();
  }
  if (state_ == State::kRun) run(advanced);
}

void Work::start() noexcept {
  state_ = State::kRun;
  comm_.recorder().dequeue(queued_);
  if (comm_.health().broken()) {
    end();
    return;
  }
  if (lookout_.hear_the_end()) [[unlikely]]
    return;
  if (p2p_ == nullptr) return;
  trace::Recorder& recorder = comm_.recorder();
  p2p_record_ = recorder.begin(recorder.describe(p2p_->recorded(), ""),
                               comm_.path().collectives.begun(), queued_.issued);
  open_p2p();
}

void Work::open_p2p() noexcept {
  DataPath& path = comm_.path();
  const Status status = contained(caught_, [&] {
    p2p_->open({path.links, path.tuning, path.collectives.sent(), comm_.local().board.journal(),
                path.device.get()},
               caught_);
  });
  if (!status.ok()) fail(status);
}

// On a GPU it has been launched, and the watch ends it.
void Work::end_p2p() noexcept {
  const int protocol = comm_.stats().publish(comm_.path().collectives.sent(), nullptr);
  DeviceWatch* const watch = comm_.watch();
  if (watch != nullptr) {
    watch->take(p2p_->runs(),
                {.name = "point-to-point", .record = *p2p_record_, .protocol = protocol});
  } else {
    comm_.recorder().end(*p2p_record_, protocol);
  }
  p2p_record_.reset();
}

void Work::run(bool* advanced) noexcept {
  bool moved = false;
  if (!sequence_done_) {
    const Status status = sequence_.progress(&moved);
    sequence_done_ = status.ok();
    if (!status.ok() && !status.in_progress()) return fail(status);
  }
  if (!p2p_done_) {
    const Status status = p2p_->progress(&moved);
    p2p_done_ = status.ok();
    if (!status.ok() && !status.in_progress()) return fail(status);
    if (p2p_done_) end_p2p();
  }
  if (moved) {
    moved_ = true;
    *advanced = true;
  }
  if (sequence_done_ && p2p_done_) end();
}

void Work::look(int64_t now_ns) noexcept {
  if (state_ == State::kDone) return;
  if (comm_.health().broken()) return end_aborted();
  if (state_ == State::kTurn) return;
  lookout_.look(now_ns, std::exchange(moved_, false));
}

void Work::note_waiting() noexcept {
  trace::Recorder& recorder = comm_.recorder();
  if (const auto open = sequence_.open_record()) recorder.waiting(*open, sequence_.waiting_for());
  if (p2p_record_.has_value()) recorder.waiting(*p2p_record_, p2p_->waiting_for());
}

bool Work::still_stuck() noexcept {
  for (int i = 0; i < kLastPolls; ++i) {
    bool advanced = false;
    progress(&advanced);
    if (advanced || done()) return false;
  }
  return true;
}

int Work::waiting_for() const noexcept {
  const int peer = sequence_.waiting_for();
  return peer >= 0 || p2p_ == nullptr || p2p_done_ ? peer : p2p_->waiting_for();
}

bool Work::needs(int rank) const noexcept {
  return sequence_.needs(rank) || (p2p_ != nullptr && !p2p_done_ && p2p_->needs(rank));
}

std::string Work::call_name() const {
  const std::string call = sequence_.describe();
  return call.empty() ? "point-to-point" : call;
}

std::optional<uint64_t> Work::collective_number() const noexcept {
  return sequence_.collective_number();
}

std::optional<AwaitedSend> Work::awaited_send(int peer) const noexcept {
  return p2p_ == nullptr ? std::nullopt : p2p_->awaited_send(peer);
}

void Work::fail(const Status& status) noexcept {
  lookout_.fail(status, caught_.has_value() ? caught_->what() : nullptr);
}

void Work::record_failure() noexcept {
  trace::Recorder& recorder = comm_.recorder();
  const int code = static_cast<int>(error_->code());
  recorder.dequeue(queued_);
  if (const auto open = sequence_.open_record())
    recorder.fail(*open, sequence_.waiting_for(), code);
  if (p2p_record_.has_value()) recorder.fail(*p2p_record_, p2p_->waiting_for(), code);
  if (comm_.order().is_turn(ticket_)) recorder.failed(error_->what());
}

// By break_off(), or by the watch of its kernels, which tells the peers itself.
void Work::end_aborted() noexcept {
  if (state_ == State::kRun && comm_.health().teller() == Health::Teller::kOwner)
    comm_.post_own(comm_.broken_off_for());
  end();
}

void Work::end() noexcept {
  state_ = State::kDone;
  const bool complete = sequence_done_ && p2p_done_;
  if (!complete) {
    comm_.exposures()->end();
    error_ = comm_.health().error();
    record_failure();
  } else {
    error_ = sequence_.refusal();
  }
  comm_.order().leave(ticket_, comm_.bell());
}

}  // namespace tutti::comm
