// SPDX-License-Identifier: Apache-2.0
// Watches the kernels of one rank's GPU: notes what has ended, finds out why something does not go
// on, and ends it (docs/adr/0011).
//
// Launches return at once and nobody waits for them, so this is done by the process's watching
// thread, which also carries what kernels can't: network connections, and the bells of host ranks.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/comm/device_calls.h"
#include "src/comm/lookout.h"
#include "src/comm/watch_thread.h"
#include "src/exec/cuda/executor.h"

namespace tutti::comm {

class DeviceWatch final : private WatchThread::Watched, private Lookout::Subject {
 public:
  // What is watched; see exec::DeviceExecutor, whose functions these are. Any thread.
  class Kernels {
   public:
    virtual ~Kernels() = default;
    virtual exec::DeviceCounts counts() const noexcept = 0;
    virtual bool idle() const noexcept = 0;
    virtual std::optional<exec::DeviceWaiting> waiting() const noexcept = 0;
    virtual bool waits_for(int rank) const noexcept = 0;
    virtual std::optional<exec::DeviceFailure> failure() const noexcept = 0;
    virtual Status gpu_failure() const noexcept = 0;
    virtual void abort() noexcept = 0;
  };

  // Watches from now on. The communicator's parts and the executor outlive it. Throws SystemError
  // when the thread can't be started.
  DeviceWatch(Communicator& comm, exec::DeviceExecutor& executor);
  DeviceWatch(Communicator& comm, std::unique_ptr<Kernels> kernels);
  // Not by the watching thread. What is still in flight stays as it is: see drain().
  ~DeviceWatch();
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;

  struct Launched {
    uint64_t launch = 0;             // the executor's counts().issued after it
    std::optional<uint64_t> number;  // of the collective; nullopt: it is none
    const char* name = "";           // a literal
    uint64_t call = kTransfersCall;  // DeviceLaunch::call of what is no collective
    uint64_t record = 0;             // in the flight recording; open
    int protocol = 0;                // for Recorder::end()
  };
  // These three by the thread that owns the communicator's progress.
  // What has just been put into a stream, with `launch.launch` left to this function: to run, or to
  // become part of a graph; then nothing is left to be done for the call, and its record ends.
  void take(bool runs, Launched launch);
  // One launch has been put into a stream. In the order of launches; any number.
  void launched(const Launched& launch);
  // One launch has become part of a graph, which may be replayed whenever the user likes: `call` is
  // its DeviceLaunch::call, of no launch that was issued but for what is no collective; `name` a
  // literal.
  // Called before the graph can run.
  void captured(uint64_t call, const char* name);
  // Waits until everything that was launched has ended, or the GPU has failed; false at the
  // deadline. Any thread, but not the watching one.
  bool drain(Deadline deadline) noexcept;
  // Returns when what kernels that have ended found wrong, if anything, has broken the
  // communicator: a stream may have ended before this thread has looked. As drain().
  void catch_up() noexcept;

 private:
  // How the kernels were at one moment.
  struct Seen {
    exec::DeviceCounts counts;
    std::optional<exec::DeviceWaiting> waiting;  // only while something runs
    bool runs() const noexcept { return counts.begun > counts.ended; }
    bool operator==(const Seen& other) const noexcept;
  };

  struct Captured {
    uint64_t call = 0;
    const char* name = "";
  };

  WatchThread::Pace look(int64_t now_ns) noexcept override;
  Seen see() const noexcept;
  Status find_failure() const noexcept;
  // Up to that one.
  void end_launches(uint64_t done) noexcept;
  WatchThread::Pace rest() noexcept;
  WatchThread::Pace end_failed() noexcept;
  bool in_flight() noexcept;
  const Captured* replayed() const noexcept;
  std::optional<Launched> current() const noexcept;

  int waiting_for() const noexcept override;
  bool needs(int rank) const noexcept override;
  std::optional<uint64_t> collective_number() const noexcept override;
  std::string call_name() const override;
  std::optional<AwaitedSend> awaited_send(int peer) const noexcept override;
  bool still_stuck() noexcept override;
  void note_waiting() noexcept override;
  bool done() const noexcept override { return failed_; }
  bool owns_progress() const noexcept override { return false; }
  void stop() noexcept override;
  void failed() noexcept override;

  Communicator& comm_;
  const std::unique_ptr<Kernels> kernels_;

  // Of the watching thread.
  Lookout lookout_{comm_, *this};
  Seen seen_;       // at the last look
  Seen suspected_;  // as it was when still_stuck() was asked first; what follows is of that
  int64_t suspected_since_ns_ = 0;
  int64_t asked_ns_ = 0;  // last
  bool failed_ = false;   // the communicator is broken, and the kernels have been told to end
  int waited_for_ = -1;   // when it failed

  mutable std::mutex mutex_;       // guards all below; taken last
  std::deque<Launched> launches_;  // in flight, in order
  std::vector<Captured> captured_;
  bool resting_ = false;  // the thread will not look before it is woken

  std::shared_ptr<WatchThread> thread_;  // shared: communicators end in any order
};

// The executor of a communicator, as what is watched.
class ExecutorKernels final : public DeviceWatch::Kernels {
 public:
  explicit ExecutorKernels(exec::DeviceExecutor& executor) noexcept : executor_(executor) {}
  exec::DeviceCounts counts() const noexcept override { return executor_.counts(); }
  bool idle() const noexcept override { return executor_.idle(); }
  std::optional<exec::DeviceWaiting> waiting() const noexcept override {
    return executor_.waiting();
  }
  bool waits_for(int rank) const noexcept override { return executor_.waits_for(rank); }
  std::optional<exec::DeviceFailure> failure() const noexcept override {
    return executor_.failure();
  }
  Status gpu_failure() const noexcept override { return executor_.gpu_failure(); }
  void abort() noexcept override { executor_.abort(); }

 private:
  exec::DeviceExecutor& executor_;
};

inline DeviceWatch::DeviceWatch(Communicator& comm, exec::DeviceExecutor& executor)
    : DeviceWatch(comm, std::make_unique<ExecutorKernels>(executor)) {}

}  // namespace tutti::comm
