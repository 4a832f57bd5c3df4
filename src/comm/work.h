// SPDX-License-Identifier: Apache-2.0
// What one communicator does for one call or one group: the unit of issue order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "src/comm/calls.h"
#include "src/comm/communicator.h"
#include "src/comm/lookout.h"
#include "src/comm/p2p.h"
#include "src/exec/task.h"

namespace tutti::comm {

// Runs ordered calls one after the other.
class CallSequence final : public exec::Task {
 public:
  // `caught` keeps what set-up throws.
  CallSequence(Communicator& comm, std::span<OrderedCall> calls, std::optional<Error>& caught)
      : comm_(comm), calls_(calls), caught_(caught) {}
  // The first call is a collective that has been started, and this is its record.
  void take_over(uint64_t record) noexcept;
  Status progress(bool* advanced) noexcept override;
  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;
  // "AllReduce #12", of the current call; "" when finished.
  std::string describe() const;
  // Of the current call, when it is a collective that has begun; of the last one while its messages
  // settle.
  std::optional<uint64_t> collective_number() const noexcept;
  bool finished() const noexcept { return next_ == calls_.size(); }
  // The recording says that the calls were issued then, not when they begin.
  void set_issued(uint64_t ticks) noexcept { issued_ = ticks; }
  // Of the call that has begun and not ended.
  std::optional<uint64_t> open_record() const noexcept;
  // The first call that all ranks have refused alike; the others were made, and nothing is broken.
  const std::optional<Error>& refusal() const noexcept { return refusal_; }

 private:
  enum class Phase : uint8_t { kBegin, kConnect, kAwaitPeers, kRun };
  std::optional<Error> begin(OrderedCall& call);
  void refuse(const Error& why);
  void note_refusal(const Error& why);
  void record_other(const OrderedCall& call, const Status& status) noexcept;
  void await_peers() noexcept;
  void finish() noexcept;
  void finish_on_device(int protocol) noexcept;

  Communicator& comm_;
  std::span<OrderedCall> calls_;
  std::optional<Error>& caught_;
  size_t next_ = 0;
  uint64_t issued_ = 0;
  uint64_t record_ = 0;  // of the current call, unless it has yet to begin
  Phase phase_ = Phase::kBegin;
  exec::Task* task_ = nullptr;  // of the current call; null: it was done by begin()
  std::optional<Error> refusal_;
};

// Takes its place in the communicator's order when it is made. Afterwards one thread calls
// progress() until done(). The communicator and the calls must stay until then.
class Work final : private Lookout::Subject {
 public:
  Work(Communicator& comm, std::span<OrderedCall> calls, P2pGroup* p2p);
  // Of one collective that has been started, and whose turn it is; the collective's record.
  struct Started {
    uint64_t ticket = 0;
    uint64_t record = 0;
  };
  Work(Communicator& comm, OrderedCall& call, const Started& started);
  // Of sends and receives that have been recorded, and whose turn it is.
  Work(Communicator& comm, P2pGroup& p2p, const Started& started);
  ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  void progress(bool* advanced) noexcept;
  // Called when waiting is allowed to cost something: looks for failures, deaths and the deadline.
  void look(int64_t now_ns) noexcept;

  // Once true, the communicator is no longer touched.
  bool done() const noexcept override { return state_ == State::kDone; }
  // Valid when done(): why it failed.
  const std::optional<Error>& error() const noexcept { return error_; }
  Communicator& comm() noexcept { return comm_; }

 private:
  enum class State : uint8_t { kTurn, kRun, kDone };

  void queue(std::span<OrderedCall> calls) noexcept;
  void start() noexcept;
  void open_p2p() noexcept;
  void end_p2p() noexcept;
  void run(bool* advanced) noexcept;
  void record_failure() noexcept;
  void fail(const Status& status) noexcept;
  void end_aborted() noexcept;
  void end() noexcept;

  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;
  std::optional<uint64_t> collective_number() const noexcept override;
  std::string call_name() const override;
  std::optional<AwaitedSend> awaited_send(int peer) const noexcept override;
  bool still_stuck() noexcept override;
  void note_waiting() noexcept override;
  void failed() noexcept override { end(); }

  Communicator& comm_;
  const uint64_t ticket_;
  std::optional<Error> caught_;  // by contained()
  CallSequence sequence_;
  P2pGroup* p2p_;
  State state_ = State::kTurn;
  bool sequence_done_ = false;
  bool p2p_done_ = false;
  bool moved_ = true;  // since the last look
  Lookout lookout_{comm_, *this};
  trace::Recorder::Queued queued_;
  std::optional<uint64_t> p2p_record_;  // while it is open
  std::optional<Error> error_;
};

}  // namespace tutti::comm
