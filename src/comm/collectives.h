// SPDX-License-Identifier: Apache-2.0
// Runs one collective call after the other on a communicator: choice, program, connections,
// operation.
#pragma once

#include <array>
#include <atomic>
#include <bit>
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
#include "src/comm/device_calls.h"
#include "src/comm/journal.h"
#include "src/comm/links.h"
#include "src/comm/scratch.h"
#include "src/comm/selection.h"
#include "src/exec/operation.h"
#include "src/exec/straight_line.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

// What calls have in common that are prepared alike.
struct CallKey {
  size_t count = 0;
  uint64_t kind = 0;  // {root : 32 | collective : 8 | dtype : 8 | op : 8}
  bool operator==(const CallKey&) const = default;
  plan::Collective collective() const noexcept {
    return static_cast<plan::Collective>(kind >> 16 & 0xff);
  }
  DType dtype() const noexcept { return static_cast<DType>(kind >> 8 & 0xff); }
  Op op() const noexcept { return static_cast<Op>(kind & 0xff); }
  int root() const noexcept { return static_cast<int>(kind >> 24); }
};
constexpr CallKey make_key(size_t count, plan::Collective collective, DType dtype, Op op,
                           int root) noexcept {
  return {count, static_cast<uint64_t>(static_cast<uint32_t>(root)) << 24 |
                     static_cast<uint64_t>(collective) << 16 | static_cast<uint64_t>(dtype) << 8 |
                     static_cast<uint64_t>(op)};
}

// A call as the user has made it; the name says which collective. Numbers of types and operations
// may be any.
struct PairKey {
  const char* name = nullptr;  // null: no call
  size_t count = 0;
  int dtype = 0;
  int op = 0;
  bool operator==(const PairKey&) const = default;
};

// How much memory a call with even blocks reads and writes on this rank, and where its own block
// lies in each buffer; what the checks of buffers depend on besides their addresses. Bytes.
struct CallExtents {
  size_t input_bytes = 0;
  size_t output_bytes = 0;
  size_t input_own = 0;
  size_t output_own = 0;
  bool may_be_in_place = false;
};

// Owned by the communicator's progress. One call at a time: begin(), then poll_sends() and
// try_start() until that is true, then drive operation(). A call like one of the last few (same
// collective, type, operation, root and count) allocates nothing and looks nothing up.
class Collectives {
 public:
  struct Place {
    int rank = 0;
    int n_ranks = 1;
    int cores = 1;
    planner::Hosts hosts;
    DeviceCalls* device = nullptr;  // null: a host rank. Outlives the collectives
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

  // Before the first call.
  void advise(std::shared_ptr<const Advice> advice) { tuning_.advice = std::move(advice); }
  void plan_for(std::shared_ptr<DevicePlans> machine) { tuning_.machine = std::move(machine); }
  // The same. It outlives the collectives; all ranks have one.
  void use(const exec::SymmetricRegion& region) { symmetric_ = &region; }
  // Chooses and compiles, and opens connections. The call must stay until the operation has ended.
  // Throws Error. Returns why the call is refused, on every rank alike: then it has ended, and none
  // of its bytes has moved.
  std::optional<Error> begin(CollectiveCall& call);
  // Looks after the sending ends that the peers have not attached to yet. A failure names the peer.
  Status poll_sends() noexcept;
  // Starts the operation once all its connections are there; on a GPU, puts it into its stream.
  // Throws Error.
  bool try_start();
  // What to drive then.
  exec::Task& task() noexcept {
    if (place_.device != nullptr) return launched_;
    return operation_;
  }
  // The host's call has ended well.
  void end() noexcept {
    scratch_.release();
    ended(number());
  }
  // The current call was launched to run, not captured.
  bool runs() const noexcept { return runs_; }
  // It has become part of a graph. Earlier calls may still run, so the position stays theirs.
  void end_captured() noexcept { journal_.end(number()); }
  // A call that was launched has ended well. In order; by one thread at a time.
  void ended(uint64_t number) noexcept {
    journal_.end(number);
    ended_.store(number + 1, std::memory_order_relaxed);
  }
  // How messages of this communicator went.
  exec::SentKinds& sent() noexcept { return sent_; }

