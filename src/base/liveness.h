// SPDX-License-Identifier: Apache-2.0
// Who a process is, and whether it still runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "src/base/file.h"

namespace tutti {

// Names a process so that a recycled pid is not mistaken for it.
struct ProcessIdentity {
  uint64_t host_id = 0;      // hash of boot id, host name, IPC and network namespace, TUTTI_HOST_ID
  uint64_t process_uid = 0;  // random, drawn once per process
  int32_t pid = 0;
  uint32_t uid = 0;          // user id, for peer credential checks
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  bool operator==(const ProcessIdentity&) const = default;
};

// Identity of this process; computed once per process, and anew after fork.
const ProcessIdentity& this_process();
std::string host_name();
namespace detail {
// 0: not asked yet. relaxed: a child sees what its fork handler wrote.
inline constinit std::atomic<int32_t> known_pid{0};
int32_t learn_pid() noexcept;
}  // namespace detail
// The id of this process, also in a forked child. One load: no system call.
inline int32_t own_pid() noexcept {
  const int32_t known = detail::known_pid.load(std::memory_order_relaxed);
  return known != 0 ? known : detail::learn_pid();
}

// A pidfd: becomes readable (poll) when the process ends. Throws SystemError.
FileDescriptor open_pidfd(int32_t pid);

// Notices the end of another process of this host: at once by a pidfd, else (kernels before 5.3,
// sandboxes that forbid pidfd_open) within a tenth of a second, by its start time.
class ProcessWatch {
 public:
  enum class Means : uint8_t { kBest, kStartTime };  // the latter for tests

  ProcessWatch() = default;  // of nobody
  // Throws SystemError; RemoteError when the process is already gone or the pid now belongs to
  // another one; InvalidArgument when it is on another host.
  explicit ProcessWatch(const ProcessIdentity& who, Means means = Means::kBest);
  explicit operator bool() const noexcept { return static_cast<bool>(fd_); }
  // Becomes readable (poll) when the process has ended; without a pidfd also ten times a second
  // before that, until exited() is asked.
  int fd() const noexcept { return fd_.get(); }
  // False of nobody. Any thread.
  bool exited() const noexcept;

 private:
  FileDescriptor fd_;  // a pidfd, or a timer
  bool by_start_time_ = false;
  ProcessIdentity who_;
};

// The state letter of /proc/PID/stat ('R', 'S', 'D', 'T' stopped, 't' traced, 'Z', ...); 0 when it
// can't be known: the process is gone, or on another host.
char process_state(const ProcessIdentity& who) noexcept;
}  // namespace tutti
