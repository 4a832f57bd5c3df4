// SPDX-License-Identifier: Apache-2.0
// Creates a communicator's parts in order and takes them down.
#include "src/comm/communicator.h"

#include <algorithm>
#include <set>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/planted.h"
#include "src/comm/bytes.h"
#include "src/comm/device_watch.h"
#include "src/comm/driver.h"
#include "src/comm/profile_file.h"
#include "src/comm/work.h"
#include "src/planner/profile.h"

namespace tutti::comm {
namespace {

constexpr int64_t kAbortGraceNs = 100 * kNsPerMs;  // for works to notice
constexpr int64_t kAbortWaitNs = 500 * kNsPerMs;
constexpr int64_t kPostNoticeNs = 300 * kNsPerMs;  // to all peers
constexpr int64_t kQuickAnswerNs = 10 * kNsPerMs;

size_t cap_of(const Options& options) {
  const uint64_t cap = options.config.local.memory_cap_bytes;
  return cap == 0 ? SIZE_MAX : cap;
}

// Of the heap, for what a communicator of n ranks is made of: per peer a record of it, its address
// and the token of its board, its signals taken, its process.
size_t object_bytes(int n_ranks) {
  constexpr size_t kPerPeer = sizeof(transport::Peer) + kSignalsPerPeer * sizeof(uint64_t) + 512;
  return sizeof(Communicator) + sizeof(LocalEnd) + sizeof(DataPath) +
         static_cast<size_t>(n_ranks) * kPerPeer;
}

}  // namespace

size_t fixed_bytes(int n_ranks, uint32_t trace_entries) noexcept {
  const auto n = static_cast<uint64_t>(n_ranks);
  return object_bytes(n_ranks) + NoticeBoard::memory_bytes(n_ranks) +
         whole_pages(trace::total_bytes(trace_entries, n));
}

LocalEnd::LocalEnd(const Seat& seat, const Options& options)
    : config(options.config.local),
      account(std::make_shared<MemoryBudget>(cap_of(options))),
      budget(*account),
      objects(budget, MemoryUse::kObjects, object_bytes(seat.n_ranks), "a communicator"),
      recorder({.comm_id = seat.comm_id,
                .rank = seat.rank,
                .n_ranks = seat.n_ranks,
                .comm_name = options.name,
                .folder = options.config.local.trace_dir,
                .metrics_file = options.config.local.metrics_file,
                .job = options.config.local.job,
                .entries = options.config.local.trace_entries,
                .budget = &budget}),
      bell(SharedBell::allocate()),
      board(seat.n_ranks, budget),
      transports({.comm_id = seat.comm_id,
                  .rank = seat.rank,
                  .budget = &budget,
                  .bell = &bell,
                  .n_ranks = seat.n_ranks,
                  .secret = seat.secret,
                  .config = &config,
                  .device = config.device},
                 config.faults, options.config.agreed.transport) {}

PeerRecord LocalEnd::record(const AgreedConfig& agreed) const {
  return {.process = this_process(),
          .cores = usable_cores(),
          .agreed = agreed,
          .caches = cache_sizes(),
          .memory_cap_bytes = budget.capped() ? budget.cap_bytes() : 0,
          .memory_used_bytes = budget.used_bytes(),
          .device = config.device,
          .whole_lines = config.device >= 0 && sends_whole_lines(config.device),
          .gpu = config.device >= 0 ? pci_address_of(config.device) : "",
          .transports = transports.addresses(board.data(), board.bytes())};
}

// The agreed settings, and what depends on where this rank runs.
Tuning tuning_of(const Seat& seat, const std::vector<PeerRecord>& records, const HostFacts& facts) {
  constexpr size_t kLeastStreaming = 2 << 20;
  Measured measured{.text = records[0].profile.text,
                    .n_ranks = seat.n_ranks,
                    .cores = facts.cores,
                    .ranks_per_host = host_facts(records, 0).local_ranks,
                    .rdma = facts.rdma,
                    .all_devices = facts.all_devices,
                    .whole_lines = facts.whole_lines};
  // Where memory is capped, no more is taken than messages need.
  const auto capped = [](const PeerRecord& record) { return record.memory_cap_bytes != 0; };
  if (std::ranges::none_of(records, capped)) measured.caches = records[0].caches;
  Tuning tuning = resolve(records[0].agreed, records[0].plan, measured);
  // The outputs of all ranks that share the cache fill it. From half of that on no less is gained
  // on Zen 3, but up to a third lost on Zen 4.
  tuning.policy.streaming_min_bytes =
      std::max(kLeastStreaming, records[static_cast<size_t>(seat.rank)].caches.last_level /
                                    static_cast<size_t>(facts.local_ranks));
  return tuning;
}

std::vector<bool> devices_of(const std::vector<PeerRecord>& records) {
  std::vector<bool> devices;
  devices.reserve(records.size());
  for (const PeerRecord& record : records) devices.push_back(record.device >= 0);
  return devices;
}

DataPath::DataPath(const Seat& seat, LocalEnd& local, const std::vector<PeerRecord>& records)
    : facts(host_facts(records, seat.rank)),
      tuning(tuning_of(seat, records, facts)),
      boards(local.transports, records, local.budget),
      links(local.transports, seat.comm_id, local.recorder, seat.rank, tuning.layout,
            devices_of(records)),
      device(local.config.device < 0
                 ? nullptr
                 : std::make_unique<DeviceCalls>(local.config, seat.rank, seat.n_ranks)),
      collectives({.rank = seat.rank,
                   .n_ranks = seat.n_ranks,
                   .cores = facts.cores,
                   .hosts = facts.hosts,
                   .device = device.get()},
                  tuning, links,
                  AgreedMemory(records, tuning.layout, tuning.policy.pull_min_bytes != UINT64_MAX),
                  local.budget, local.board.journal(), local.recorder),
      signals(seat.n_ranks, seat.rank, local.board, boards) {}

std::vector<std::byte> agree_on_errors(const Exchange& exchange, const Error& mine,
                                       std::span<const std::byte> note) {
  ByteWriter out;
  out.value(mine.code());
  out.text(mine.what());
  out.blob(note);
  const auto all = exchange(out.take());
  if (mine.code() != StatusCode::kOk) throw mine;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    ByteReader in(all[rank]);
    const auto code = in.value<StatusCode>();
    if (code != StatusCode::kOk)
      throw Error(code, "rank " + std::to_string(rank) + ": " + in.text());
  }
  ByteReader first(all[0]);
  (void)first.value<StatusCode>();
  (void)first.text();
  return first.blob();
}

