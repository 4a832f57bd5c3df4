// SPDX-License-Identifier: Apache-2.0
// One rank of a communicator: the parts that make it up, wired together. Behaviour lives in the
// parts.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/memory_budget.h"
#include "src/base/shared_bell.h"
#include "src/comm/collectives.h"
#include "src/comm/device_calls.h"
#include "src/comm/exposures.h"
#include "src/comm/health.h"
#include "src/comm/issue_order.h"
#include "src/comm/known_transfers.h"
#include "src/comm/links.h"
#include "src/comm/notice_board.h"
#include "src/comm/options.h"
#include "src/comm/peers.h"
#include "src/comm/redops.h"
#include "src/comm/signals.h"
#include "src/comm/stats.h"
#include "src/comm/symmetric_memory.h"
#include "src/comm/team.h"
#include "src/comm/transports.h"
#include "src/trace/recorder.h"

namespace tutti::comm {

class DeviceWatch;

// What a communicator takes on each rank before its first call.
size_t fixed_bytes(int n_ranks, uint32_t trace_entries) noexcept;

// Which place in which communicator.
struct Seat {
  uint64_t comm_id = 0;
  int rank = 0;
  int n_ranks = 1;
  std::array<std::byte, 32> secret{};  // what only its ranks know
};

// What exists before the peers are known.
struct LocalEnd {
  LocalEnd(const Seat& seat, const Options& options);
  PeerRecord record(const AgreedConfig& agreed) const;

  const LocalConfig config;
  const std::shared_ptr<MemoryBudget> account;  // shared with windows, which may outlive it
  MemoryBudget& budget;
  MemoryCharge objects;
  trace::Recorder recorder;
  SharedBell bell;  // rung by peers and by the works of this communicator; what its owner sleeps on
  NoticeBoard board;
  Transports transports;
};

// What carries data once the peers are known. Owned by the communicator's progress, except where a
// part says "any thread".
struct DataPath {
  DataPath(const Seat& seat, LocalEnd& local, const std::vector<PeerRecord>& records);
  // What rank 0 says of its tuner plugin's wishes and its machine, before the first call.
  void take_advice(std::span<const std::byte> bytes, const std::vector<PeerRecord>& records);
  // Collective, of ranks that all have GPUs.
  void make_symmetric(const Seat& seat, const LocalEnd& local, const Exchange& exchange);

  HostFacts facts;
  Tuning tuning;
  PeerBoards boards;
  Links links;
  std::unique_ptr<SymmetricMemory> symmetric;  // null: none
  std::unique_ptr<DeviceCalls> device;         // null: a host rank. Uses the connections of `links`
  Collectives collectives;
  Signals signals;
  KnownTransfers transfers;
};

// Shared: queued works keep it until they have ended, also after the user has aborted it.
class Communicator : public std::enable_shared_from_this<Communicator> {
 public:
  // Collective. `exchange` is called the same number of times on every rank, kMostExchanges at
  // most, also when this rank fails; then all ranks throw the error of the lowest failing rank.
  // `owner`: see Team.
  static constexpr int kMostExchanges = 2 + SymmetricMemory::kExchanges;
  static std::shared_ptr<Communicator> create(const Seat& seat, const Options& options,
                                              const Exchange& exchange, uint64_t owner);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const noexcept { return seat_.rank; }
  int n_ranks() const noexcept { return seat_.n_ranks; }
  const std::array<std::byte, 32>& secret() const noexcept { return seat_.secret; }
  uint64_t comm_id() const noexcept { return seat_.comm_id; }
  const Options& options() const noexcept { return options_; }
  // " (rank 1 of 4)" or " (rank 1 of 4 of 'name')", for messages.
  std::string place() const;
  // " of 'name'", or "".
  std::string of_name() const { return options_.name.empty() ? "" : " of '" + options_.name + "'"; }

  Health& health() noexcept { return health_; }
  const Health& health() const noexcept { return health_; }
  IssueOrder& order() noexcept { return order_; }
  TeamMember& team() noexcept { return team_; }
  RedOps& red_ops() noexcept { return red_ops_; }
  const std::shared_ptr<Exposures>& exposures() const noexcept { return exposures_; }
  Stats& stats() noexcept { return stats_; }
  LocalEnd& local() noexcept { return *local_; }
  trace::Recorder& recorder() noexcept { return local_->recorder; }
  DataPath& path() noexcept { return *path_; }
  // Of what runs on the rank's GPU; null: a host rank.
  DeviceWatch* watch() noexcept { return watch_.get(); }
  Doorbell& bell() const noexcept { return bell_; }
  // Peers have posted notices. Two loads.
  bool has_notices() const noexcept { return notices_.load(std::memory_order_acquire) != 0; }
  // How to wait for peers.
  const IdlePolicy& idle_policy() const noexcept { return idle_policy_; }
  // Silence after which a wait fails; 0: never.
  int64_t timeout_ns() const noexcept { return options_.config.local.timeout_ns; }
  // Numbers the splits of this communicator; all ranks split in the same order.
  uint64_t next_split() noexcept { return splits_.fetch_add(1, std::memory_order_relaxed); }

