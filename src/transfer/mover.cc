// SPDX-License-Identifier: Apache-2.0
// A queue of operations, of which any thread takes the next piece.
#include "src/transfer/mover.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

namespace tutti::transfer {

// The next piece; empty: there is none. Sets `over_` with the last.
std::span<const LocalWork::Part> LocalWork::take(Piece* piece) noexcept {
  size_t n = 0, left = Mover::kPieceBytes;
  while (!over_ && left != 0 && n < piece->size()) {
    if (span_ == span_bytes_.size()) {
      over_ = true;
    } else if (offset_ == span_bytes_[span_]) {
      ++span_;
      offset_ = 0;
    } else {
      const size_t bytes = std::min(left, span_bytes_[span_] - offset_);
      (*piece)[n++] = {span_, offset_, bytes};
      offset_ += bytes;
      left -= bytes;
    }
  }
  while (span_ < span_bytes_.size() && offset_ == span_bytes_[span_]) {
    ++span_;
    offset_ = 0;
  }
  if (span_ == span_bytes_.size()) over_ = true;
  return std::span(*piece).first(n);
}

void Mover::start_thread() {
  sigset_t all, before;  // signals are for the program's own threads
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& e) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw system_error("can't start the thread that moves an agent's bytes", e.code().value());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), "tutti-transfer");
}

void Mover::start(const std::shared_ptr<LocalWork>& work) {
  const auto lock = monitor_.lock();
  if (!thread_.joinable() && !stopping_) start_thread();
  queue_.push_back(work);
  monitor_.notify_all();
}

void Mover::run(const std::shared_ptr<LocalWork>& work) noexcept {
  auto lock = monitor_.lock();
  while (move_one(lock, work)) {
  }
  conclude(lock, *work);
}

bool Mover::help() noexcept {
  auto lock = monitor_.lock();
  if (queue_.empty()) return false;
  const std::shared_ptr<LocalWork> work = queue_.front();
  return move_one(lock, work);
}

// Moves a piece of `work` without the lock. False: it has none left.
bool Mover::move_one(Monitor::Lock& lock, const std::shared_ptr<LocalWork>& work) noexcept {
  LocalWork::Piece piece;
  const std::span<const LocalWork::Part> parts = work->take(&piece);
  if (parts.empty()) {
    std::erase(queue_, work);
    conclude(lock, *work);
    return false;
  }
  ++work->moving_;
  lock.unlock();
  const Status moved = work->move(parts);
  lock.lock();
  --work->moving_;
  if (!moved.ok()) {
    if (work->first_failure_.ok()) work->first_failure_ = moved;
    work->over_ = true;
  }
  if (work->over_) std::erase(queue_, work);
  conclude(lock, *work);
  monitor_.notify_all();
  return !work->over_;
}

// Tells a work that is over, and of which nothing is being moved.
void Mover::conclude(Monitor::Lock& lock, LocalWork& work) noexcept {
  if (!work.over_ || work.moving_ != 0 || std::exchange(work.told_, true)) return;
  const Status status = work.first_failure_;
  lock.unlock();
  work.finished(status);
  lock.lock();
}

void Mover::cancel(const std::shared_ptr<LocalWork>& work, const Status& status) noexcept {
  auto lock = monitor_.lock();
  if (!work->over_) {
    work->over_ = true;
    if (work->first_failure_.ok()) work->first_failure_ = status;
  }
  std::erase(queue_, work);
  // Pieces are small, so this is short; it must not end before they do.
  (void)monitor_.wait(lock, Deadline::never(), [&] { return work->moving_ == 0; });
  conclude(lock, *work);
}

void Mover::loop() noexcept {
  auto lock = monitor_.lock();
  while (true) {
    (void)monitor_.wait(lock, Deadline::never(), [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const std::shared_ptr<LocalWork> work = queue_.front();
    (void)move_one(lock, work);
  }
}

void Mover::stop() noexcept {
  auto lock = monitor_.lock();
  stopping_ = true;
  monitor_.notify_all();
  lock.unlock();
  if (thread_.joinable()) thread_.join();
  lock.lock();
  while (!queue_.empty()) {
    const std::shared_ptr<LocalWork> work = queue_.front();
    lock.unlock();
    cancel(work, {StatusCode::kInvalidUsage, -1, "the agent has been destroyed"});
    lock.lock();
  }
}

}  // namespace tutti::transfer
