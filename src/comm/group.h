// SPDX-License-Identifier: Apache-2.0
// Issuing: a call outside a group runs or is queued at once; calls between GroupStart and GroupEnd
// are posted together.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "src/base/error.h"
#include "src/comm/calls.h"
#include "src/comm/communicator.h"
#include "src/comm/stream.h"

namespace tutti::comm {

// One checked call. stream null: complete when issue() returns, outside a group. Throws Error.
void issue(Communicator& comm, OrderedCall&& call, Stream* stream);
void issue(Communicator& comm, const P2pCall& call, Stream* stream);

// Throws InvalidUsage when a call without a stream would wait for the calling thread itself: it
// owns further ranks, and no other thread takes them over within a second. Call TeamMember::claim()
// first.
void check_not_crowded(Communicator& comm);

// Runs one call on the calling thread, outside any group and without the checks that user calls
// get; for set-up. It is complete afterwards, on a GPU too.
void run_now(Communicator& comm, OrderedCall&& call);

// Runs each job on a thread of its own, since ranks wait for each other; throws the first error
// after all have ended; SystemError when not all could be started. Then `cancel` (may be empty) is
// called first, so that those that were started need not wait for the others in vain.
void run_concurrently(const std::vector<std::function<void()>>& jobs,
                      const std::function<void()>& cancel = {});

// The calling thread's group.
class Group {
 public:
  static Group& current() noexcept;

  // Of the calling thread.
  static bool active() noexcept { return this_caller.group_depth > 0; }
  static void start() noexcept { this_caller.open_group(); }
  // At the outermost level: first all set-ups concurrently, then posts all calls, then runs those
  // without a stream. A group in which a call was refused does nothing and throws the first
  // refusal. Throws the first error. InvalidUsage without a start().
  void end();

  // Set-up work (initialisation, split, windows), to run at the end; the calling thread's own when
  // no group is active. Set-ups of one `parent` communicator exchange bytes over it, so they run
  // one after the other, in issue order, the same on every rank; null (initialisation):
  // concurrently.
  void set_up(const Communicator* parent, std::function<void()> job);
  // Calls of this group wait for its end on this stream, which must stay until then.
  bool uses(const Stream& stream) const noexcept;
  // A call of this group was refused.
  void refuse(const Error& error);

 private:
  friend void issue(Communicator&, OrderedCall&&, Stream*);
  friend void issue(Communicator&, const P2pCall&, Stream*);
  struct Pending {
    std::unique_ptr<Unit> unit;
    std::vector<Stream*> streams;  // of its calls, each once; null: the calling thread
    std::vector<P2pCall> p2p;
  };
  struct SetUps {
    const Communicator* parent = nullptr;
    std::vector<std::function<void()>> jobs;
  };
  struct Contents {
    int32_t pid = 0;  // whose communicators; 0: none yet
    std::vector<Pending> pending;
    std::vector<SetUps> set_ups;
    std::optional<Error> refused;
  };
  Pending& pending_for(Communicator& comm, Stream* stream);
  // The units of communicators that have a stream in common become one entry.
  static std::vector<Stream::Entry> entries_of(std::vector<Pending>& pending);
  static void run_calls(std::vector<Pending>& pending);

  Contents contents_;
};

}  // namespace tutti::comm
