// SPDX-License-Identifier: Apache-2.0
// Begins, connects, runs and counts one ordered call after the other.
#include <algorithm>

#include "src/comm/device_watch.h"
#include "src/comm/recording.h"
#include "src/comm/staging_pool.h"
#include "src/comm/work.h"

namespace tutti::comm {
namespace {

// 0 for a call that failed before it had taken the first number.
uint64_t number_of_last(const Collectives& collectives) noexcept {
  return std::max<uint64_t>(collectives.begun(), 1) - 1;
}

std::optional<OrderedTask::Launched> launched_task(const OrderedCall& call) {
  const auto* const other = std::get_if<TaskCall>(&call);
  return other == nullptr ? std::nullopt : other->task->launched();
}

}  // namespace

// Returns why the call is refused (see Collectives::begin); then it has ended.
std::optional<Error> CallSequence::begin(OrderedCall& call) {
  task_ = nullptr;
  if (auto* collective = std::get_if<CollectiveCall>(&call)) {
    std::optional<Error> refused = comm_.path().collectives.begin(*collective);
    if (refused.has_value()) return refused;
    task_ = &comm_.path().collectives.task();
    note_staging(comm_);
  } else if (auto* wait = std::get_if<WaitCall>(&call)) {
    task_ = &comm_.path().signals.wait(*wait);
  } else if (auto* signal = std::get_if<SignalCall>(&call)) {
    task_ = &comm_.path().signals.send(*signal, caught_);
  } else if (std::holds_alternative<SettleCall>(call)) {
    task_ = &comm_.path().links.settling();
  } else if (auto* other = std::get_if<TaskCall>(&call)) {
    other->task->begin(caught_);
    task_ = other->task.get();
    note_staging(comm_);
  } else {
    std::get<SetUpCall>(call).run();
  }
  return std::nullopt;
}

void CallSequence::take_over(uint64_t record) noexcept {
  task_ = &comm_.path().collectives.task();
  record_ = record;
  phase_ = Phase::kRun;
}

// Throws nothing but bad_alloc.
void CallSequence::refuse(const Error& why) {
  trace::Recorder& recorder = comm_.recorder();
  const Collectives& collectives = comm_.path().collectives;
  record_ = recorder.begin(collectives.recorded(), collectives.number(), issued_);
  recorder.fail(record_, -1, static_cast<int>(why.code()));
  note_refusal(why);
}

Status CallSequence::progress(bool* advanced) noexcept {
  for (; next_ < calls_.size(); ++next_) {
    OrderedCall& call = calls_[next_];
    if (phase_ == Phase::kBegin) {
      bool refused = false;
      const Status status = contained(caught_, [&] {
        const std::optional<Error> why = begin(call);
        refused = why.has_value();
        if (refused) refuse(*why);
      });
      if (refused && status.ok()) {
        *advanced = true;
        continue;
      }
      if (std::holds_alternative<CollectiveCall>(call) && status.ok()) [[likely]] {
        const Collectives& collectives = comm_.path().collectives;
        record_ = comm_.recorder().begin(collectives.recorded(), collectives.number(), issued_);
      } else {
        record_other(call, status);
      }
      if (!status.ok()) return status;
      phase_ = std::holds_alternative<CollectiveCall>(call) ? Phase::kConnect : Phase::kRun;
    }
    if (phase_ == Phase::kConnect || phase_ == Phase::kAwaitPeers) {
      bool started = false;
      const Status sends = comm_.path().collectives.poll_sends();
      if (!sends.ok()) return sends;
      const Status status =
          contained(caught_, [&] { started = comm_.path().collectives.try_start(); });
      if (!status.ok()) return status;
      if (!started) {
        await_peers();
        return kInProgressStatus;
      }
      if (phase_ == Phase::kAwaitPeers) comm_.recorder().change(record_, trace::State::kRunning);
      phase_ = Phase::kRun;
    }
    if (task_ != nullptr) {
      const Status status = task_->progress(advanced);
      if (!status.ok()) return status;
    }
    *advanced = true;
    finish();
  }
  return kOkStatus;
}

// The first one counts.
void CallSequence::note_refusal(const Error& why) {
  if (refusal_.has_value()) return;
  refusal_ = Error(why.code(), describe() + comm_.place() + ": " + why.what());
}

// Of a call that is no collective, or one that could not even begin.
void CallSequence::record_other(const OrderedCall& call, const Status& status) noexcept {
  trace::Recorder& recorder = comm_.recorder();
  const Collectives& collectives = comm_.path().collectives;
  const uint64_t number = std::holds_alternative<CollectiveCall>(call) ? number_of_last(collectives)
                                                                       : collectives.begun();
  record_ = recorder.begin(recorder.describe(recorded_call(call), ""), number, issued_);
  if (!status.ok()) recorder.fail(record_, -1, static_cast<int>(status.code));
}

void CallSequence::await_peers() noexcept {
  if (phase_ == Phase::kAwaitPeers) return;
  phase_ = Phase::kAwaitPeers;
  comm_.recorder().change(record_, trace::State::kConnecting);
}

void CallSequence::finish() noexcept {
  Collectives& collectives = comm_.path().collectives;
  const bool ran_plan = std::holds_alternative<CollectiveCall>(calls_[next_]);
  const int protocol =
      comm_.stats().publish(collectives.sent(), ran_plan ? collectives.algorithm() : nullptr);
  if (auto* other = std::get_if<TaskCall>(&calls_[next_])) {
    if (const std::optional<Error> why = other->task->refusal()) note_refusal(*why);
  }
  const std::optional<OrderedTask::Launched> launched = launched_task(calls_[next_]);
  if (ran_plan && comm_.watch() != nullptr) {
    finish_on_device(protocol);
  } else if (launched.has_value()) {
    comm_.watch()->take(launched->runs, {.name = std::get<TaskCall>(calls_[next_]).name,
                                         .call = launched->call,
                                         .record = record_,
                                         .protocol = protocol});
  } else {
    if (ran_plan) collectives.end();
    comm_.recorder().end(record_, protocol);
  }
  phase_ = Phase::kBegin;
}

// The watch ends it when the kernel has; of what a graph has captured nothing is left to be done.
void CallSequence::finish_on_device(int protocol) noexcept {
  Collectives& collectives = comm_.path().collectives;
  if (!collectives.runs()) collectives.end_captured();
  comm_.watch()->take(collectives.runs(), {.number = collectives.number(),
                                           .name = std::get<CollectiveCall>(calls_[next_]).name,
                                           .record = record_,
                                           .protocol = protocol});
}

std::optional<uint64_t> CallSequence::open_record() const noexcept {
  if (finished() || phase_ == Phase::kBegin) return std::nullopt;
  return record_;
}

int CallSequence::waiting_for() const noexcept {
  if (finished() || phase_ == Phase::kBegin) return -1;
  if (phase_ == Phase::kConnect || phase_ == Phase::kAwaitPeers)
    return comm_.path().collectives.missing_peer();
  return task_ == nullptr ? -1 : task_->waiting_for();
}

bool CallSequence::needs(int rank) const noexcept {
  if (finished() || phase_ == Phase::kBegin) return false;
  if (phase_ == Phase::kConnect || phase_ == Phase::kAwaitPeers)
    return comm_.path().collectives.misses(rank);
  return task_ != nullptr && task_->needs(rank);
}

std::optional<uint64_t> CallSequence::collective_number() const noexcept {
  if (finished() || phase_ == Phase::kBegin) return std::nullopt;
  const Collectives& collectives = comm_.path().collectives;
  const bool settling = std::holds_alternative<SettleCall>(calls_[next_]);
  if (settling && collectives.begun() > 0) return collectives.number();
  if (!std::holds_alternative<CollectiveCall>(calls_[next_])) return std::nullopt;
  return collectives.number();
}

std::string CallSequence::describe() const {
  if (finished()) return "";
  const OrderedCall& call = calls_[next_];
  if (const auto* signal = std::get_if<SignalCall>(&call)) return signal->name;
  if (const auto* set_up = std::get_if<SetUpCall>(&call)) return set_up->name;
  if (const auto* settle = std::get_if<SettleCall>(&call)) return settle->name;
  if (const auto* other = std::get_if<TaskCall>(&call)) return other->name;
  if (std::holds_alternative<WaitCall>(call)) return "WaitSignal";
  const uint64_t number = number_of_last(comm_.path().collectives);
  return std::get<CollectiveCall>(call).name + (" #" + std::to_string(number));
}

}  // namespace tutti::comm
