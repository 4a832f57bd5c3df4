// SPDX-License-Identifier: Apache-2.0
// Virtual time, and everything that waits for it: the threads of all ranks and what happens to
// them.
//
// One thread runs it all. Code of a rank takes no virtual time; time passes where it waits (sleeps,
// yields, futexes) and where the world takes the processor from it. Whatever happens, happens in an
// event; events at one time come in an order drawn from the seed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/liveness.h"
#include "src/base/wait.h"
#include "tests/sim/fiber.h"
#include "tests/sim/rng.h"

namespace tutti::sim {

inline constexpr int kMaxRanks = 8;

// What an event happens to.
class Handler {
 public:
  virtual void on_event(uint32_t what, uint64_t argument) = 0;

 protected:
  ~Handler() = default;
};

// Which rings of doorbells are not a rank's own but the network's.
class RingSink {
 public:
  // False: the word is not the network's.
  virtual bool on_ring(const std::atomic<uint32_t>& word) = 0;
  // The running thread is about to wait: what it has published without ringing becomes visible too.
  virtual void on_wait(int rank) = 0;
  // The rank has announced itself as a sleeper, which its ringers do not see before the barrier
  // ends.
  virtual void on_barrier(int rank, bool begins) = 0;

 protected:
  ~RingSink() = default;
};

struct Pace {
  int preempt_percent = 0;     // the processor is taken away at a ring
  uint32_t idle_yields = 1;    // IdlePolicy::yield_rounds
  int64_t wake_max_ns = 5000;  // from being woken to running
};

class World final : private Handler {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // The one that runs; null between jobs.
  static World* current() noexcept;

  void begin(uint64_t seed, int n_ranks, const std::array<int, kMaxRanks>& hosts, const Pace& pace,
             bool verbose);
  void end();
  void set_ring_sink(RingSink* sink) noexcept { ring_sink_ = sink; }

  int64_t now() const noexcept { return now_; }
  Rng& rng() noexcept { return rng_; }
  int n_ranks() const noexcept { return n_ranks_; }
  const Pace& pace() const noexcept { return pace_; }

  void at(int64_t time_ns, Handler* handler, uint32_t what, uint64_t argument = 0);
  // A thread of the rank, running from now on.
  void spawn(int rank, std::function<void()> body);
  // Until `enough` says so, asked whenever a thread has given up the processor (true); false when
  // time is past the limit, nothing more happens, or there is a finding.
  template <typename Enough>
  bool run(int64_t limit_ns, Enough enough) {
    while (!enough()) {
      if (!finding_.empty() || !step(limit_ns)) return false;
    }
    return true;
  }
  // After bury(): until all threads have ended; false when they do not by then.
  bool run_out(int64_t limit_ns);

  // ---- of ranks
  int host(int rank) const noexcept { return ranks_[at_(rank)].host; }
  const ProcessIdentity& identity(int rank) const noexcept { return ranks_[at_(rank)].identity; }
  int rank_of_pid(int32_t pid) const noexcept;
  bool crashed(int rank) const noexcept { return ranks_[at_(rank)].crashed; }
  bool paused(int rank) const noexcept { return ranks_[at_(rank)].pauses > 0; }
  int64_t crashed_at(int rank) const noexcept { return ranks_[at_(rank)].crashed_at; }
  // Its threads run no more, until bury().
  void crash(int rank);
  void pause(int rank);
  void resume(int rank);
  // After all that counts has ended: threads of crashed and paused ranks run again, so that they
  // can take down what they hold. Nothing that they do reaches anybody.
  void bury();
  bool burying() const noexcept { return burying_; }
  // Something has come to the rank that it may be waiting for.
  void note_arrival(int rank) noexcept { ranks_[at_(rank)].last_arrival = now_; }

  // ---- called by running threads
  // Of the running thread; -1 outside of any.
  int running_rank() const noexcept { return running_ == nullptr ? -1 : running_->rank; }
  void sleep(int64_t duration_ns);
  void barrier();
  void wait_word(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline);
  void wake_word(const std::atomic<uint32_t>& word);
  // The processor may be taken away here.
  void preempt();
  // The running thread has moved something: if it had slept its time out although what it needed
  // was there, nobody has woken it.
  void note_progress();

  // ---- findings
  void fail(std::string text);
  const std::string& finding() const noexcept { return finding_; }
  bool verbose() const noexcept { return verbose_; }
  void say(const std::string& text) const;

 private:
  struct Thread {
    Fiber fiber;
    int rank = -1;
    uint64_t wakes = 0;  // only the event with this number wakes it
    const std::atomic<uint32_t>* word = nullptr;
    bool woken = false;
    bool due = false;        // its time came while its rank was paused
    int64_t nap_began = -1;  // it slept its time out; -1: it did not
    int64_t nap_ended = -1;
  };
  struct RankState {
    int host = 0;
    ProcessIdentity identity;
    bool crashed = false;
    int pauses = 0;  // that have not ended
    int64_t crashed_at = 0;
    int64_t last_arrival = -1;
  };
  struct Event {
    int64_t time_ns;
    uint64_t tie;
    Handler* handler;
    uint64_t argument;
    uint32_t what;
  };

  static bool later(const Event& a, const Event& b) noexcept;
  static size_t at_(int rank) noexcept { return static_cast<size_t>(rank); }
  void on_event(uint32_t thread, uint64_t wake) override;
  bool step(int64_t limit_ns);
  void wake_at(Thread& thread, int64_t time_ns);
  void suspend();
  void run_thread(Thread& thread);

  Rng rng_{0};
  int64_t now_ = 0;
  int n_ranks_ = 0;
  Pace pace_;
  bool verbose_ = false;
  bool burying_ = false;
  std::array<RankState, kMaxRanks> ranks_;
  std::vector<Event> events_;  // a heap
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::unique_ptr<Thread>> lost_;  // whose bodies never ended; kept for their stacks
  size_t live_ = 0;
  Thread* running_ = nullptr;
  RingSink* ring_sink_ = nullptr;
  std::string finding_;
};

}  // namespace tutti::sim
