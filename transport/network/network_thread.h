// SPDX-License-Identifier: Apache-2.0
// The process's one thread that moves endpoints while no caller does: it serves peers' reads and
// puts, passes on what a caller left behind, resends after a break, dials, and wakes sleepers.
//
// An endpoint is in one of two states. *Watched*: a caller polls it; the thread only looks, every
// millisecond, whether that is still so. *Armed*: nobody polls it; the thread sleeps until the
// carrier's descriptor is readable, or for a tick. A caller that is about to sleep arms it at once.
// A wake-up that finds a polling caller makes it watched again, so data that a busy caller fetches
// itself costs the thread at most one wake-up.
#pragma once

#include <cstdint>
#include <memory>

namespace tutti::transport::network {

class Endpoint;

class NetworkThread {
 public:
  // The process's; started by the first user, stopped when the last goes. Throws SystemError.
  static std::shared_ptr<NetworkThread> shared();
  ~NetworkThread();
  NetworkThread(const NetworkThread&) = delete;
  NetworkThread& operator=(const NetworkThread&) = delete;

  // Not under the endpoint's lock. After remove() the thread does not touch it any more.
  void add(Endpoint& endpoint);
  void remove(Endpoint& endpoint) noexcept;
  // Under the endpoint's lock: it has a session now, so time matters to it.
  void look(Endpoint& endpoint) noexcept;
  // Under the endpoint's lock: its caller is going to sleep, or has left frames that wait for room.
  // May move the endpoint, when something arrives just then.
  void arm(Endpoint& endpoint) noexcept;

 private:
  NetworkThread();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::transport::network
