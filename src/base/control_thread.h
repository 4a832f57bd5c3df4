// SPDX-License-Identifier: Apache-2.0
// One thread per process that sleeps in epoll and owns sockets, pidfds and timers; it never touches
// user data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "src/base/clock.h"

namespace tutti {

// Callbacks run on the control thread, one at a time, and must not block. Every public function may
// be called from any thread, callbacks included.
class ControlThread {
 public:
  // The process's control thread; started by the first user, stopped when the last shared_ptr goes
  // (shared because communicators, the shm hub and rendezvous roots end in any order).
  static std::shared_ptr<ControlThread> shared();
  ~ControlThread();
  ControlThread(const ControlThread&) = delete;
  ControlThread& operator=(const ControlThread&) = delete;

  using Id = uint64_t;
  // Calls `on_readable` each time fd is readable or hung up (level-triggered) until remove(). The
  // fd stays the caller's and must stay open until then; one watch per fd. Throws SystemError when
  // epoll refuses the fd.
  Id watch(int fd, std::function<void()> on_readable);
  // Calls `on_time` once, not before the deadline.
  Id at(Deadline when, std::function<void()> on_time);
  // After it returns the callback does not run and will not run again (waits for a running one,
  // unless called from it).
  void remove(Id id);
  bool is_current() const noexcept;

 private:
  ControlThread();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti
