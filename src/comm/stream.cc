// SPDX-License-Identifier: Apache-2.0
// Queues of works and their workers.
#include "src/comm/stream.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "src/comm/driver.h"

namespace tutti::comm {

std::optional<Error> run(const Units& units) noexcept {
  std::vector<Work*> works;
  works.reserve(units.size());
  for (const auto& unit : units) works.push_back(&*unit->work);
  drive(works);
  for (const auto& unit : units) {
    if (unit->work->error().has_value()) return unit->work->error();
  }
  return std::nullopt;
}

Stream::Stream() : worker_([this] { serve(); }) {}

Stream::~Stream() {
  {
    const Monitor::Lock lock = monitor_.lock();
    stopping_ = true;
  }
  monitor_.notify_all();
  worker_.join();
}

void Stream::enqueue(std::vector<Entry>& entries) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::less<>()(a.stream, b.stream); });
  std::vector<Monitor::Lock> locks;
  for (const Entry& entry : entries) {
    if (entry.stream != nullptr) locks.push_back(entry.stream->monitor_.lock());
  }
  for (Entry& entry : entries) {
    for (const auto& unit : entry.units) unit->post();
    if (entry.stream == nullptr) continue;
    entry.stream->queue_.push_back(std::move(entry.units));
    ++entry.stream->queued_;
    entry.stream->monitor_.notify_all();
  }
}

void Stream::serve() {
  Monitor::Lock lock = monitor_.lock();
  while (true) {
    monitor_.wait(lock, Deadline::never(), [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Units units = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::optional<Error> error = run(units);
    units.clear();
    lock.lock();
    if (error.has_value() && !first_error_.has_value()) first_error_ = std::move(error);
    ++ended_;
    monitor_.notify_all();
  }
}

void Stream::throw_first_error() {
  if (first_error_.has_value()) throw *std::exchange(first_error_, std::nullopt);
}

void Stream::synchronize() {
  Monitor::Lock lock = monitor_.lock();
  const uint64_t target = queued_;
  monitor_.wait(lock, Deadline::never(), [&] { return ended_ >= target; });
  throw_first_error();
}

bool Stream::query() {
  const Monitor::Lock lock = monitor_.lock();
  if (ended_ != queued_) return false;
  throw_first_error();
  return true;
}

}  // namespace tutti::comm
