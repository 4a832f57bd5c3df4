// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/engine.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <thread>

#include <spdlog/fmt/fmt.h>
#include <sys/prctl.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/report.h"
#include "tests/cudasim/src/scheduler.h"
#include "tests/cudasim/src/space.h"
#include "tests/cudasim/src/watchdog.h"

namespace cudasim {
namespace {

constexpr uint64_t kYields = 50;  // rounds without progress before the engine sleeps
constexpr auto kNap = std::chrono::microseconds(50);

}  // namespace

void Engine::start() {
  if (running_) return;
  running_ = true;
  progress_ns_ = now_ns();
  std::thread([this] { run(); }).detach();  // ends with the process
}

void Engine::enqueue(abi::StreamObject& stream, std::unique_ptr<Op> op) {
  start();
  op->order = ++orders_;
  stream.ops.push_back(std::move(op));
  waits_reported_ = false;
  work_.notify_one();
}

void Engine::add_stream(abi::StreamObject& stream) {
  streams_.push_back(&stream);
  stream.context->streams.insert(&stream);
}

void Engine::remove_stream(abi::StreamObject& stream) {
  stream.destroyed = true;
  if (running_) return work_.notify_one();
  delete_destroyed();
}

void Engine::wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done) {
  finished_.wait(lock, done);
}

void Engine::nap(std::unique_lock<std::mutex>& lock) { finished_.wait_for(lock, kNap); }

void Engine::wait_idle(std::unique_lock<std::mutex>& lock,
                       const std::vector<abi::StreamObject*>& streams) {
  const uint64_t until = orders_;
  finished_.wait(lock, [&] {
    return std::all_of(streams.begin(), streams.end(), [&](const abi::StreamObject* stream) {
      // One that was destroyed while we waited has nothing left.
      const bool known = std::find(streams_.begin(), streams_.end(), stream) != streams_.end();
      return !known || stream->ops.empty() || stream->ops.front()->order > until;
    });
  });
}

void Engine::lose(abi::ContextObject& context, Result error) {
  if (context.error == Result::kSuccess) context.error = error;
  for (abi::StreamObject* const stream : context.streams) {
    for (const auto& op : stream->ops) op->drop();
    stream->ops.clear();
  }
  finished_.notify_all();
}

// Legacy rule: the NULL stream waits for all blocking streams of its context, and they for it.
bool Engine::may_start(const abi::StreamObject& stream) const {
  if ((stream.flags & abi::kStreamNonBlocking) != 0) return true;
  const uint64_t order = stream.ops.front()->order;
  const auto is_before = [order](const abi::StreamObject& other) {
    return !other.ops.empty() && other.ops.front()->order < order;
  };
  if (!stream.is_null) return !is_before(*stream.context->null_stream);
  return std::none_of(stream.context->streams.begin(), stream.context->streams.end(),
                      [&](const abi::StreamObject* other) {
                        const bool blocking = (other->flags & abi::kStreamNonBlocking) == 0;
                        return other != &stream && blocking && is_before(*other);
                      });
}

void Engine::delete_destroyed() {
  const auto is_over = [](const abi::StreamObject* stream) {
    return stream->destroyed && stream->ops.empty();
  };
  const auto over = std::stable_partition(streams_.begin(), streams_.end(), std::not_fn(is_over));
  for (auto at = over; at != streams_.end(); ++at) {
    (*at)->context->streams.erase(*at);
    delete *at;
  }
  streams_.erase(over, streams_.end());
}

bool Engine::advance_streams() {
  struct Head {
    abi::StreamObject* stream;
    Op* op;
  };
  std::vector<Head> heads;
  {
    const std::lock_guard lock(mutex_);
    delete_destroyed();
    for (abi::StreamObject* const stream : streams_)
      if (!stream->ops.empty() && may_start(*stream))
        heads.push_back({stream, stream->ops.front().get()});
  }
  bool progress = false;
  for (const Head& head : heads) {
    bool done = false;
    Result error = Result::kSuccess;
    try {
      done = head.op->poll();
    } catch (const Failure& failure) {
      error = failure.code();
      report(fmt::format("{} fails: {}", head.op->describe(), failure.what()));
    }
    if (!done && error == Result::kSuccess) continue;
    progress = true;
    const std::lock_guard lock(mutex_);
    if (error != Result::kSuccess) {
      scheduler().kill(*head.stream->context);
      lose(*head.stream->context, error);
      return true;  // other heads may be gone
    }
    if (!head.stream->ops.empty()) head.stream->ops.pop_front();
    finished_.notify_all();
  }
  return progress;
}

bool Engine::has_work() const {
  return std::any_of(streams_.begin(), streams_.end(),
                     [](const abi::StreamObject* stream) { return !stream->ops.empty(); });
}

// Sleeps when there is nothing to do; leaves the core to others when all that is left waits.
void Engine::rest(bool progress) {
  if (progress) {
    idle_rounds_ = 0;
    progress_ns_ = now_ns();
    return;
  }
  std::unique_lock lock(mutex_);
  if (!has_work()) {
    space().collect();
    work_.wait(lock, [this] { return has_work(); });
    progress_ns_ = now_ns();
    idle_rounds_ = 0;
    return;
  }
  if (++idle_rounds_ < kYields) {
    lock.unlock();
    sched_yield();
    return;
  }
  work_.wait_for(lock, kNap);
  lock.unlock();
  if (config().hang_ms > 0 && now_ns() - progress_ns_ > config().hang_ms * 1'000'000) check_waits();
}

// Nothing has moved for long: kernels are ended, other waits are only reported.
void Engine::check_waits() {
  progress_ns_ = now_ns();
  if (scheduler().end_hung()) return;
  if (waits_reported_) return;
  waits_reported_ = true;
  const std::lock_guard lock(mutex_);
  std::string text = fmt::format("nothing has moved for {} ms; streams wait:", config().hang_ms);
  for (const abi::StreamObject* const stream : streams_)
    if (!stream->ops.empty())
      text += fmt::format("\n  stream {} of device {}: {}, and {} operations behind it", stream->id,
                          stream->context->device, stream->ops.front()->describe(),
                          stream->ops.size() - 1);
  report(text);
}

void Engine::run() {
  prctl(PR_SET_NAME, "cudasim");
  prctl(PR_SET_TIMERSLACK, 1);
  watch_engine();
  while (true) {
    bool progress = advance_streams();
    progress |= scheduler().round(idle_rounds_ >= kYields);
    rest(progress);
  }
}

void Engine::call_host(abi::HostFunction function, void* user,
                       std::shared_ptr<std::atomic<bool>> done) {
  const std::lock_guard lock(mutex_);
  host_calls_.push_back({function, user, std::move(done)});
  if (!host_thread_) {
    host_thread_ = true;
    std::thread([this] { run_host_calls(); }).detach();  // ends with the process
  }
  host_work_.notify_one();
}

void Engine::run_host_calls() {
  prctl(PR_SET_NAME, "cudasim-host");
  std::unique_lock lock(mutex_);
  while (true) {
    host_work_.wait(lock, [this] { return !host_calls_.empty(); });
    const HostCall call = host_calls_.front();
    host_calls_.erase(host_calls_.begin());
    lock.unlock();
    call.function(call.user);
    call.done->store(true, std::memory_order_release);  // pairs with HostOp::poll
    lock.lock();
    work_.notify_one();
  }
}

Engine& engine() {
  static Engine* const kEngine = new Engine();  // outlives its threads
  return *kEngine;
}

}  // namespace cudasim
