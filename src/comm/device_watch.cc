// SPDX-License-Identifier: Apache-2.0
// What one look at the kernels leads to.
#include "src/comm/device_watch.h"

#include <algorithm>
#include <utility>

#include "src/base/wait.h"
#include "src/comm/communicator.h"

namespace tutti::comm {
namespace {

// Whether a kernel is stuck: what it waits for may have come before the failure that was seen, and
// a GPU that has much to do, or a simulated one that gets no turn, finds it late.
constexpr int64_t kStuckNs = 300 * kNsPerMs;
// Asked again within so long, it is the same suspicion. More than between two questions of the
// Lookout.
constexpr int64_t kSuspicionNs = 1'500 * kNsPerMs;
// Peers are asked before a failure is named.
constexpr int64_t kCatchUpNs = 2 * kNsPerSecond;
constexpr int64_t kDrainNapNs = kNsPerMs / 5;

bool same(const std::optional<exec::DeviceWaiting>& a,
          const std::optional<exec::DeviceWaiting>& b) noexcept {
  if (!a.has_value() || !b.has_value()) return a.has_value() == b.has_value();
  return a->what == b->what && a->rank == b->rank && a->place == b->place;
}

}  // namespace

bool DeviceWatch::Seen::operator==(const Seen& other) const noexcept {
  return counts.begun == other.counts.begun && counts.ended == other.counts.ended &&
         same(waiting, other.waiting);
}

DeviceWatch::DeviceWatch(Communicator& comm, std::unique_ptr<Kernels> kernels)
    : comm_(comm), kernels_(std::move(kernels)), thread_(WatchThread::shared()) {
  thread_->add(*this);
}

DeviceWatch::~DeviceWatch() { thread_->remove(*this); }

void DeviceWatch::take(bool runs, Launched launch) {
  if (runs) {
    launch.launch = kernels_->counts().issued;
    return launched(launch);
  }
  captured(launch.number.value_or(launch.call), launch.name);
  comm_.recorder().end(launch.record, launch.protocol);
}

void DeviceWatch::launched(const Launched& launch) {
  comm_.path().links.hand_over();
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    launches_.push_back(launch);
    wake = std::exchange(resting_, false);
  }
  if (wake) thread_->wake();
}

void DeviceWatch::captured(uint64_t call, const char* name) {
  comm_.path().links.hand_over();
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    const bool known =
        std::ranges::any_of(captured_, [&](const Captured& one) { return one.call == call; });
    if (!known) captured_.push_back({call, name});
    wake = std::exchange(resting_, false);  // from now on it looks for replays
  }
  if (wake) thread_->wake();
}

bool DeviceWatch::drain(Deadline deadline) noexcept {
  while (true) {
    if (!in_flight() && (kernels_->idle() || !kernels_->gpu_failure().ok())) {
      catch_up();
      return true;
    }
    if (deadline.expired()) return false;
    sleep_ns(kDrainNapNs);
  }
}

void DeviceWatch::catch_up() noexcept {
  const Deadline deadline = Deadline::after_ns(kCatchUpNs);
  while (!comm_.health().broken() && !find_failure().ok() && !deadline.expired()) {
    thread_->wake();
    sleep_ns(kDrainNapNs);
  }
}

WatchThread::Pace DeviceWatch::look(int64_t now_ns) noexcept {
  if (failed_) return end_failed();
  const Seen now = see();
  const bool active = in_flight() || now.runs() || now.counts.ended != seen_.counts.ended;
  // One that is queued behind the user's own work, or computes, is not silent.
  const bool moved = !now.waiting.has_value() || !(now == seen_);
  seen_ = now;
  if (comm_.health().broken()) {
    stop();
    failed();
    return WatchThread::Pace::kRest;
  }
  if (!active) return rest();
  // Before what has ended is forgotten: its last messages may still have to be carried.
  comm_.path().links.serve_peers();
  const Status failure = find_failure();
  // One that fails counts as done as well; what came before it has ended well.
  const bool failed_one = !failure.ok() && !now.runs() && now.counts.done != 0;
  end_launches(now.counts.done - (failed_one ? 1 : 0));
  if (failure.ok()) {
    lookout_.look(now_ns, moved);
  } else {
    lookout_.fail(failure, nullptr);
  }
  return WatchThread::Pace::kBusy;
}

DeviceWatch::Seen DeviceWatch::see() const noexcept {
  Seen seen{.counts = kernels_->counts(), .waiting = {}};
  if (seen.runs()) seen.waiting = kernels_->waiting();
  return seen;
}

