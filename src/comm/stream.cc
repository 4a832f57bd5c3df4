// SPDX-License-Identifier: Apache-2.0
// Queues of works and their workers.
#include "src/comm/stream.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "src/comm/driver.h"

namespace tutti::comm {

namespace {

// Drives posted units together; returns the first error.
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

}  // namespace

void Batch::post() {
  for (const auto& unit : units_) unit->post();
}

std::optional<Error> Batch::take_part() noexcept {
  Monitor::Lock lock = monitor_.lock();
  if (--missing_ != 0) {
    monitor_.wait(lock, Deadline::never(), [this] { return ended_; });
    return error_;
  }
  lock.unlock();
  std::optional<Error> error = run(units_);
  units_.clear();  // whoever waits for the end may count on the communicators being let go
  lock.lock();
  ended_ = true;
  error_ = error;
  monitor_.notify_all();
  return error;
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

std::vector<std::shared_ptr<Batch>> Stream::enqueue(std::vector<Entry> entries) {
  std::vector<Stream*> streams;
  for (const Entry& entry : entries)
    streams.insert(streams.end(), entry.streams.begin(), entry.streams.end());
  std::sort(streams.begin(), streams.end(), std::less<>());
  streams.erase(std::unique(streams.begin(), streams.end()), streams.end());
  std::vector<Monitor::Lock> locks;
  for (Stream* stream : streams) {
    if (stream != nullptr) locks.push_back(stream->monitor_.lock());
  }
  std::vector<std::shared_ptr<Batch>> ours;
  for (Entry& entry : entries) {
    const auto batch = std::make_shared<Batch>(std::move(entry.units), entry.streams.size());
    batch->post();
    for (Stream* stream : entry.streams) {
      if (stream == nullptr) {
        ours.push_back(batch);
        continue;
      }
      stream->queue_.push_back(batch);
      ++stream->queued_;
      stream->monitor_.notify_all();
    }
  }
  return ours;
}

void Stream::serve() {
  Monitor::Lock lock = monitor_.lock();
  while (true) {
    monitor_.wait(lock, Deadline::never(), [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    std::shared_ptr<Batch> batch = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::optional<Error> error = batch->take_part();
    batch.reset();
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
