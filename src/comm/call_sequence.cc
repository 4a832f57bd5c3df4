// SPDX-License-Identifier: Apache-2.0
// Begins, connects, runs and counts one ordered call after the other.
#include "src/comm/work.h"

namespace tutti::comm {

void CallSequence::begin(OrderedCall& call) {
  task_ = nullptr;
  if (auto* collective = std::get_if<CollectiveCall>(&call)) {
    comm_.path().collectives.begin(*collective);
    task_ = &comm_.path().collectives.operation();
  } else if (auto* wait = std::get_if<WaitCall>(&call)) {
    task_ = &comm_.path().signals.wait(*wait);
  } else if (auto* signal = std::get_if<SignalCall>(&call)) {
    comm_.path().signals.send(*signal);
  } else if (std::holds_alternative<SettleCall>(call)) {
    task_ = &comm_.path().links.settling();
  } else {
    std::get<SetUpCall>(call).run();
  }
}

Status CallSequence::progress(bool* advanced) noexcept {
  for (; next_ < calls_.size(); ++next_) {
    OrderedCall& call = calls_[next_];
    if (phase_ == Phase::kBegin) {
      const Status status = contained(caught_, [&] { begin(call); });
      if (!status.ok()) return status;
      phase_ = std::holds_alternative<CollectiveCall>(call) ? Phase::kConnect : Phase::kRun;
    }
    if (phase_ == Phase::kConnect) {
      bool started = false;
      const Status sends = comm_.path().collectives.poll_sends();
      if (!sends.ok()) return sends;
      const Status status =
          contained(caught_, [&] { started = comm_.path().collectives.try_start(); });
      if (!status.ok()) return status;
      if (!started) return kInProgressStatus;
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

void CallSequence::finish() noexcept {
  Collectives& collectives = comm_.path().collectives;
  const bool ran_plan = std::holds_alternative<CollectiveCall>(calls_[next_]);
  if (ran_plan) collectives.end();
  comm_.stats().publish(collectives.counters(), ran_plan ? collectives.algorithm() : nullptr);
  phase_ = Phase::kBegin;
}

int CallSequence::waiting_for() const noexcept {
  if (finished() || phase_ == Phase::kBegin) return -1;
  if (phase_ == Phase::kConnect) return comm_.path().collectives.missing_peer();
  return task_ == nullptr ? -1 : task_->waiting_for();
}

bool CallSequence::needs(int rank) const noexcept {
  if (finished() || phase_ == Phase::kBegin) return false;
  if (phase_ == Phase::kConnect) return comm_.path().collectives.misses(rank);
  return task_ != nullptr && task_->needs(rank);
}

std::optional<uint64_t> CallSequence::collective_number() const noexcept {
  if (finished() || phase_ == Phase::kBegin) return std::nullopt;
  if (!std::holds_alternative<CollectiveCall>(calls_[next_])) return std::nullopt;
  return comm_.path().collectives.number();
}

std::string CallSequence::describe() const {
  if (finished()) return "";
  const OrderedCall& call = calls_[next_];
  if (const auto* signal = std::get_if<SignalCall>(&call)) return signal->name;
  if (const auto* set_up = std::get_if<SetUpCall>(&call)) return set_up->name;
  if (const auto* settle = std::get_if<SettleCall>(&call)) return settle->name;
  if (std::holds_alternative<WaitCall>(call)) return "WaitSignal";
  const uint64_t begun = comm_.path().collectives.begun();
  return std::get<CollectiveCall>(call).name + (" #" + std::to_string(begun - 1));
}

}  // namespace tutti::comm
