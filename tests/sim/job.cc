// SPDX-License-Identifier: Apache-2.0
// Threads of ranks make a communicator, call, finalize; faults happen to them meanwhile.
#include "tests/sim/job.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/comm/driver.h"
#include "src/comm/group.h"
#include "src/comm/pair_call.h"
#include "src/comm/repeated_call.h"
#include "src/comm/work.h"
#include "tests/sim/reference.h"
#include "tests/sim/star_plan.h"

namespace tutti::sim {
namespace {

using Kind = Fault::Kind;

constexpr uint64_t kCommId = 0x51;
constexpr int64_t kLongestNs = 120 * kNsPerSecond;
constexpr int64_t kGatherNs = 2 * kNsPerMs;
constexpr int64_t kBuryNs = 60 * kNsPerSecond;
constexpr size_t kAlignment = 64;

Job* current_job = nullptr;

uint64_t salt_of(const Scenario& scenario, size_t step) {
  return scenario.seed * 0x2545f4914f6cdd1dULL + step * 0x9e3779b97f4a7c15ULL;
}

void hand_back(Buffers& b) {
  std::memset(b.input, static_cast<int>(kUsersOwn), b.input_bytes);
  std::memset(b.output, static_cast<int>(kUsersOwn), b.output_bytes);
  b.handed_back = true;
}

}  // namespace

std::byte* Arena::take(size_t bytes) {
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (used_ + rounded > memory_.size())
    throw Error(StatusCode::kInternalError, "the buffers of a job outgrow the simulator's arena");
  return memory_.data() + std::exchange(used_, used_ + rounded);
}

Job::Job() = default;
Job* Job::current() noexcept { return current_job; }

std::string Job::run(const Scenario& scenario, bool verbose) {
  current_job = this;
  prepare(scenario, verbose);
  for (int rank = 0; rank < scenario.n_ranks; ++rank)
    world_.spawn(rank, [this, rank] { run_rank(rank); });
  for (size_t i = 0; i < scenario.faults.size(); ++i) set_off(i);
  world_.run(start_ns_ + kLongestNs, [this] { return everybody(&Fate::done); });
  judge();
  clean_up();
  current_job = nullptr;
  return world_.finding();
}

void Job::prepare(const Scenario& scenario, bool verbose) {
  scenario_ = &scenario;
  world_.begin(scenario.seed, scenario.n_ranks, scenario.hosts, scenario.pace, verbose);
  network_.begin(world_, scenario.network);
  meeting_.begin(world_, ranks_but(-1), scenario.timeout_ns);
  reunion_.begin(world_, {}, 0);
  arena_.reset();
  start_ns_ = trouble_ns_ = world_.now();
  happened_.assign(scenario.faults.size(), false);
  for (int rank = 0; rank < scenario.n_ranks; ++rank) {
    Fate& fate = fates_[at_(rank)];
    fate.ended = fate.done = false;
    fate.completed = 0;
    fate.error.reset();
    fate.buffers.assign(scenario.steps.size(), {});
  }
}

std::vector<int> Job::ranks_but(int excluded) const {
  std::vector<int> ranks;
  for (int rank = 0; rank < scenario_->n_ranks; ++rank)
    if (rank != excluded) ranks.push_back(rank);
  return ranks;
}

// Threads of dead ranks never get there by themselves.
bool Job::everybody(bool Fate::*what) const {
  for (int rank = 0; rank < scenario_->n_ranks; ++rank)
    if (!(fates_[at_(rank)].*what) && !world_.crashed(rank)) return false;
  return true;
}

// ---- faults

void Job::set_off(size_t index) {
  const Fault& fault = scenario_->faults[index];
  if (fault.kind == Kind::kMismatch) return;  // by step_of()
  if (fault.nth_act > 0) {
    network_.on_nth_act(fault.rank, fault.nth_act, [this, index] { happen(index); });
  } else {
    world_.at(start_ns_ + fault.at_ns, this, kFault, index);
  }
}

void Job::on_event(uint32_t what, uint64_t argument) {
  if (what == kFault) return happen(argument);
  if (world_.verbose()) world_.say("rank " + std::to_string(argument) + " runs again");
  world_.resume(static_cast<int>(argument));
}

void Job::happen(size_t index) {
  const Fault& fault = scenario_->faults[index];
  if (world_.crashed(fault.rank) || fates_[at_(fault.rank)].ended) return;
  happened_[index] = true;
  if (world_.verbose()) world_.say("FAULT: " + describe(fault));
  if (!is_harmless(fault.kind)) trouble_ns_ = world_.now();
  switch (fault.kind) {
    case Kind::kStall:
      return network_.stall(fault.rank, fault.duration_ns);
    case Kind::kNap:
    case Kind::kStop:
      world_.pause(fault.rank);
      return world_.at(world_.now() + fault.duration_ns, this, kResume,
                       static_cast<uint64_t>(fault.rank));
    case Kind::kRift:
      return network_.part(fault.hosts, fault.duration_ns);
    case Kind::kPartition:
      return network_.part(fault.hosts, INT64_MAX);
    case Kind::kCrash:
    case Kind::kVanish:
      return network_.crash(fault.rank, fault.kind == Kind::kVanish);
    case Kind::kBreak:
      return network_.break_connections(fault.rank, fault.peer);
    case Kind::kAbort:
      return break_off(fault.rank, comm::Cause::kAborted);
    case Kind::kRevoke:
      return break_off(fault.rank, comm::Cause::kRevoked);
    case Kind::kMismatch:
      return;
  }
}

// By another thread of the rank. Before there is a communicator there is nothing to break off.
void Job::break_off(int rank, comm::Cause cause) {
  const auto comm = comms_[at_(rank)];
  if (comm == nullptr) return;
  world_.spawn(rank, [comm, cause] {
    comm->break_off(cause, cause == comm::Cause::kAborted ? "tuttiCommAbort" : "tuttiCommRevoke");
  });
}

// ---- what ranks do

const Step& Job::step_of(int rank, size_t index) const {
  for (const Fault& fault : scenario_->faults) {
    if (fault.kind == Kind::kMismatch && fault.rank == rank && fault.step == index)
      return fault.instead;
  }
  return scenario_->steps[index];
}

void Job::run_rank(int rank) {
  comm::Options options;
  options.config.agreed = scenario_->agreed;
  options.config.local.timeout_ns = scenario_->timeout_ns;
  options.config.local.trace_entries = 16;
  if (scenario_->star) options.config.local.plan_file = star_plan(scenario_->n_ranks).file;
  const comm::Exchange exchange = [this, rank](std::span<const std::byte> mine) {
    return meeting_.gather(rank, mine);
  };
  auto& comm = comms_[at_(rank)];
  Error error = comm::error_of([&] {
    comm = comm::Communicator::create({kCommId, rank, scenario_->n_ranks}, options, exchange, 0);
  });
  if (comm != nullptr) {
    error = comm::error_of([&] { run_steps(rank, *comm); });
    if (error.code() == StatusCode::kOk) error = comm::error_of([&] { comm->finalize(); });
  }
  end_rank(rank, std::move(error));
  go_on(rank);
  fates_[at_(rank)].done = true;
  fates_[at_(rank)].done_ns = world_.now();
  // The user looks at what came of it before letting go.
  world_.sleep(world_.rng().between(0, scenario_->timeout_ns / 4));
  comm.reset();
}

void Job::go_on(int rank) {
  const auto& faults = scenario_->faults;
  const auto is_death = [](const Fault& fault) { return fault.kind == Kind::kCrash; };
  if (std::none_of(faults.begin(), faults.end(), is_death)) return;
  while (!everybody(&Fate::ended) && !world_.burying()) world_.sleep(kGatherNs);
  const Fault* const harmful = trouble();
  if (harmful == nullptr || world_.crashed(rank) || world_.burying()) return;
  const int n = scenario_->n_ranks - 1;
  const int seat = rank - (rank > harmful->rank ? 1 : 0);
  if (seat == 0) ++tally_.went_on;
  if (reunion_.n_ranks() == 0)
    reunion_.begin(world_, ranks_but(harmful->rank), scenario_->timeout_ns);
  comm::Options options;
  options.config.local.timeout_ns = scenario_->timeout_ns;
  options.config.local.trace_entries = 16;
  constexpr size_t kCount = 40;
  std::array<int32_t, kCount> values{};
  for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<int32_t>(i) + seat;
  const comm::Exchange exchange = [this, seat](std::span<const std::byte> mine) {
    return reunion_.gather(seat, mine);
  };
  const Error error = comm::error_of([&] {
    const auto comm = comm::Communicator::create({kCommId + 1, seat, n}, options, exchange, 0);
    comm::run_now(*comm, comm::CollectiveCall{.name = "AllReduce",
                                              .collective = plan::Collective::kAllReduce,
                                              .input = values.data(),
                                              .output = values.data(),
                                              .count = kCount,
                                              .dtype = DType::kInt32,
                                              .in_place = true});
    comm->finalize();
  });
  if (world_.crashed(rank) || world_.burying()) return;
  const std::string who = "rank " + std::to_string(rank);
  if (error.code() != StatusCode::kOk)
    return world_.fail("the survivors could not go on: " + who + ": " + error.what());
  for (size_t i = 0; i < kCount; ++i) {
    const int32_t expected = n * static_cast<int32_t>(i) + n * (n - 1) / 2;
    if (values[i] == expected) continue;
    return world_.fail("wrong result after going on: " + who + ", element " + std::to_string(i) +
                       ": expected " + std::to_string(expected) + ", got " +
                       std::to_string(values[i]));
  }
}

void Job::end_rank(int rank, Error error) {
  Fate& fate = fates_[at_(rank)];
  fate.ended = true;
  fate.ended_ns = world_.now();
  for (Buffers& b : fate.buffers) {
    if (b.input == nullptr || b.handed_back) continue;
    // The user's again, whatever the call has come to.
    hand_back(b);
  }
  const bool ok = error.code() == StatusCode::kOk;
  if (world_.verbose()) {
    world_.say("rank " + std::to_string(rank) + " ends" +
               (ok ? ""
                   : " with code " + std::to_string(static_cast<int>(error.code())) + ": " +
                         error.what()));
  }
  if (!ok) fate.error = std::move(error);
}

void Job::run_steps(int rank, comm::Communicator& comm) {
  Fate& fate = fates_[at_(rank)];
  for (size_t i = 0; i < scenario_->steps.size(); ++i) {
    const int64_t think = scenario_->steps[i].think_ns[at_(rank)];
    if (think > 0) world_.sleep(think);
    if (world_.verbose())
      world_.say("rank " + std::to_string(rank) + " calls #" + std::to_string(i) + ": " +
                 describe(step_of(rank, i)));
    run_step(rank, i, comm);
    world_.note_progress();
    ++fate.completed;
  }
}

void Job::run_step(int rank, size_t index, comm::Communicator& comm) {
  const Step& step = step_of(rank, index);
  const int n = scenario_->n_ranks;
  const uint64_t salt = salt_of(*scenario_, index);
  Buffers& b = fates_[at_(rank)].buffers[index];
  place_buffers(step, rank, b);
  const size_t elem = size_of(step.dtype);
  for (size_t i = 0; i * elem < b.input_bytes; ++i)
    write_value(b.input, step.dtype, i, input_value(salt, rank, i));
  comm.check_open();
  if (step.is_shift) {
    const std::vector<comm::P2pCall> calls{
        {"Send", true, b.input, step.count, step.dtype, (rank + step.shift) % n},
        {"Recv", false, b.output, step.count, step.dtype, (rank - step.shift + n) % n}};
    comm::P2pGroup group;
    group.assign(calls, rank);
    comm::Work work(comm, {}, &group);
    comm::Work* const one = &work;
    comm::drive({&one, 1});
    if (work.error().has_value()) throw Error(*work.error());
  } else {
    const Op op = plan::reduces(step.collective) ? step.op : Op::kSum;
    const char* const name = plan::name(step.collective);
    // As the C API does it, on a thread that is this rank's alone.
    const auto token = static_cast<uint64_t>(rank) + 1;
    comm::this_caller = {.token = token, .known = token, .solo = token};
    if (!run_again(comm, name, step, op, b))
      comm::run_now(comm, comm::CollectiveCall{.name = name,
                                               .collective = step.collective,
                                               .input = b.input,
                                               .output = b.output,
                                               .count = step.count,
                                               .dtype = step.dtype,
                                               .op = op,
                                               .root = step.root,
                                               .in_place = overlap(b)});
  }
  check_output(rank, index);
}

// The short ways. False: nothing has been done.
bool Job::run_again(comm::Communicator& comm, const char* name, const Step& step, Op op,
                    const Buffers& b) {
  comm::LatePair late;
  const comm::PairKey pair{name, step.count, static_cast<int>(step.dtype), static_cast<int>(op)};
  switch (comm::run_pair(comm, pair, b.input, b.output, &late)) {
    case comm::PairOutcome::kDone:
      return true;
    case comm::PairOutcome::kLate:
      comm::complete_late(comm, late);
      return true;
    case comm::PairOutcome::kNotTaken:
      break;
  }
  return comm::run_repeated(comm, name,
                            comm::make_key(step.count, step.collective, step.dtype, op, step.root),
                            b.input, b.output);
}

// In place where the collective allows it: see plan/collective.h.
void Job::place_buffers(const Step& step, int rank, Buffers& b) {
  const int n = scenario_->n_ranks;
  const size_t elem = size_of(step.dtype);
  b.input_bytes = input_count(step, n, rank) * elem;
  b.output_bytes = output_count(step, n, rank) * elem;
  const bool shares = step.in_place && !step.is_shift &&
                      step.collective != plan::Collective::kAllToAll && b.input_bytes > 0 &&
                      b.output_bytes > 0;
  if (!shares) {
    b.input = arena_.take(b.input_bytes);
    b.output = arena_.take(b.output_bytes);
    return;
  }
  const size_t own =
      b.input_bytes == b.output_bytes ? 0 : static_cast<size_t>(rank) * step.count * elem;
  std::byte* const memory = arena_.take(std::max(b.input_bytes, b.output_bytes));
  b.input = memory + (b.input_bytes < b.output_bytes ? own : 0);
  b.output = memory + (b.output_bytes < b.input_bytes ? own : 0);
}

bool Job::overlap(const Buffers& b) noexcept {
  return b.input < b.output + b.output_bytes && b.output < b.input + b.input_bytes;
}

// Afterwards the buffers are the user's, who fills them anew.
void Job::check_output(int rank, size_t index) {
  const Step& step = step_of(rank, index);
  Buffers& b = fates_[at_(rank)].buffers[index];
  const uint64_t salt = salt_of(*scenario_, index);
  const size_t count = b.output_bytes / size_of(step.dtype);
  for (size_t i = 0; i < count && !world_.crashed(rank); ++i) {
    const int64_t got = read_value(b.output, step.dtype, i);
    const int64_t expected = expected_value(step, salt, scenario_->n_ranks, rank, i);
    if (got == expected) continue;
    world_.fail("wrong result: rank " + std::to_string(rank) + ", call #" + std::to_string(index) +
                " (" + describe(step) + "), element " + std::to_string(i) + ": expected " +
                std::to_string(expected) + ", got " + std::to_string(got));
    break;
  }
  hand_back(b);
  ++tally_.calls;
}

// Takes down what is left, so that nothing of this job is there in the next.
void Job::clean_up() {
  for (int rank = 0; rank < scenario_->n_ranks; ++rank) {
    if (comms_[at_(rank)] != nullptr)
      comms_[at_(rank)]->health().fail(StatusCode::kInvalidUsage, "the simulated job is over");
  }
  world_.bury();
  world_.run_out(world_.now() + kBuryNs);
  network_.end();
  world_.end();
  for (auto& comm : comms_) comm.reset();
}

}  // namespace tutti::sim