// What rank 0's tuner plugin wants; empty where there is none.
std::vector<std::byte> tuners_wishes(const Seat& seat, const Options& options, const DataPath& path,
                                     const std::vector<PeerRecord>& records) {
  if (options.config.local.tuner_plugin.empty()) return {};
  std::set<uint64_t> hosts;
  for (const PeerRecord& record : records) hosts.insert(record.process.host_id);
  planner::CostInput cost{.n_ranks = seat.n_ranks, .cores = path.facts.cores};
  cost.profile = path.tuning.profile.get();
  if (cost.profile != nullptr) cost.parameters = cost.profile->parameters;
  return encode(ask_tuner({.plugin = options.config.local.tuner_plugin,
                           .comm_id = seat.comm_id,
                           .n_ranks = seat.n_ranks,
                           .n_hosts = static_cast<int>(hosts.size())},
                          cost));
}

// Plans for its links are for GPUs that share a machine.
bool plans_by_links(const Seat& seat, const HostFacts& facts) {
  return facts.all_devices && seat.n_ranks > 1 && facts.local_ranks == seat.n_ranks;
}

// What rank 0 tells all: its tuner plugin's wishes, and what its machine looks like.
std::vector<std::byte> advice_of(const Seat& seat, const Options& options, const DataPath& path,
                                 const std::vector<PeerRecord>& records) {
  if (seat.rank != 0) return {};
  ByteWriter out;
  out.blob(tuners_wishes(seat, options, path, records));
  out.text(plans_by_links(seat, path.facts) ? describe_machine(seat.rank) : "");
  return out.take();
}

void DataPath::take_advice(std::span<const std::byte> bytes,
                           const std::vector<PeerRecord>& records) {
  ByteReader in(bytes);
  const std::vector<std::byte> wishes = in.blob();
  const std::string machine = in.text();
  if (!wishes.empty()) {
    tuning.advice = std::make_shared<const Advice>(decode_advice(wishes));
    collectives.advise(tuning.advice);
  }
  if (machine.empty()) return;
  std::vector<std::string> gpus;
  gpus.reserve(records.size());
  for (const PeerRecord& record : records) gpus.push_back(record.gpu);
  try {
    tuning.machine = std::make_shared<DevicePlans>(machine, gpus);
    collectives.plan_for(tuning.machine);
  } catch (const Error& error) {  // on all ranks alike
    log(LogLevel::kInfo, "comm", -1, "plans are not made for the machine's links: {}",
        error.what());
  }
}

