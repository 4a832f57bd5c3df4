// SPDX-License-Identifier: Apache-2.0
// Starts the built `tutti` command and collects what it says, with a deadline on everything.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "src/base/clock.h"
#include "src/base/file.h"
#include "src/base/wait.h"

namespace tutti::command {

// Polls `condition` until it holds; false after 20 s.
template <typename Condition>
bool eventually(Condition condition) {
  const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
  while (!condition()) {
    if (deadline.expired()) return false;
    sleep_ns(2 * kNsPerMs);
  }
  return true;
}

// The state letter in /proc/PID/stat; 'X' when there is no such process.
inline char process_state(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t end_of_name = text.rfind(')');
  return end_of_name == std::string::npos ? 'X' : text[end_of_name + 2];
}
inline bool is_gone(pid_t pid) { return process_state(pid) == 'X' || process_state(pid) == 'Z'; }

class Child {
 public:
  explicit Child(std::vector<std::string> arguments, const std::string& input_file = "/dev/null") {
    arguments.insert(arguments.begin(), TUTTI_COMMAND);
    std::array<int, 2> out{}, err{};
    EXPECT_EQ(pipe2(out.data(), O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(err.data(), O_CLOEXEC), 0);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      const int input = open(input_file.c_str(), O_RDONLY);
      if (dup2(input, 0) != 0 || dup2(out[1], 1) != 1 || dup2(err[1], 2) != 2) _exit(99);
      execv(argv[0], argv.data());
      _exit(98);
    }
    out_fd_ = FileDescriptor(out[0]);
    err_fd_ = FileDescriptor(err[0]);
    close(out[1]);
    close(err[1]);
  }
  ~Child() {
    if (pid_ > 0 && !waited_) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }
  void close_out() { out_fd_.reset(); }

  // Reads until standard output contains `text`.
  bool wait_for(const std::string& text) {
    const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
    while (out_.find(text) == std::string::npos)
      if (deadline.expired() || !read_some(deadline)) return false;
    return true;
  }

  // Reads to the end and returns the exit status, 128 + signal when killed, -1 when it does not end
  // in time.
  int wait() {
    const Deadline deadline = Deadline::after_ns(30 * kNsPerSecond);
    while (read_some(deadline))
      if (deadline.expired()) return -1;
    int status = 0;
    if (!eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
    waited_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  // False when both streams have ended.
  bool read_some(Deadline deadline) {
    std::array<pollfd, 2> polled = {pollfd{out_fd_.get(), POLLIN, 0},
                                    pollfd{err_fd_.get(), POLLIN, 0}};
    if (!out_fd_ && !err_fd_) return false;
    if (poll(polled.data(), polled.size(), deadline.left_ms()) <= 0) return true;
    if (polled[0].revents != 0) append(out_fd_, out_);
    if (polled[1].revents != 0) append(err_fd_, err_);
    return true;
  }
  static void append(FileDescriptor& fd, std::string& to) {
    std::array<char, 65536> buffer;
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got > 0) to.append(buffer.data(), static_cast<size_t>(got));
    if (got <= 0 && errno != EINTR) fd.reset();
  }

  pid_t pid_ = -1;
  bool waited_ = false;
  FileDescriptor out_fd_, err_fd_;
  std::string out_, err_;
};

struct Result {
  int status;
  std::string out, err;
};
inline Result run_tutti(std::vector<std::string> arguments,
                        const std::string& input_file = "/dev/null") {
  Child child(std::move(arguments), input_file);
  const int status = child.wait();
  return {status, child.out(), child.err()};
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end == std::string::npos ? end : end - at));
    at = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

}  // namespace tutti::command