  // A compiled program with its connections, which fill in as peers come.
  struct ProgramEntry {
    exec::Program program;
    exec::Connections connections;
    std::vector<bool> send_ready;
    bool connected = false;
    MemoryCharge charge;
    std::unique_ptr<exec::DeviceProgram> on_device;  // null: not launched yet
  };
  // Everything about a call that does not depend on its buffers.
  struct alignas(256) Prepared {  // found by a shift
    CallKey key;
    CallExtents extents;
    exec::StraightLine* line = nullptr;  // null: none, or another call has taken its place
    const char* algorithm = nullptr;
    trace::Recorder::Described* recorded = nullptr;  // of its slot
    uint64_t next_line = 0;                          // call from which on one may be made
    ProgramEntry* program = nullptr;                 // null: unused, or refused
    exec::Tiling tiling;
    exec::DeviceProtocol protocol = exec::DeviceProtocol::kSimple;
    // Not kNone: a kernel on symmetric memory carries it, and the program only says what it means.
    exec::SymmetricWay symmetric = exec::SymmetricWay::kNone;
    size_t scratch_bytes = 0;
    size_t bounce_bytes = 0;  // behind the scratch
    uint32_t digest = 0;      // of what ranks must agree on, see extended()
    CallFacts facts;
    uint64_t described = 0;  // version of the facts in the journal
  };
  // The short way, for a call that has been made before. recall() returns null when there is none:
  // begin() then. Else extend_history(), begin_again(), run its line, and end_again(); or, when the
  // line has to wait for too long, go_on() from that step as a call that has been started.
  Prepared* recall(const CallKey& key, const char* name) noexcept {
    const size_t slot = slot_of(key);
    Prepared& call = remembered_[slot];
    if (call.key != key || call.line == nullptr) return nullptr;
    const bool as_it_was =
        call.recorded->name == name && journal_.lasts(call.described) && !links_.resting();
    return as_it_was ? &call : nullptr;
  }
  // The call that the short way has taken last, which recall() would find again, if its line is a
  // pair exchange.
  struct LastPair {
    PairKey key;
    Prepared* call = nullptr;
    const exec::PairExchange* pair = nullptr;
  };
  const LastPair& last_pair() const noexcept { return last_; }
  // Of a call that recall() has found and that goes on.
  void note_last(Prepared& call, const char* name) noexcept {
    forget_last();
    if (call.line->pair() == nullptr) return;
    const CallKey& key = call.key;
    last_ = {{name, key.count, static_cast<int>(key.dtype()), static_cast<int>(key.op())},
             &call,
             call.line->pair()};
  }
  // Something happens on which recall() depends, or another call is made.
  void forget_last() noexcept { last_ = {}; }
  // Returns the call's signature, which its messages carry; begin_again() follows before anybody
  // waits.
  uint32_t extend_history(const Prepared& call) noexcept {
    return history_ = extended(history_, call.digest);
  }
  // Returns the call's number.
  uint64_t begin_again(const Prepared& call) noexcept {
    const uint64_t number = begun();
    begun_.store(number + 1, std::memory_order_relaxed);
    journal_.begin(number, call.described);
    return number;
  }
  // Both in one, of a call that has not waited. Returns its number.
  uint64_t note_again(const Prepared& call) noexcept {
    const uint64_t number = begun();
    begun_.store(number + 1, std::memory_order_relaxed);
    ended_.store(number + 1, std::memory_order_relaxed);
    journal_.note(number, call.described);
    return number;
  }
  void end_again(uint64_t number) noexcept {
    journal_.end(number);
    ended_.store(number + 1, std::memory_order_relaxed);
  }
  void go_on(Prepared& known, CollectiveCall& call, uint32_t step);
  uint32_t signature() const noexcept { return history_; }

  // While connecting: a peer whose connection is missing, -1 when all are there.
  int missing_peer() const noexcept;
  bool misses(int rank) const noexcept;

  // Lives as long as this object.
  const char* algorithm() const noexcept {
    if (current_->symmetric == exec::SymmetricWay::kNvls) return "nvls";
    return current_->program->program.plan->plan.algorithm.c_str();
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
  static constexpr uint64_t kLineCalls = 256;  // at least, between two lines of one call
  static constexpr size_t kRemembered = 32;    // calls, direct-mapped; a power of two
  static constexpr size_t kLines = 8;          // of them with a straight line; a power of two

  static size_t slot_of(const CallKey& key) noexcept {
    const uint64_t mixed = (key.count ^ key.kind << 24) * 0x9e3779b97f4a7c15ULL;
    static_assert(kRemembered == 1 << (64 - 59));
    return mixed >> 59;
  }
  void make_line(const CollectiveCall& call) noexcept;
  using PlanPointer = std::shared_ptr<const planner::VerifiedPlan>;
  // A plan for a call, cut, with the key of its program.
  struct Cut {
    PlanPointer plan;
    uint64_t key = 0;
    exec::Tiling tiling;
    exec::DeviceProtocol protocol = exec::DeviceProtocol::kSimple;
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
  void start();
  void launch(ProgramEntry& entry);
  bool is_symmetric() const noexcept { return current_->symmetric != exec::SymmetricWay::kNone; }
  void launch_symmetric();
  exec::SymmetricWay symmetric_way(const CollectiveCall& call, const Cut& chosen) const noexcept;
  CallMemory memory_of(const CollectiveCall& call) const;
  exec::DeviceProtocol device_protocol(const CollectiveCall& call,
                                       const planner::VerifiedPlan& plan) const;

  Place place_;
  Tuning tuning_;
  Links& links_;
  Journal& journal_;
  trace::Recorder& recorder_;
  AgreedMemory memory_;
  const exec::SymmetricRegion* symmetric_ = nullptr;  // null: there is none
  std::string refusal_;                               // of the last plan that did not fit
  MemoryBudget& budget_;
  ScratchLease scratch_;
  std::unordered_map<uint64_t, std::unique_ptr<ProgramEntry>> programs_;  // by program_key()
  std::array<Prepared, kRemembered> remembered_;
  Prepared uneven_;
  Prepared* current_ = &uneven_;
  // Forgotten with every call that goes the long way, and when memory is given back.
  LastPair last_;
  std::array<exec::StraightLine, kLines> lines_;
  std::array<Prepared*, kLines> line_owners_{};  // parallel to lines_; null: nobody
  size_t lines_made_ = 0;
  // Parallel to remembered_, and one for uneven calls.
  std::array<trace::Recorder::Described, kRemembered + 1> described_;
  trace::Recorder::Described* recorded_ = nullptr;  // of the current call
  CollectiveCall* call_ = nullptr;
  // On a GPU: nothing is left to drive.
  struct Launched final : exec::Task {
    Status progress(bool*) noexcept override { return kOkStatus; }
    int waiting_for() const noexcept override { return -1; }
    bool needs(int) const noexcept override { return false; }
  };
  exec::Operation operation_;
  Launched launched_;
  bool runs_ = true;
  exec::SentKinds sent_;
  std::atomic<uint64_t> ended_{0};  // one writer; relaxed: a number
  std::atomic<uint64_t> begun_{0};  // one writer; relaxed: a number
  uint32_t history_ = 0;            // of all calls so far, the current one included: see extended()
};

}  // namespace tutti::comm
