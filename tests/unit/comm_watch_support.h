// SPDX-License-Identifier: Apache-2.0
// A GPU that does what a test says, and ranks whose launches it runs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/monitor.h"
#include "src/base/wait.h"
#include "src/comm/communicator.h"
#include "src/comm/device_watch.h"

namespace tutti::comm::testing {

// Polls `condition` until it holds; false after `patience_ns`.
template <typename Condition>
bool eventually(Condition condition, int64_t patience_ns = 20 * kNsPerSecond) {
  const Deadline deadline = Deadline::after_ns(patience_ns);
  while (!condition()) {
    if (deadline.expired()) return false;
    sleep_ns(kNsPerMs / 2);
  }
  return true;
}

// Launches begin and end when they are told to, or when the watch aborts them. Any thread.
class FakeGpu {
 public:
  uint64_t issue() {
    const std::lock_guard lock(mutex_);
    return ++counts_.issued;
  }
  void begin(uint64_t call, bool replay = false) {
    const std::lock_guard lock(mutex_);
    ++counts_.begun;
    counts_.call = call;
    replay_ = replay;
  }
  // What runs.
  void end() {
    const std::lock_guard lock(mutex_);
    end_locked();
  }
  void wait_for(int rank, uint32_t place = 0) {
    const std::lock_guard lock(mutex_);
    waiting_ = exec::DeviceWaiting{gpu::WaitFor::kMessage, rank, place};
  }
  void go_on() {
    const std::lock_guard lock(mutex_);
    waiting_.reset();
  }
  void find_mismatch(int rank) {
    const std::lock_guard lock(mutex_);
    failure_ = exec::DeviceFailure{gpu::Failure::kMismatch, rank, 4};
    end_locked();
  }
  void crash() {
    const std::lock_guard lock(mutex_);
    gpu_ = {StatusCode::kUnhandledCudaError, -1, "an illegal memory access was encountered"};
  }
  bool aborted() const {
    const std::lock_guard lock(mutex_);
    return aborted_;
  }

 private:
  friend class FakeKernels;
  void end_locked() {
    ++counts_.ended;
    if (!replay_) ++counts_.done;
    waiting_.reset();
  }
  void abort() {
    const std::lock_guard lock(mutex_);
    if (std::exchange(aborted_, true)) return;
    counts_.begun = counts_.ended += counts_.issued - counts_.done;
    counts_.done = counts_.issued;
    waiting_.reset();
  }

  mutable std::mutex mutex_;
  exec::DeviceCounts counts_;
  std::optional<exec::DeviceWaiting> waiting_;
  std::optional<exec::DeviceFailure> failure_;
  Status gpu_ = kOkStatus;
  bool replay_ = false;
  bool aborted_ = false;
};

class FakeKernels final : public DeviceWatch::Kernels {
 public:
  explicit FakeKernels(std::shared_ptr<FakeGpu> gpu) : gpu_(std::move(gpu)) {}
  exec::DeviceCounts counts() const noexcept override { return of(&FakeGpu::counts_); }
  bool idle() const noexcept override {
    const exec::DeviceCounts c = counts();
    return c.begun == c.ended && c.issued == c.done;
  }
  std::optional<exec::DeviceWaiting> waiting() const noexcept override {
    return of(&FakeGpu::waiting_);
  }
  bool waits_for(int rank) const noexcept override {
    const auto now = waiting();
    return now.has_value() && now->rank == rank;
  }
  std::optional<exec::DeviceFailure> failure() const noexcept override {
    return of(&FakeGpu::failure_);
  }
  Status gpu_failure() const noexcept override { return of(&FakeGpu::gpu_); }
  void abort() noexcept override { gpu_->abort(); }

 private:
  template <typename T>
  T of(T FakeGpu::*member) const {
    const std::lock_guard lock(gpu_->mutex_);
    return (*gpu_).*member;
  }
  std::shared_ptr<FakeGpu> gpu_;  // shared with the test
};

// Everybody's bytes, between the threads of a test.
class Meeting {
 public:
  explicit Meeting(int n) : n_(static_cast<size_t>(n)) {}
  Exchange exchange(int rank) {
    return [this, rank, round = size_t{0}](std::span<const std::byte> mine) mutable {
      Monitor::Lock lock = monitor_.lock();
      auto& blobs = rounds_[round++];
      blobs[rank].assign(mine.begin(), mine.end());
      monitor_.notify_all();
      monitor_.wait(lock, Deadline::never(), [&] { return blobs.size() == n_; });
      std::vector<std::vector<std::byte>> all;
      for (const auto& [from, bytes] : blobs) all.push_back(bytes);
      return all;
    };
  }

 private:
  const size_t n_;
  Monitor monitor_;
  std::map<size_t, std::map<int, std::vector<std::byte>>> rounds_;
};

inline Options options_with(int64_t timeout_ns, std::string trace_dir = "") {
  Options options;
  options.config.local.timeout_ns = timeout_ns;
  options.config.local.trace_entries = 16;
  options.config.local.trace_dir = std::move(trace_dir);
  return options;
}

struct DeviceRank {
  DeviceRank() = default;
  explicit DeviceRank(std::shared_ptr<Communicator> made)
      : comm(std::move(made)),
        watch(std::make_unique<DeviceWatch>(*comm, std::make_unique<FakeKernels>(gpu))) {}

  // As the API does it: one collective is put into a stream.
  void launch(plan::Collective collective = plan::Collective::kAllReduce,
              const char* name = "AllReduce") {
    Journal& journal = comm->local().board.journal();
    journal.begin(next, journal.describe({.count = 8, .collective = collective}));
    trace::Recorder& recorder = comm->recorder();
    const uint64_t record =
        recorder.begin(recorder.describe({.name = name, .count = 8}, ""), next, 0);
    watch->launched({.launch = gpu->issue(), .number = next, .name = name, .record = record});
    ++next;
  }
  // One collective runs, and waits for that rank.
  void launch_and_wait(int rank, plan::Collective collective = plan::Collective::kAllReduce,
                       const char* name = "AllReduce") {
    launch(collective, name);
    gpu->begin(next - 1);
    gpu->wait_for(rank);
  }
  std::optional<JournalCopy::Last> last() const {
    JournalCopy copy;
    comm->local().board.copy_journal(&copy);
    return copy.last();
  }
  bool ended(uint64_t number) const { return comm->path().collectives.position() == number + 2; }
  bool breaks(int64_t within_ns = 20 * kNsPerSecond) const {
    return eventually([&] { return comm->health().broken() && gpu->aborted(); }, within_ns);
  }

  std::shared_ptr<Communicator> comm;
  std::shared_ptr<FakeGpu> gpu = std::make_shared<FakeGpu>();
  uint64_t next = 0;
  std::unique_ptr<DeviceWatch> watch;
};

// All in this process.
inline std::vector<DeviceRank> device_ranks(int n, const Options& options) {
  static uint64_t next_id = 0xc0de;
  const uint64_t id = next_id++;
  Meeting meeting(n);
  std::vector<DeviceRank> ranks(static_cast<size_t>(n));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] {
      ranks[static_cast<size_t>(rank)] =
          DeviceRank(Communicator::create({id, rank, n}, options, meeting.exchange(rank), 0));
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ranks;
}

}  // namespace tutti::comm::testing