Status DeviceWatch::find_failure() const noexcept {
  if (const Status gpu = kernels_->gpu_failure(); !gpu.ok()) return gpu;
  const auto failure = kernels_->failure();
  switch (failure.has_value() ? failure->what : gpu::Failure::kNone) {
    case gpu::Failure::kMismatch:
      return {StatusCode::kInvalidUsage, failure->rank, nullptr};
    case gpu::Failure::kReference:
      return {StatusCode::kInternalError, failure->rank,
              "its message refers to bytes that this rank's GPU can't reach"};
    case gpu::Failure::kAborted:  // by us, or by who has broken the communicator
    case gpu::Failure::kNone:
      break;
  }
  return kOkStatus;
}

void DeviceWatch::end_launches(uint64_t done) noexcept {
  const std::lock_guard lock(mutex_);
  while (!launches_.empty() && launches_.front().launch <= done) {
    const Launched& launch = launches_.front();
    if (launch.number.has_value()) comm_.path().collectives.ended(*launch.number);
    comm_.recorder().end_aside(launch.record, launch.protocol);
    launches_.pop_front();
  }
}

WatchThread::Pace DeviceWatch::rest() noexcept {
  const std::lock_guard lock(mutex_);
  if (!launches_.empty()) return WatchThread::Pace::kBusy;
  resting_ = true;
  return captured_.empty() ? WatchThread::Pace::kRest : WatchThread::Pace::kGlance;
}

bool DeviceWatch::in_flight() noexcept {
  const std::lock_guard lock(mutex_);
  return !launches_.empty();
}

// Whatever is in flight has failed with the communicator.
WatchThread::Pace DeviceWatch::end_failed() noexcept {
  const std::lock_guard lock(mutex_);
  const int code = static_cast<int>(comm_.health().code());
  for (const Launched& launch : launches_)
    comm_.recorder().fail(launch.record, std::exchange(waited_for_, -1), code);
  launches_.clear();
  resting_ = true;
  return WatchThread::Pace::kRest;
}

// What runs, when that is a replay of a graph. What is no collective may be one, or what was
// launched; they are called the same. Under the lock.
const DeviceWatch::Captured* DeviceWatch::replayed() const noexcept {
  if (!seen_.runs()) return nullptr;
  const bool launched = !launches_.empty() && !launches_.front().number.has_value() &&
                        launches_.front().call == seen_.counts.call;
  if (launched) return nullptr;
  const auto at = std::find_if(captured_.begin(), captured_.end(),
                               [&](const Captured& one) { return one.call == seen_.counts.call; });
  return at == captured_.end() ? nullptr : &*at;
}

// What was launched and runs; when nothing does, what will run first.
std::optional<DeviceWatch::Launched> DeviceWatch::current() const noexcept {
  const std::lock_guard lock(mutex_);
  if (launches_.empty() || replayed() != nullptr) return std::nullopt;
  return launches_.front();
}

int DeviceWatch::waiting_for() const noexcept {
  return seen_.waiting.has_value() ? seen_.waiting->rank : -1;
}

bool DeviceWatch::needs(int rank) const noexcept {
  return seen_.runs() && kernels_->waits_for(rank);
}

std::optional<uint64_t> DeviceWatch::collective_number() const noexcept {
  const auto launch = current();
  return launch.has_value() ? launch->number : std::nullopt;
}

std::string DeviceWatch::call_name() const {
  if (const auto launch = current()) {
    const std::string name = launch->name;
    return launch->number.has_value() ? name + " #" + std::to_string(*launch->number) : name;
  }
  const std::lock_guard lock(mutex_);
  const Captured* const graph = replayed();
  return graph == nullptr ? "device communicator"
                          : std::string(graph->name) + " of a captured graph";
}

// Kernels don't say which of the transfers with a peer they are at.
std::optional<AwaitedSend> DeviceWatch::awaited_send(int) const noexcept { return std::nullopt; }

// Does not wait itself: other communicators have the same thread. It is asked again, and from the
// first time on nothing may have changed.
bool DeviceWatch::still_stuck() noexcept {
  const Seen now = see();
  const int64_t asked_ns = now_ns();
  const bool goes_on = asked_ns - std::exchange(asked_ns_, asked_ns) < kSuspicionNs;
  if (!now.waiting.has_value() || !goes_on || !(now == suspected_)) {
    suspected_ = now;
    suspected_since_ns_ = asked_ns;
    return false;
  }
  return asked_ns - suspected_since_ns_ >= kStuckNs;
}

void DeviceWatch::note_waiting() noexcept {
  if (!seen_.runs()) return;
  if (const auto launch = current()) comm_.recorder().waiting(launch->record, waiting_for());
}

void DeviceWatch::stop() noexcept {
  waited_for_ = waiting_for();
  kernels_->abort();
}

void DeviceWatch::failed() noexcept {
  failed_ = true;
  comm_.exposures()->end();
  comm_.recorder().failed(comm_.health().message());
  end_failed();
}

}  // namespace tutti::comm
