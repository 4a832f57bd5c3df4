// SPDX-License-Identifier: Apache-2.0
// Who a process is, and whether it still runs.
#pragma once

#include <cstdint>
#include <string>

#include "src/base/file.h"

namespace tutti {

// Names a process so that a recycled pid is not mistaken for it.
struct ProcessIdentity {
  uint64_t host_id = 0;      // hash of boot id, host name, IPC and network namespace
  uint64_t process_uid = 0;  // random, drawn once per process
  int32_t pid = 0;
  uint32_t uid = 0;          // user id, for peer credential checks
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  bool operator==(const ProcessIdentity&) const = default;
};

// Identity of this process; computed once per process, and anew after fork.
const ProcessIdentity& this_process();
std::string host_name();
// The id of this process, also in a forked child. One load: no system call.
int32_t own_pid() noexcept;

// Becomes readable (poll) when the process ends. Throws SystemError; RemoteError when it is already
// gone or the pid now belongs to another process.
FileDescriptor open_pidfd(const ProcessIdentity& who);
// The state letter of /proc/PID/stat ('R', 'S', 'D', 'T' stopped, 't' traced, 'Z', ...); 0 when it
// can't be known: the process is gone, or on another host.
char process_state(const ProcessIdentity& who) noexcept;
// True when the process behind the pidfd has ended.
bool has_exited(const FileDescriptor& pidfd) noexcept;

}  // namespace tutti