  // Numbers the shrinks and grows, from 1; all ranks that take part have taken part in the earlier
  // ones.
  uint64_t next_reshape() noexcept { return reshapes_.fetch_add(1, std::memory_order_relaxed) + 1; }

  // Numbers the MoE groups of this communicator; all ranks make them in the same order.
  uint64_t next_moe_group() noexcept { return moe_groups_.fetch_add(1, std::memory_order_relaxed); }

  // Throws what keeps new operations from being issued: the first failure, or InvalidUsage after
  // finalize().
  void check_open() const {
    if (!health_.open()) [[unlikely]]
      refuse_call();
  }
  // Waits until everything issued has ended; false at the deadline.
  bool drain(Deadline deadline) noexcept;
  // Gives the memory of its staging slots back if nothing is in flight; returns its bytes. Any
  // thread; never waits.
  size_t rest() noexcept;
  // What the process's pool has been told that its connections hold (see staging_pool.h). The owner
  // of the progress.
  size_t noted_staging_bytes() const noexcept { return noted_staging_bytes_; }
  void note_staging_bytes(size_t bytes) noexcept { noted_staging_bytes_ = bytes; }
  // No operation after it; what was issued is completed first.
  void finalize();
  // Ends what runs with an error, from any thread, and tells the peers, for the cause kAborted or
  // kRevoked. `call` names the function that asks for it. Returns within about a second.
  void break_off(Cause cause, const char* call) noexcept;
  Cause broken_off_for() const noexcept { return broken_off_for_.load(std::memory_order_relaxed); }
  // Tells the peers of this rank's failure, once, with what it says ("": nothing). `relay`: it was
  // heard from a peer, which tells the others itself; those with a connection to this rank are told
  // again. By the owner of the progress, or when nothing is in flight.
  void post_notice(const Notice& notice, std::string_view text, bool relay) noexcept;
  // This rank itself is the reason.
  void post_own(Cause cause) noexcept { post_notice(own(cause), "", false); }

 private:
  [[noreturn]] void refuse_call() const;
  Communicator(const Seat& seat, const Options& options, std::unique_ptr<LocalEnd> local,
               std::unique_ptr<DataPath> path, uint64_t owner);

  Notice own(Cause cause) const noexcept {
    return {.from = rank(),
            .about = rank(),
            .cause = cause,
            .code = code_of(cause),
            .position = path_->collectives.position()};
  }
  void post_on_boards(const Notice& notice, std::string_view text, bool neighbours_too) noexcept;

  Seat seat_;
  Options options_;
  std::unique_ptr<LocalEnd> local_;
  std::unique_ptr<DataPath> path_;
  Doorbell& bell_;
  std::atomic_ref<uint64_t> notices_;  // of the board: how many; acquire pairs with those who post
  IdlePolicy idle_policy_;
  Health health_;
  IssueOrder order_;
  RedOps red_ops_;
  std::shared_ptr<Exposures> exposures_ = std::make_shared<Exposures>();  // shared with the windows
  Stats stats_;
  TeamMember team_;
  std::atomic<uint64_t> splits_{0};                     // relaxed: a number
  std::atomic<uint64_t> reshapes_{0};                   // relaxed: a number
  std::atomic<uint64_t> moe_groups_{0};                 // relaxed: a number
  std::atomic<Cause> broken_off_for_{Cause::kAborted};  // relaxed: written before health_ is
  size_t noted_staging_bytes_ = 0;
  std::atomic<bool> noticed_{false};    // relaxed: whoever changes it first posts
  std::unique_ptr<DeviceWatch> watch_;  // last: it looks at all of the above
};

// Part of a collective set-up: tells all ranks this rank's error (code kOk: none) and throws the
// error of the lowest failing rank. Returns rank 0's note.
std::vector<std::byte> agree_on_errors(const Exchange& exchange, const Error& mine,
                                       std::span<const std::byte> note = {});

}  // namespace tutti::comm
