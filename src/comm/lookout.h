// SPDX-License-Identifier: Apache-2.0
// Finds out why something that waits for peers does not go on, says it once in the communicator's
// health, and tells the peers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/base/error.h"
#include "src/comm/notice.h"
#include "src/comm/verdict.h"

namespace tutti::comm {

class Communicator;

// One thread at a time. Cheap to make: calls have one each.
class Lookout {
 public:
  // What waits. Its functions are called by the thread that uses the Lookout.
  class Subject {
   public:
    // The rank that it waits for; -1: no certain one.
    virtual int waiting_for() const noexcept = 0;
    // It can't go on without that rank.
    virtual bool needs(int rank) const noexcept = 0;
    // Of the collective that it is in.
    virtual std::optional<uint64_t> collective_number() const noexcept = 0;
    // "AllReduce #12".
    virtual std::string call_name() const = 0;
    // The next message from the peer outside of collectives; nullopt: none, or not known.
    virtual std::optional<AwaitedSend> awaited_send(int peer) const noexcept = 0;
    // Polls a few times more; true when that changes nothing. It may end, and fail, meanwhile.
    virtual bool still_stuck() noexcept = 0;
    // Tells the recording whom its open records wait for.
    virtual void note_waiting() noexcept = 0;
    virtual bool done() const noexcept = 0;
    // Of its communicator; else kernels do what there is to do.
    virtual bool owns_progress() const noexcept { return true; }
    // The communicator has just been broken; the peers, which may take long, are still to be told.
    virtual void stop() noexcept {}
    // All is said: it is done() when this returns. The Lookout does not touch the communicator any
    // more.
    virtual void failed() noexcept = 0;

   protected:
    ~Subject() = default;
  };

  // Both outlive the Lookout.
  Lookout(Communicator& comm, Subject& subject) noexcept : comm_(comm), subject_(subject) {}
  Lookout(const Lookout&) = delete;
  Lookout& operator=(const Lookout&) = delete;

  // Called when waiting is allowed to cost something: looks for failures, deaths and the deadline.
  // `moved`: the subject has since the last look; else it is silent.
  void look(int64_t now_ns, bool moved) noexcept;
  // Fails if a notice has come that ends the communicator for every rank; true when one had. For
  // subjects that have yet to begin.
  bool hear_the_end() noexcept;
  // The subject has failed by itself. `what` says why, where the status gives no reason; null:
  // neither does.
  void fail(const Status& status, const char* what) noexcept;

 private:
  struct Blame {
    StatusCode code = StatusCode::kRemoteError;
    int about = -1;
    Cause cause = Cause::kFailed;
    bool heard = false;  // from a peer
  };

  bool check_peers() noexcept;
  void ask_peer(int64_t now_ns) noexcept;
  void note_wait(int64_t now_ns) noexcept;
  uint16_t position() const noexcept;
  std::optional<Notice> find_notice() const noexcept;
  std::optional<Notice> await_notice() const noexcept;
  std::string await_text() const noexcept;
  int dead_peer() const noexcept;
  int await_death(int suspect) const noexcept;
  void fail_disagreed(const Status& status) noexcept;
  void fail_dead(int peer) noexcept;
  void fail_noticed(const Notice& notice) noexcept;
  void fail_late(int64_t silence_ns) noexcept;
  void fail(const Verdict& verdict) noexcept;
  void fail(const Blame& blame, const std::string& what) noexcept;

  Communicator& comm_;
  Subject& subject_;
  int64_t silent_since_ns_ = 0;
  int64_t next_check_ns_ = 0;
  int64_t next_question_ns_ = 0;  // when the peer's journal is read next; 0: not stuck yet
  int64_t question_interval_ns_ = 0;
  int64_t noted_ns_ = 0;  // when note_wait() looked; 0: not in this silence
};

}  // namespace tutti::comm
