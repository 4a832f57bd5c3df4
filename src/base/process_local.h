// SPDX-License-Identifier: Apache-2.0
// State that a process has once and that a forked child must not inherit.
#pragma once

#include <pthread.h>

#include <memory>
#include <mutex>

namespace tutti {

// One T per process behind a lock. The lock is held across fork(), so a child never finds it taken;
// the child's first use makes a fresh T. The inherited one is kept, unused: it may own threads or
// locks that do not exist in the child. Lock order: the functions given to with() must not use
// another ProcessLocal.
template <typename T>
class ProcessLocal {
 public:
  // Calls use(T&) under the lock.
  template <typename Use>
  static decltype(auto) with(Use&& use) {
    ProcessLocal& self = instance();
    const std::lock_guard lock(self.mutex_);
    if (self.value_ == nullptr) self.value_ = std::make_unique<T>();
    return std::forward<Use>(use)(*self.value_);
  }

 private:
  ProcessLocal() {
    ::pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] {
                       ProcessLocal& self = instance();
                       self.inherited_ = self.value_.release();
                       self.mutex_.unlock();
                     });
  }
  // Never destroyed: threads may outlive static destruction.
  static ProcessLocal& instance() {
    static ProcessLocal& self = *new ProcessLocal;
    return self;
  }

  std::mutex mutex_;
  std::unique_ptr<T> value_;
  T* inherited_ = nullptr;
};

}  // namespace tutti