void DataPath::make_symmetric(const Seat& seat, const LocalEnd& local, const Exchange& exchange) {
  std::string obstacle;
  if (!local.config.faults.empty())
    obstacle = "faults of its connections are wanted (TUTTI_FAULTS)";
  for (int peer = 0; peer < seat.n_ranks; ++peer) {
    if (peer == seat.rank || !obstacle.empty()) continue;
    const std::string_view by = local.transports.name(local.transports.index_of(peer));
    if (by != "cuda_p2p") obstacle = fmt::format("rank {} is reached by {}", peer, by);
  }
  std::string why_not;
  symmetric = SymmetricMemory::create({.comm_id = seat.comm_id,
                                       .rank = seat.rank,
                                       .n_ranks = seat.n_ranks,
                                       .secret = seat.secret,
                                       .area_bytes = tuning.symmetric_bytes,
                                       .multicast = tuning.nvls,
                                       .most_blocks = device->executor().most_blocks(),
                                       .obstacle = obstacle},
                                      device->executor().gpu(), exchange, &why_not);
  if (symmetric != nullptr) return collectives.use(symmetric->region());
  log(LogLevel::kInfo, "comm", seat.rank, "no symmetric memory: {}", why_not);
  if (!tuning.nvls) return;
  throw Error(StatusCode::kInvalidArgument,
              "algorithm of rank 0 (config.algorithm or TUTTI_ALGO) is 'nvls', which needs GPUs of "
              "one host with a switch that multicasts, but " +
                  why_not);
}

std::shared_ptr<Communicator> Communicator::create(const Seat& seat, const Options& options,
                                                   const Exchange& exchange, uint64_t owner) {
  std::unique_ptr<LocalEnd> local;
  std::vector<std::byte> mine;
  Error error = error_of([&] {
    local = std::make_unique<LocalEnd>(seat, options);
    PeerRecord record = local->record(options.config.agreed);
    if (seat.rank == 0) {
      record.plan = read_plan(options.config.local.plan_file);
      record.profile = read_profile(options.config.local.profile, seat.n_ranks);
      record.layout.text = options.config.local.layout;
    }
    mine = encode(record);
  });
  const auto all = exchange(mine);
  std::unique_ptr<DataPath> path;
  std::vector<std::byte> advice;
  std::vector<PeerRecord> records;
  Options agreed = options;
  const bool everybody =
      std::none_of(all.begin(), all.end(), [](const auto& bytes) { return bytes.empty(); });
  if (error.code() == StatusCode::kOk && everybody) {
    error = error_of([&] {
      records.reserve(all.size());
      for (const auto& bytes : all) records.push_back(decode(bytes));
      agreed.config.agreed = records[0].agreed;  // what splits of this communicator inherit
      local->transports.route(records, seat.rank, records[0].agreed.transport);
      path = std::make_unique<DataPath>(seat, *local, records);
      advice = advice_of(seat, options, *path, records);
    });
  }
  const auto advices = agree_on_errors(exchange, error, advice);  // without a path it throws
  path->take_advice(advices, records);
  if (path->tuning.symmetric_bytes != 0 && seat.n_ranks > 1)
    path->make_symmetric(seat, *local, exchange);
  log(LogLevel::kInfo, "comm", seat.rank,
      "communicator {:x}: rank {} of {}, {} ranks on this host, {} cores, hosts {}", seat.comm_id,
      seat.rank, seat.n_ranks, path->facts.local_ranks, path->facts.cores,
      path->facts.hosts.text());
  if (const auto& given = path->tuning.plan;
      given != nullptr && given->plan.shape.n_ranks != seat.n_ranks && seat.rank == 0) {
    log(LogLevel::kWarn, "comm", seat.rank,
        "the plan of TUTTI_PLAN_FILE is for {} ranks and is not used: communicator {:x} has {}",
        given->plan.shape.n_ranks, seat.comm_id, seat.n_ranks);
  }
  return std::shared_ptr<Communicator>(
      new Communicator(seat, agreed, std::move(local), std::move(path), owner));
}

