// SPDX-License-Identifier: Apache-2.0
// Moves bytes on this host, piece by piece, by whichever thread has time: the agent's own two,
// which sleep while there is nothing to do, and those that wait for an operation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/base/monitor.h"

namespace tutti::transfer {

// What one operation has to move.
class LocalWork {
 public:
  virtual ~LocalWork() = default;
  LocalWork() = default;
  LocalWork(const LocalWork&) = delete;
  LocalWork& operator=(const LocalWork&) = delete;

 protected:
  // [offset, offset+bytes) of a span.
  struct Part {
    size_t span = 0, offset = 0, bytes = 0;
  };
  // Moves these, at most kPieceBytes of them. Several threads at once, for different parts.
  virtual Status move(std::span<const Part> parts) noexcept = 0;
  // Once, when nothing of it is being moved any more: kOk when all of it has been, else the first
  // failure. Without the mover's lock.
  virtual void finished(const Status& status) noexcept = 0;

  std::vector<size_t> span_bytes_;  // constant once it has been started

 private:
  friend class Mover;
  using Piece = std::array<Part, 32>;
  std::span<const Part> take(Piece* piece) noexcept;

  // Guarded by the mover's lock.
  size_t span_ = 0, offset_ = 0;  // of the next piece
  int moving_ = 0;                // pieces that threads have taken
  Status first_failure_ = kOkStatus;
  bool over_ = false;  // no further pieces: all taken, or something failed
  bool told_ = false;  // finished() has been called, or is about to be
};

// Lock order: the agent's lock comes before the mover's.
class Mover {
 public:
  static constexpr size_t kPieceBytes = 512 << 10;

  Mover() = default;
  ~Mover() { stop(); }
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // Queues it. The thread is started by the first that needs it; throws SystemError when it can't
  // be.
  void start(const std::shared_ptr<LocalWork>& work);
  // Moves all of it on the calling thread.
  void run(const std::shared_ptr<LocalWork>& work) noexcept;
  // Moves one piece of what is queued; false: there is none.
  bool help() noexcept;
  // Nothing of it is moved any more when it returns; it finishes with `status` if it had not. Waits
  // for the pieces that other threads are moving.
  void cancel(const std::shared_ptr<LocalWork>& work, const Status& status) noexcept;
  // Ends the thread, and what is queued with InvalidUsage.
  void stop() noexcept;

 private:
  void start_thread();
  void loop() noexcept;
  bool move_one(Monitor::Lock& lock, const std::shared_ptr<LocalWork>& work) noexcept;
  void conclude(Monitor::Lock& lock, LocalWork& work) noexcept;

  Monitor monitor_;  // guards all below; notified when work comes and when a piece has ended
  std::deque<std::shared_ptr<LocalWork>> queue_;  // shared: a caller may hold it to cancel it
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace tutti::transfer
