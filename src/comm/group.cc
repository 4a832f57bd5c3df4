// SPDX-License-Identifier: Apache-2.0
// From issued calls to works: at once, on a stream, or at the end of a group.
#include "src/comm/group.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "src/base/clock.h"
#include "src/base/liveness.h"
#include "src/base/wait.h"
#include "src/comm/driver.h"
#include "src/comm/repeated_p2p.h"

namespace tutti::comm {
namespace {

constexpr int64_t kHandOverNs = kNsPerSecond;  // for threads to take over ranks that they are given

void run_works(std::span<Work* const> works) {
  drive(works);
  for (const Work* work : works) {
    if (work->error().has_value()) throw *work->error();
  }
}

void run_p2p_now(Communicator& comm, const P2pCall& call) {
  static thread_local P2pGroup p2p;  // reused: a call allocates nothing
  p2p.assign({&call, 1}, comm.rank());
  Work work(comm, {}, &p2p);
  Work* const one = &work;
  run_works({&one, 1});
}

void enqueue(std::unique_ptr<Unit> unit, Stream* stream) {
  std::vector<Stream::Entry> entries(1);
  entries[0].streams = {stream};
  entries[0].units.push_back(std::move(unit));
  Stream::enqueue(std::move(entries));
}

bool contains(const std::vector<Stream*>& streams, const Stream* stream) noexcept {
  return std::find(streams.begin(), streams.end(), stream) != streams.end();
}

// Adds the streams that `into` does not have yet.
void unite(std::vector<Stream*>& into, const std::vector<Stream*>& streams) {
  for (Stream* stream : streams) {
    if (!contains(into, stream)) into.push_back(stream);
  }
}

// All of them, also after a failure: the other ranks run them all.
void run_in_order(const std::vector<std::function<void()>>& jobs) {
  std::exception_ptr first;
  for (const std::function<void()>& job : jobs) {
    try {
      job();
    } catch (...) {
      if (first == nullptr) first = std::current_exception();
    }
  }
  if (first != nullptr) std::rethrow_exception(first);
}

}  // namespace

void check_not_crowded(Communicator& comm) {
  if (!comm.team().crowded()) [[likely]]
    return;
  const Deadline deadline = Deadline::after_ns(kHandOverNs);
  while (!deadline.expired()) {
    sleep_ns(kNsPerMs);
    if (!comm.team().crowded()) return;
  }
  throw Error(StatusCode::kInvalidUsage,
              "this thread drives several ranks of the communicator" + comm.place() +
                  ", so a call without a stream would wait for itself; put the calls of all its "
                  "ranks between "
                  "tuttiGroupStart and tuttiGroupEnd, or give each rank a stream");
}

// On a GPU: puts it into its stream.
void run_call(Communicator& comm, OrderedCall&& call) {
  Work work(comm, {&call, 1}, nullptr);
  Work* const one = &work;
  run_works({&one, 1});
}

void run_now(Communicator& comm, OrderedCall&& call) {
  DeviceCalls* const device = comm.path().device.get();
  auto* const collective = std::get_if<CollectiveCall>(&call);
  if (device == nullptr || collective == nullptr) return run_call(comm, std::move(call));
  collective->device_stream = device->own_stream();
  run_call(comm, std::move(call));
  // Kernels end when the communicator fails, so this wait ends too.
  device->await_own_stream();
  if (comm.health().broken()) throw comm.health().error();
}

void issue(Communicator& comm, OrderedCall&& call, Stream* stream) {
  comm.check_open();
  comm.team().claim();
  if (Group::active()) {
    Group::current().pending_for(comm, stream).unit->calls.push_back(std::move(call));
  } else if (stream == nullptr) {
    if (std::holds_alternative<CollectiveCall>(call) || std::holds_alternative<TaskCall>(call))
      check_not_crowded(comm);
    run_call(comm, std::move(call));
  } else {
    auto unit = std::make_unique<Unit>(comm.shared_from_this());
    unit->calls.push_back(std::move(call));
    enqueue(std::move(unit), stream);
  }
}

void issue(Communicator& comm, const P2pCall& call, Stream* stream) {
  comm.check_open();
  comm.team().claim();
  if (Group::active()) {
    Group::current().pending_for(comm, stream).p2p.push_back(call);
  } else if (stream == nullptr) {
    check_not_crowded(comm);
    run_p2p_now(comm, call);
    if (comm.path().device == nullptr) remember(comm, call);
  } else {
    auto unit = std::make_unique<Unit>(comm.shared_from_this());
    unit->p2p.emplace().assign({&call, 1}, comm.rank());
    enqueue(std::move(unit), stream);
  }
}

Group& Group::current() noexcept {
  static thread_local Group group;
  return group;
}

void Group::set_up(const Communicator* parent, std::function<void()> job) {
  if (!active()) return job();
  if (contents_.pid == 0) contents_.pid = own_pid();
  auto& set_ups = contents_.set_ups;
  const auto same = std::find_if(set_ups.begin(), set_ups.end(), [&](const SetUps& s) {
    return parent != nullptr && s.parent == parent;
  });
  if (same != set_ups.end()) {
    same->jobs.push_back(std::move(job));
  } else {
    set_ups.push_back({parent, {std::move(job)}});
  }
}

bool Group::uses(const Stream& stream) const noexcept {
  return std::any_of(contents_.pending.begin(), contents_.pending.end(),
                     [&](const Pending& p) { return contains(p.streams, &stream); });
}

void Group::refuse(const Error& error) {
  if (active() && !contents_.refused.has_value()) contents_.refused = error;
}

Group::Pending& Group::pending_for(Communicator& comm, Stream* stream) {
  if (contents_.pid == 0) contents_.pid = own_pid();
  auto& pending = contents_.pending;
  auto at = std::find_if(pending.begin(), pending.end(),
                         [&](const Pending& p) { return p.unit->comm.get() == &comm; });
  if (at == pending.end())
    at = pending.insert(pending.end(), {std::make_unique<Unit>(comm.shared_from_this()), {}, {}});
  unite(at->streams, {stream});
  return *at;
}

void Group::end() {
  if (!active())
    throw Error(StatusCode::kInvalidUsage, "tuttiGroupEnd without tuttiGroupStart on this thread");
  this_caller.close_group();
  if (active()) return;
  Contents contents = std::exchange(contents_, {});
  if (contents.pid != 0 && contents.pid != own_pid()) {
    const int32_t owner = contents.pid;
    (void)new Contents(std::move(contents));  // kept: what it refers to is the parent's to end
    throw Error(StatusCode::kInvalidUsage, "the group holds calls of process " +
                                               std::to_string(owner) +
                                               ", this is its forked child; it does nothing");
  }
  if (contents.refused.has_value()) throw *contents.refused;
  std::vector<std::function<void()>> set_ups;
  for (const SetUps& s : contents.set_ups) set_ups.emplace_back([&s] { run_in_order(s.jobs); });
  run_concurrently(set_ups);
  run_calls(contents.pending);
}

void run_concurrently(const std::vector<std::function<void()>>& jobs,
                      const std::function<void()>& cancel) {
  std::mutex mutex;  // guards first
  std::exception_ptr first;
  const auto guarded = [&](const std::function<void()>& job) {
    try {
      job();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (first == nullptr) first = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  const std::function<void()> start_helpers = [&] {
    try {
      for (size_t i = 1; i < jobs.size(); ++i) helpers.emplace_back(guarded, std::cref(jobs[i]));
    } catch (const std::system_error& e) {
      throw Error(
          StatusCode::kSystemError,
          "only " + std::to_string(helpers.size() + 1) + " of the " + std::to_string(jobs.size()) +
              " threads that set up the ranks of this process could be started: " + e.what());
    }
  };
  guarded(start_helpers);
  if (helpers.size() + 1 < jobs.size() && cancel) cancel();
  if (!jobs.empty()) guarded(jobs.front());
  for (std::thread& helper : helpers) helper.join();
  if (first != nullptr) std::rethrow_exception(first);
}

std::vector<Stream::Entry> Group::entries_of(std::vector<Pending>& pending) {
  std::vector<Stream::Entry> entries;
  for (Pending& p : pending) {
    Stream::Entry entry{std::move(p.streams), {}};
    const auto joins = [&](const Stream::Entry& other) {
      return std::any_of(entry.streams.begin(), entry.streams.end(),
                         [&](const Stream* s) { return contains(other.streams, s); });
    };
    // Entries made so far have no stream in common, so what `entry` takes in joins no further one.
    for (auto other = entries.begin(); other != entries.end();) {
      if (!joins(*other)) {
        ++other;
        continue;
      }
      std::move(other->units.begin(), other->units.end(), std::back_inserter(entry.units));
      unite(entry.streams, other->streams);
      other = entries.erase(other);
    }
    entry.units.push_back(std::move(p.unit));
    entries.push_back(std::move(entry));
  }
  return entries;
}

void Group::run_calls(std::vector<Pending>& pending) {
  for (Pending& p : pending) {
    if (!p.p2p.empty()) p.unit->p2p.emplace().assign(p.p2p, p.unit->comm->rank());
  }
  for (const auto& batch : Stream::enqueue(entries_of(pending))) {
    if (const auto error = batch->take_part(); error.has_value()) throw *error;
  }
}

}  // namespace tutti::comm
