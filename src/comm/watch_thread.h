// SPDX-License-Identifier: Apache-2.0
// The process's one thread that looks after what runs without any thread of ours: kernels.
#pragma once

#include <cstdint>
#include <memory>

namespace tutti::comm {

class WatchThread {
 public:
  // When the thread shall look again. The busiest of all that it watches counts.
  enum class Pace : uint8_t {
    kBusy,    // in a millisecond
    kGlance,  // in a few
    kRest,    // not before wake()
  };
  class Watched {
   public:
    // By the thread, one at a time for all that it watches: so as short as can be.
    virtual Pace look(int64_t now_ns) noexcept = 0;

   protected:
    ~Watched() = default;
  };

  // The process's; started by the first user, stopped when the last goes (shared because
  // communicators end in any order). Throws SystemError.
  static std::shared_ptr<WatchThread> shared();
  ~WatchThread();
  WatchThread(const WatchThread&) = delete;
  WatchThread& operator=(const WatchThread&) = delete;

  // Looks at it soon, and until remove(). Throws InvalidUsage in a forked child.
  void add(Watched& watched);
  // Not by the thread. After it returns look() does not run and will not run again.
  void remove(Watched& watched) noexcept;
  // Looks at all soon. Any thread.
  void wake() noexcept;

 private:
  WatchThread();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::comm
