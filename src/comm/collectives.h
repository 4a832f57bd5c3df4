// SPDX-License-Identifier: Apache-2.0
// Runs one collective call after the other on a communicator: choice, program, connections,
// operation.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "src/base/error.h"
#include "src/base/memory_budget.h"
#include "src/comm/agreed_memory.h"
#include "src/comm/calls.h"
#include "src/comm/journal.h"
#include "src/comm/links.h"
#include "src/comm/scratch.h"
#include "src/comm/selection.h"
#include "src/exec/operation.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

// Owned by the communicator's progress. One call at a time: begin(), then poll_sends() and
// try_start() until that is true, then drive operation(). A call like one of the last few (same
// collective, type, operation, root and count) allocates nothing and looks nothing up.
class Collectives {
 public:
  struct Place {
    int rank = 0;
    int n_ranks = 1;
    int cores = 1;
  };
  Collectives(const Place& place, const Tuning& tuning, Links& links, const AgreedMemory& memory,
              MemoryBudget& budget, Journal& journal, trace::Recorder& recorder)
      : place_(place),
        tuning_(tuning),
        links_(links),
        journal_(journal),
        recorder_(recorder),
        memory_(memory),
        budget_(budget),
        scratch_(budget) {}

  // Chooses and compiles, and opens connections. The call must stay until the operation has ended.
  // Throws Error. Returns why the call is refused, on every rank alike: then it has ended, and none
  // of its bytes has moved.
  std::optional<Error> begin(CollectiveCall& call);
  // Looks after the sending ends that the peers have not attached to yet. A failure names the peer.
  Status poll_sends() noexcept;
  // Starts the operation once all its connections are there. Throws Error.
  bool try_start();
  exec::Operation& operation() noexcept { return operation_; }
  // The call has ended well.
  void end() noexcept {
    scratch_.release();
    journal_.end(number());
    ended_.store(begun(), std::memory_order_relaxed);
  }
  // How messages of this communicator went.
  exec::SentKinds& sent() noexcept { return sent_; }

  // While connecting: a peer whose connection is missing, -1 when all are there.
  int missing_peer() const noexcept;
  bool misses(int rank) const noexcept;

  // Lives as long as this object.
  const char* algorithm() const noexcept {
    return current_.program->program.plan->plan.algorithm.c_str();
  }
  // The current call, for the recording.
  const trace::Recorder::Described& recorded() const noexcept { return *recorded_; }
  // Calls begun so far. Any thread.
  uint64_t begun() const noexcept { return begun_.load(std::memory_order_relaxed); }
  // One more than the calls that have ended well: the first one that this rank owes its peers,
  // modulo 2^16. Any thread.
  uint16_t position() const noexcept {
    return static_cast<uint16_t>(ended_.load(std::memory_order_relaxed) + 1);
  }
  // Of the current call.
  uint64_t number() const noexcept { return begun() - 1; }

 private:
  // A compiled program with its connections, which fill in as peers come.
  struct ProgramEntry {
    exec::Program program;
    exec::Connections connections;
    std::vector<bool> send_ready;
    bool connected = false;
    MemoryCharge charge;
  };
  struct CallKey {
    size_t count = 0;
    int32_t root = 0;
    plan::Collective collective = plan::Collective::kBarrier;
    DType dtype = DType::kInt8;
    Op op = Op::kSum;
    bool operator==(const CallKey&) const = default;
  };
  // Everything about a call that does not depend on its buffers.
  struct Prepared {
    CallKey key;
    ProgramEntry* program = nullptr;  // null: unused, or refused
    exec::Tiling tiling;
    size_t scratch_bytes = 0;
    size_t bounce_bytes = 0;  // behind the scratch
    uint32_t digest = 0;      // of what ranks must agree on, see extended()
    CallFacts facts;
    uint64_t described = 0;  // version of the facts in the journal
  };
  static constexpr size_t kRemembered = 32;  // calls, direct-mapped; a power of two

  static CallKey key_of(const CollectiveCall& call) noexcept;
  static size_t slot_of(const CallKey& key) noexcept;
  using PlanPointer = std::shared_ptr<const planner::VerifiedPlan>;
  // A plan for a call, cut, with the key of its program.
  struct Cut {
    PlanPointer plan;
    uint64_t key = 0;
    exec::Tiling tiling;
  };
  Prepared prepare(const CollectiveCall& call);
  Cut cut(const Choice& choice, const CollectiveCall& call) const;
  std::optional<Cut> admit(const Choice& choice, const CollectiveCall& call);
  std::optional<Cut> choose(const Selection& selection, const CollectiveCall& call);
  std::optional<Error> refuse(const CollectiveCall& call);
  ProgramEntry& program_for(const Cut& cut);
  void check_slots(const planner::VerifiedPlan& plan) const;
  void open_connections(ProgramEntry& entry);
  void poll_recvs(ProgramEntry& entry);
  exec::Binding bind(const CollectiveCall& call) const noexcept;

  Place place_;
  Tuning tuning_;
  Links& links_;
  Journal& journal_;
  trace::Recorder& recorder_;
  AgreedMemory memory_;
  std::string refusal_;  // of the last plan that did not fit
  MemoryBudget& budget_;
  ScratchLease scratch_;
  std::unordered_map<uint64_t, std::unique_ptr<ProgramEntry>> programs_;  // by program_key()
  std::array<Prepared, kRemembered> remembered_;
  Prepared current_;
  // Parallel to remembered_, and one for uneven calls.
  std::array<trace::Recorder::Described, kRemembered + 1> described_;
  trace::Recorder::Described* recorded_ = nullptr;  // of the current call
  CollectiveCall* call_ = nullptr;
  exec::Operation operation_;
  exec::SentKinds sent_;
  std::atomic<uint64_t> ended_{0};  // one writer; relaxed: a number
  std::atomic<uint64_t> begun_{0};  // one writer; relaxed: a number
  uint32_t history_ = 0;            // of all calls so far, the current one included: see extended()
};

}  // namespace tutti::comm
