// SPDX-License-Identifier: Apache-2.0
// The loop of events and the switching of threads.
#include "tests/sim/world.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace tutti::sim {
namespace {

constexpr int64_t kStartNs = kNsPerSecond;        // so that no time is 0
constexpr int64_t kOversleptNs = 100 * kNsPerUs;  // more than a wake-up takes
constexpr int64_t kPreemptMaxNs = 20 * kNsPerUs;
constexpr int64_t kBarrierMaxNs = 1500;
constexpr int32_t kFirstPid = 100;

World* current_world = nullptr;

}  // namespace

World* World::current() noexcept { return current_world; }

World::World() = default;
World::~World() = default;

void World::begin(uint64_t seed, int n_ranks, const std::array<int, kMaxRanks>& hosts,
                  const Pace& pace, bool verbose) {
  current_world = this;
  rng_ = Rng(seed);
  now_ = kStartNs;
  n_ranks_ = n_ranks;
  pace_ = pace;
  verbose_ = verbose;
  burying_ = false;
  finding_.clear();
  events_.clear();
  for (int rank = 0; rank < n_ranks; ++rank) {
    RankState& state = ranks_[at_(rank)];
    state = {.host = hosts[at_(rank)]};
    state.identity = {.host_id = static_cast<uint64_t>(hosts[at_(rank)]) + 1,
                      .process_uid = static_cast<uint64_t>(rank) + 1,
                      .pid = kFirstPid + rank,
                      .uid = 1000,
                      .start_ticks = 1};
  }
}

// Threads that have not ended are lost with what they hold.
void World::end() {
  for (auto& thread : threads_) {
    if (!thread->fiber.idle()) lost_.push_back(std::exchange(thread, std::make_unique<Thread>()));
  }
  live_ = 0;
  current_world = nullptr;
}

bool World::later(const Event& a, const Event& b) noexcept {
  return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.tie > b.tie;
}

void World::at(int64_t time_ns, Handler* handler, uint32_t what, uint64_t argument) {
  events_.push_back({std::max(time_ns, now_), rng_.next(), handler, argument, what});
  std::push_heap(events_.begin(), events_.end(), later);
}

void World::spawn(int rank, std::function<void()> body) {
  size_t free = 0;
  while (free < threads_.size() && !threads_[free]->fiber.idle()) ++free;
  if (free == threads_.size()) threads_.push_back(std::make_unique<Thread>());
  Thread& thread = *threads_[free];
  thread.rank = rank;
  thread.word = nullptr;
  thread.woken = thread.due = false;
  thread.nap_began = -1;
  thread.fiber.start(std::move(body));
  ++live_;
  wake_at(thread, now_);
}

bool World::step(int64_t limit_ns) {
  if (events_.empty()) return false;
  std::pop_heap(events_.begin(), events_.end(), later);
  const Event event = events_.back();
  events_.pop_back();
  if (event.time_ns > limit_ns) return false;
  now_ = event.time_ns;
  event.handler->on_event(event.what, event.argument);
  return true;
}

bool World::run_out(int64_t limit_ns) {
  while (live_ != 0 && step(limit_ns)) {
  }
  return live_ == 0;
}

int World::rank_of_pid(int32_t pid) const noexcept {
  const int rank = pid - kFirstPid;
  return rank >= 0 && rank < n_ranks_ ? rank : -1;
}

void World::crash(int rank) {
  ranks_[at_(rank)].crashed = true;
  ranks_[at_(rank)].crashed_at = now_;
}

void World::pause(int rank) { ++ranks_[at_(rank)].pauses; }

void World::resume(int rank) {
  if (--ranks_[at_(rank)].pauses > 0) return;
  for (auto& thread : threads_) {
    if (thread->rank != rank || !thread->due || thread->fiber.idle()) continue;
    thread->due = false;
    wake_at(*thread, now_ + rng_.between(0, kPreemptMaxNs));
  }
}

void World::bury() {
  burying_ = true;
  for (auto& thread : threads_) {
    if (!thread->fiber.idle()) wake_at(*thread, now_);
  }
}

