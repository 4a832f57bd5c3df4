// SPDX-License-Identifier: Apache-2.0
// Process identities from /proc, and pidfds.
#include "src/base/liveness.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/process_local.h"

namespace tutti {
namespace {

constexpr long kStartTimePollNs = 100 * kNsPerMs;
constexpr int kStartTimeField = 22;  // proc(5), /proc/PID/stat, counted from 1

// The first 4 KiB of a small file of /proc; empty when it can't be read.
std::string read_proc(const std::string& path) {
  const FileDescriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return {};
  std::string text(4096, '\0');
  const ssize_t bytes = ::read(fd.get(), text.data(), text.size());
  text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
  return text;
}

// Fields of /proc/PID/stat from the third on; empty when there is no such process. Field 2 is the
// name in parentheses and may itself hold spaces and parentheses; field 3 follows the last one.
std::string stat_fields_of(int32_t pid) {
  const std::string stat = read_proc("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 > stat.size() ? ""
                                                                     : stat.substr(name_end + 2);
}

std::optional<uint64_t> start_ticks_in(const std::string& fields) {
  size_t at = 0;
  for (int field = 3; field < kStartTimeField; ++field) {
    at = fields.find(' ', at);
    if (at == std::string::npos) return std::nullopt;
    ++at;
  }
  uint64_t ticks = 0;
  const auto parsed = std::from_chars(fields.data() + at, fields.data() + fields.size(), ticks);
  if (parsed.ec != std::errc{}) return std::nullopt;
  return ticks;
}

// nullopt when there is no such process.
std::optional<uint64_t> start_ticks_of(int32_t pid) { return start_ticks_in(stat_fields_of(pid)); }

uint64_t namespace_inode(const char* path) {
  struct stat status {};
  return ::stat(path, &status) == 0 ? status.st_ino : 0;
}

uint64_t hash_of_host() {
  Hasher hasher;
  hasher.text(read_proc("/proc/sys/kernel/random/boot_id"));
  hasher.text(host_name());
  hasher.value(namespace_inode("/proc/self/ns/ipc"));
  hasher.value(namespace_inode("/proc/self/ns/net"));
  if (const auto chosen = foreign_variable("TUTTI_HOST_ID"); chosen.has_value() && !chosen->empty())
    hasher.text(*chosen);
  return hasher.finish();
}

uint64_t random_nonzero() {
  uint64_t value = 0;
  while (value == 0) {
    // Up to 256 bytes come whole; only EINTR before the pool is ready can interrupt.
    if (::getrandom(&value, sizeof value, 0) < 0 && errno != EINTR) {
      throw system_error("can't draw the random id of this process", errno);
    }
  }
  return value;
}

struct OwnIdentity {
  ProcessIdentity identity;
  OwnIdentity() {
    identity.host_id = hash_of_host();
    identity.process_uid = random_nonzero();
    identity.pid = ::getpid();
    identity.uid = ::getuid();
    identity.start_ticks = start_ticks_of(identity.pid).value_or(0);
  }
};

// None where the system has no pidfds, or forbids them. Throws for every other failure but a
// process that is gone.
FileDescriptor pidfd_or_none(int32_t pid) {
  FileDescriptor fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!fd && errno != ESRCH && errno != ENOSYS && errno != EPERM)
    throw system_error("can't open a pidfd of process " + std::to_string(pid), errno);
  return fd;
}

// Readable at once, and again every kStartTimePollNs.
FileDescriptor polling_timer() {
  FileDescriptor fd{::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)};
  const itimerspec each{.it_interval = {.tv_sec = 0, .tv_nsec = kStartTimePollNs},
                        .it_value = {.tv_sec = 0, .tv_nsec = 1}};
  if (!fd || ::timerfd_settime(fd.get(), 0, &each, nullptr) != 0)
    throw system_error("can't make a timer to watch a process by", errno);
  return fd;
}

// Throws RemoteError when the process is gone.
void check_start_time(const ProcessIdentity& who) {
  const std::optional<uint64_t> ticks = start_ticks_of(who.pid);
  if (!ticks.has_value()) {
    throw Error(StatusCode::kRemoteError, "process " + std::to_string(who.pid) +
                                              " is gone (or lives in another pid namespace)");
  }
  if (*ticks != who.start_ticks) {
    throw Error(StatusCode::kRemoteError,
                "process " + std::to_string(who.pid) +
                    " is gone, another one has its pid: expected start time " +
                    std::to_string(who.start_ticks) + " ticks, got " + std::to_string(*ticks) +
                    " (if it runs, it lives in another pid namespace)");
  }
}

}  // namespace

const ProcessIdentity& this_process() {
  return *ProcessLocal<OwnIdentity>::with([](OwnIdentity& own) { return &own.identity; });
}

int32_t detail::learn_pid() noexcept {
  static const int registered = ::pthread_atfork(
      nullptr, nullptr, [] { known_pid.store(::getpid(), std::memory_order_relaxed); });
  const int32_t fresh = ::getpid();
  if (registered == 0) known_pid.store(fresh, std::memory_order_relaxed);
  return fresh;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) {
    throw system_error("can't read the host name", errno);
  }
  return name.data();
}

FileDescriptor open_pidfd(int32_t pid) {
  FileDescriptor fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
  if (!fd) throw system_error("can't open a pidfd of process " + std::to_string(pid), errno);
  return fd;
}

ProcessWatch::ProcessWatch(const ProcessIdentity& who, Means means) : who_(who) {
  if (who.host_id != this_process().host_id) {
    throw Error(StatusCode::kInvalidArgument,
                "can't watch process " + std::to_string(who.pid) +
                    ": it is on another host or in another IPC or network namespace");
  }
  if (means == Means::kBest) fd_ = pidfd_or_none(who.pid);
  if (!fd_) {
    fd_ = polling_timer();
    by_start_time_ = true;
  }
  // Read after the pidfd was opened: when the times agree, the pidfd can't belong to a later owner
  // of the pid.
  check_start_time(who);
}

bool ProcessWatch::exited() const noexcept {
  if (!fd_) return false;
  if (!by_start_time_) {
    pollfd entry{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0 && (entry.revents & POLLIN) != 0;
  }
  uint64_t expirations = 0;
  (void)!::read(fd_.get(), &expirations, sizeof expirations);  // nothing to read is well too
  const char state = process_state(who_);
  return state == 0 || state == 'Z' || state == 'X';
}

char process_state(const ProcessIdentity& who) noexcept {
  try {
    if (who.host_id != this_process().host_id) return 0;
    const std::string fields = stat_fields_of(who.pid);
    return start_ticks_in(fields) == who.start_ticks ? fields[0] : 0;
  } catch (const std::exception&) {
    return 0;
  }
}

}  // namespace tutti