Communicator::Communicator(const Seat& seat, const Options& options,
                           std::unique_ptr<LocalEnd> local, std::unique_ptr<DataPath> path,
                           uint64_t owner)
    : seat_(seat),
      options_(options),
      local_(std::move(local)),
      path_(std::move(path)),
      bell_(local_->bell.bell()),
      notices_(local_->board.notice_count()),
      idle_policy_(IdlePolicy::for_load(path_->facts.local_ranks, path_->facts.cores)),
      team_(seat.comm_id, owner) {
  if (path_->device != nullptr)
    watch_ = std::make_unique<DeviceWatch>(*this, path_->device->executor());
}

Communicator::~Communicator() = default;

std::string Communicator::place() const {
  return " (rank " + std::to_string(rank()) + " of " + std::to_string(n_ranks()) + of_name() + ")";
}

void Communicator::refuse_call() const {
  if (health_.broken()) throw health_.error();
  throw Error(StatusCode::kInvalidUsage,
              "the communicator" + place() +
                  " has been finalized; only Destroy, Abort and queries are allowed");
}

bool Communicator::drain(Deadline deadline) noexcept {
  IdleStrategy idle(idle_policy_);
  while (!order_.drained()) {
    if (idle.idle(&bell()) && deadline.expired()) return false;
  }
  return watch_ == nullptr || watch_->drain(deadline);
}

size_t Communicator::rest() noexcept {
  uint64_t ticket = 0;
  if (watch_ != nullptr) return 0;  // kernels use the slots whoever's turn it is
  if (!order_.try_take(&ticket)) return 0;
  const size_t bytes = path_->links.rest();
  path_->collectives.forget_last();
  noted_staging_bytes_ = 0;  // so that taking them again is noted
  order_.leave(ticket, bell());
  return bytes;
}

void Communicator::finalize() {
  drain(Deadline::never());
  if (health_.broken()) throw health_.error();
  OrderedCall settle = SettleCall{"CommFinalize"};
  Work work(*this, {&settle, 1}, nullptr);
  Work* const one = &work;
  drive({&one, 1});
  if (work.error().has_value()) throw *work.error();
  health_.close();
  local_->recorder.finalized();
  local_->board.journal().close();
}

void Communicator::post_notice(const Notice& notice, std::string_view text, bool relay) noexcept {
  const bool first = !noticed_.exchange(true, std::memory_order_relaxed);
  // A text must be there before its notice is seen, and only boards carry texts.
  if (first && !text.empty() && !relay) post_on_boards(notice, text, true);
  path_->links.announce(notice);
  if (!first || relay || !text.empty() || planted(PlantedBug::kNoticeOnlyToNeighbours)) return;
  post_on_boards(notice, "", false);
}

// Those first that answer at once: one that is stopped must not keep the others from hearing of it.
// And the rank that it is about last.
void Communicator::post_on_boards(const Notice& notice, std::string_view text,
                                  bool neighbours_too) noexcept {
  std::vector<int> peers;
  for (int i = 1; i <= n_ranks(); ++i) {
    const int peer = notice.about < 0 ? i - 1 : (notice.about + i) % n_ranks();
    if (peer != rank() && (neighbours_too || !path_->links.reaches(peer))) peers.push_back(peer);
  }
  const Deadline deadline = Deadline::after_ns(kPostNoticeNs);
  for (const int64_t patience_ns : {kQuickAnswerNs, kPostNoticeNs}) {
    std::erase_if(peers, [&](int peer) {
      if (!local_->transports.peer_failure(peer).ok()) return true;
      return path_->boards.post(peer, notice, text,
                                Deadline::after_ns(std::min(patience_ns, deadline.left_ns())));
    });
  }
}

void Communicator::break_off(Cause cause, const char* call) noexcept {
  broken_off_for_.store(cause, std::memory_order_relaxed);
  health_.fail(StatusCode::kInvalidUsage, "the communicator" + place() + " was " +
                                              (cause == Cause::kRevoked ? "revoked" : "aborted") +
                                              " by " + call);
  exposures_->end();
  log(LogLevel::kWarn, "comm", rank(), "communicator {:x} is broken off by {}", comm_id(), call);
  ring(bell());
  if (drain(Deadline::after_ns(kAbortGraceNs))) return post_own(cause);
  // Queued behind other work, or in the hands of a thread that does not come back: its connections
  // are not ours to touch, boards are.
  if (!noticed_.exchange(true, std::memory_order_relaxed)) post_on_boards(own(cause), "", true);
  drain(Deadline::after_ns(kAbortWaitNs));
}

}  // namespace tutti::comm
