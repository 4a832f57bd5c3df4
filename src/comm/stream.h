// SPDX-License-Identifier: Apache-2.0
// A host stream: an ordered queue of works with a worker thread of its own (docs/adr/0005).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/base/monitor.h"
#include "src/comm/work.h"

namespace tutti::comm {

// One communicator's share of a call or group, with everything that it needs until it has ended.
struct Unit {
  explicit Unit(std::shared_ptr<Communicator> c) : comm(std::move(c)) {}
  // Takes the ticket. The unit must not move afterwards.
  void post() { work.emplace(*comm, calls, p2p.has_value() ? &*p2p : nullptr); }

  std::shared_ptr<Communicator> comm;  // shared: see Communicator
  std::vector<OrderedCall> calls;
  std::optional<P2pGroup> p2p;
  std::optional<Work> work;
};
using Units = std::vector<std::unique_ptr<Unit>>;

// What a call or a group puts into the queues of one or more streams, as one: it runs when all of
// them have come to it, and none goes on before it has ended. Shared by these queues.
class Batch {
 public:
  // `n_parties` streams; the caller counts as one when it takes part itself.
  Batch(Units units, size_t n_parties) : units_(std::move(units)), missing_(n_parties) {}

  // Takes the tickets of all units.
  void post();
  // One party has come: the last one drives the units, the others wait for it. Returns the first
  // error, to each.
  std::optional<Error> take_part() noexcept;

 private:
  Monitor monitor_;
  Units units_;  // touched by the last party only
  // Guarded by monitor_.
  size_t missing_;
  bool ended_ = false;
  std::optional<Error> error_;
};

class Stream {
 public:
  Stream();
  // Waits for everything queued.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  struct Entry {
    std::vector<Stream*> streams;  // different ones; null: the calling thread
    Units units;
  };
  // Posts all units and queues them, atomically: the order in which tickets are taken is the order
  // in every queue, so streams can't wait for each other in a circle. Returns the batches that the
  // calling thread has to take part in. Lock order: streams by address.
  static std::vector<std::shared_ptr<Batch>> enqueue(std::vector<Entry> entries);

  // Waits until everything queued has ended. Throws the first error since the last call.
  void synchronize();
  // False while something is queued or running; then as synchronize().
  bool query();

 private:
  void serve();
  void throw_first_error();

  Monitor monitor_;
  // The members below are guarded by monitor_.
  std::deque<std::shared_ptr<Batch>> queue_;
  uint64_t queued_ = 0;
  uint64_t ended_ = 0;
  bool stopping_ = false;
  std::optional<Error> first_error_;
  std::thread worker_;
};

}  // namespace tutti::comm
