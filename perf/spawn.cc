// SPDX-License-Identifier: Apache-2.0
// fork and exec, with everything prepared before the fork.
#include "perf/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>

#include <spdlog/fmt/fmt.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/file.h"

namespace tutti::command {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> environment_with(const std::vector<std::string>& variables) {
  const auto name_of = [](std::string_view entry) { return entry.substr(0, entry.find('=')); };
  std::vector<std::string> environment = variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view name = name_of(*entry);
    if (std::none_of(variables.begin(), variables.end(),
                     [&](const std::string& v) { return name_of(v) == name; }))
      environment.emplace_back(*entry);
  }
  return environment;
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<char*>(string.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct CpuSetDeleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

// All that the child needs; it may only make system calls.
struct Child {
  const SpawnRequest& request;
  char* const* arguments;
  char* const* environment;
  const cpu_set_t* cpus;  // nullptr: leave
  size_t cpus_bytes;
  pid_t parent;
  int error_fd;  // closed by exec
};

// Returns only when exec has failed, with errno set.
void become_program(const Child& child) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != child.parent) _exit(1);  // the parent ended before prctl
  signal(SIGPIPE, SIG_DFL);
  if (dup2(child.request.stdin_fd, STDIN_FILENO) < 0 ||
      dup2(child.request.stdout_fd, STDOUT_FILENO) < 0 ||
      dup2(child.request.stderr_fd, STDERR_FILENO) < 0)
    return;
  if (child.cpus != nullptr && sched_setaffinity(0, child.cpus_bytes, child.cpus) != 0) return;
  sigprocmask(SIG_SETMASK, &child.request.signal_mask, nullptr);
  execvpe(child.request.path.c_str(), child.arguments, child.environment);
}

[[noreturn]] void run_child(const Child& child) {
  become_program(child);
  const int error = errno;
  if (write(child.error_fd, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

// Waits for exec: its error, or 0 when the pipe was closed by a successful one.
int exec_error(int fd) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = read(fd, &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  return got == sizeof error ? error : 0;
}

bool is_program(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

pid_t spawn(const SpawnRequest& request) {
  const std::vector<std::string> environment = environment_with(request.variables);
  const std::vector<char*> arguments = pointers_to(request.arguments);
  const std::vector<char*> variables = pointers_to(environment);
  const int last_cpu =
      request.cpus.empty() ? 0 : *std::max_element(request.cpus.begin(), request.cpus.end());
  const size_t cpus_bytes = CPU_ALLOC_SIZE(last_cpu + 1);
  const std::unique_ptr<cpu_set_t, CpuSetDeleter> cpus(
      request.cpus.empty() ? nullptr : CPU_ALLOC(last_cpu + 1));
  if (cpus) {
    CPU_ZERO_S(cpus_bytes, cpus.get());
    for (const int32_t cpu : request.cpus)
      CPU_SET_S(static_cast<size_t>(cpu), cpus_bytes, cpus.get());
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw system_error("can't make a pipe", errno);
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end(ends[1]);
  const Child child{request,    arguments.data(), variables.data(), cpus.get(),
                    cpus_bytes, getpid(),         write_end.get()};
  const pid_t pid = fork();
  if (pid < 0) throw system_error("can't start a process", errno);
  if (pid == 0) run_child(child);
  write_end.reset();
  if (const int error = exec_error(read_end.get()); error != 0) {
    waitpid(pid, nullptr, 0);
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("can't run {}: {}", request.path, strerror(error)));
  }
  return pid;
}

std::optional<std::string> find_program(const std::string& name) {
  if (name.find('/') != std::string::npos)
    return is_program(name) ? std::optional(name) : std::nullopt;
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error && is_program(self.parent_path() / name)) return self.parent_path() / name;
  std::string_view rest;
  const std::optional<std::string> path = foreign_variable("PATH");
  if (path) rest = *path;
  while (!rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    const fs::path candidate = fs::path(folder.empty() ? "." : folder) / name;
    if (is_program(candidate)) return candidate;
  }
  return std::nullopt;
}

void raise_file_limit(size_t needed) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, needed);
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace tutti::command
