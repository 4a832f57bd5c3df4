// SPDX-License-Identifier: Apache-2.0
// The thread that is all simulated GPUs of this process: it moves streams on and runs the threads
// of kernels. One thread, so that a seed fixes the order of everything that happens in one process.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/cudasim/src/objects.h"

namespace cudasim {

class Engine {
 public:
  std::mutex& mutex() { return mutex_; }

  // All of these want the mutex held, through `lock` where they wait.
  void enqueue(abi::StreamObject& stream, std::unique_ptr<Op> op);
  // Until the streams have nothing left of what is in them now. Returns their context's error.
  void wait_idle(std::unique_lock<std::mutex>& lock,
                 const std::vector<abi::StreamObject*>& streams);
  void wait(std::unique_lock<std::mutex>& lock, const std::function<bool()>& done);
  void nap(std::unique_lock<std::mutex>& lock);  // for what nobody tells us about
  void add_stream(abi::StreamObject& stream);
  void remove_stream(abi::StreamObject& stream);  // when nothing is left in it
  // Ends all that the context does; its calls fail with `error` from now on.
  void lose(abi::ContextObject& context, Result error);

  // Runs a function of the application on a thread of its own; sets *done and wakes the engine.
  void call_host(abi::HostFunction function, void* user, std::shared_ptr<std::atomic<bool>> done);
  // Of this process: what is left behind in a child after fork() has no engine.
  bool is_running() const { return running_; }

 private:
  struct HostCall {
    abi::HostFunction function;
    void* user;
    std::shared_ptr<std::atomic<bool>> done;
  };

  void start();
  void run();
  void run_host_calls();
  bool advance_streams();
  void delete_destroyed();
  bool may_start(const abi::StreamObject& stream) const;
  bool has_work() const;
  void rest(bool progress);
  void check_waits();

  std::mutex mutex_;
  std::condition_variable work_;      // for the engine
  std::condition_variable finished_;  // for those who wait for it
  std::condition_variable host_work_;
  std::vector<abi::StreamObject*> streams_;
  std::vector<HostCall> host_calls_;
  uint64_t orders_ = 0;
  uint64_t idle_rounds_ = 0;
  int64_t progress_ns_ = 0;
  bool waits_reported_ = false;
  bool running_ = false;
  bool host_thread_ = false;
};

Engine& engine();

}  // namespace cudasim