void World::on_event(uint32_t index, uint64_t wake) {
  Thread& thread = *threads_[index];
  if (thread.wakes != wake || thread.fiber.idle()) return;
  if (!burying_) {
    const RankState& rank = ranks_[at_(thread.rank)];
    if (rank.crashed) return;
    if (rank.pauses > 0) {
      thread.due = true;
      return;
    }
  }
  run_thread(thread);
}

void World::run_thread(Thread& thread) {
  running_ = &thread;
  thread.fiber.resume();
  running_ = nullptr;
  if (!thread.fiber.idle()) return;
  ++thread.wakes;
  --live_;
}

void World::wake_at(Thread& thread, int64_t time_ns) {
  size_t index = 0;
  while (threads_[index].get() != &thread) ++index;
  at(time_ns, this, static_cast<uint32_t>(index), ++thread.wakes);
}

void World::suspend() {
  Thread* const self = running_;
  if (ring_sink_ != nullptr) ring_sink_->on_wait(self->rank);
  self->fiber.suspend();
  running_ = self;
}

void World::sleep(int64_t duration_ns) {
  if (running_ == nullptr) return;
  wake_at(*running_, now_ + std::max<int64_t>(duration_ns, 0));
  suspend();
}

void World::barrier() {
  if (running_ == nullptr || burying_) return;
  ring_sink_->on_barrier(running_->rank, true);
  sleep(rng_.between(0, kBarrierMaxNs));
  ring_sink_->on_barrier(running_->rank, false);
}

void World::wait_word(const std::atomic<uint32_t>& word, uint32_t expected, Deadline deadline) {
  if (running_ == nullptr) return;
  Thread& self = *running_;
  // What comes between the last look and the sleep.
  if (rng_.chance(25)) sleep(rng_.between(0, 2000));
  self.nap_began = -1;
  if (word.load(std::memory_order_acquire) != expected) return;
  self.word = &word;
  self.woken = false;
  const int64_t began = now_;
  const int64_t left = deadline.left_ns();
  wake_at(self, left == INT64_MAX ? INT64_MAX : now_ + left);
  suspend();
  self.word = nullptr;
  if (self.woken) return;
  self.nap_began = began;
  self.nap_ended = now_;
}

void World::wake_word(const std::atomic<uint32_t>& word) {
  if (ring_sink_ != nullptr && ring_sink_->on_ring(word)) return;
  for (auto& thread : threads_) {
    if (thread->word != &word || thread->woken) continue;
    thread->woken = true;
    wake_at(*thread, now_ + rng_.between(0, pace_.wake_max_ns));
  }
}

void World::preempt() {
  if (running_ == nullptr || burying_) return;
  // A rank that has crashed or stopped while it ran (an event of its own making) goes no further.
  const RankState& rank = ranks_[at_(running_->rank)];
  if (rank.crashed || rank.pauses > 0 || rng_.chance(pace_.preempt_percent))
    sleep(rng_.between(0, kPreemptMaxNs));
}

void World::note_progress() {
  if (running_ == nullptr || running_->nap_began < 0 || burying_) return;
  const int64_t began = std::exchange(running_->nap_began, -1);
  const int64_t came = ranks_[at_(running_->rank)].last_arrival;
  if (came + kOversleptNs >= running_->nap_ended) return;
  fail("lost wake-up: rank " + std::to_string(running_->rank) + " slept from " +
       std::to_string(began - kStartNs) + " ns to the end of its nap, " +
       std::to_string(running_->nap_ended - kStartNs) +
       " ns, and could go on with what had come at " + std::to_string(came - kStartNs) +
       " ns; it should have been woken then");
}

void World::fail(std::string text) {
  if (!finding_.empty()) return;
  finding_ = std::move(text);
  say("FINDING: " + finding_);
}

void World::say(const std::string& text) const {
  if (!verbose_) return;
  std::printf("%12.3f us  %s\n", static_cast<double>(now_ - kStartNs) / 1000, text.c_str());
}

}  // namespace tutti::sim
