// SPDX-License-Identifier: Apache-2.0
// Passes output of several processes on in whole lines, without ever blocking.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>

namespace tutti::command {

// Where lines go: a queue in front of a descriptor that others may have open too (so it stays in
// blocking mode).
class LineSink {
 public:
  explicit LineSink(int fd) : fd_(fd) {}

  void add(std::string_view text);
  bool empty() const { return queue_.empty(); }
  bool closed() const { return closed_; }  // the reader has gone; what is added is dropped
  // More than this many bytes wait: stop reading from the sources.
  bool full() const { return queued_bytes_ > kFullBytes; }
  int fd() const { return fd_; }
  // Call when poll says POLLOUT (or POLLERR): writes at most PIPE_BUF bytes, which a ready pipe
  // takes without blocking.
  void write_some();

 private:
  static constexpr size_t kFullBytes = size_t{1} << 20;
  int fd_;
  bool closed_ = false;
  std::deque<std::string> queue_;
  size_t front_written_ = 0;  // bytes of queue_.front() that are out
  size_t queued_bytes_ = 0;
};

// Cuts one process's output into lines, each with `prefix`. An empty prefix passes bytes on as they
// are: a last line without newline stays without; a prefixed one gets a newline. A line above
// kMaxLineBytes is cut.
class LineSource {
 public:
  LineSource(std::string prefix, LineSink& sink) : prefix_(std::move(prefix)), sink_(&sink) {}
  void add(std::string_view bytes);
  void finish();  // the process has ended: what is left of the last line goes out
  const LineSink& sink() const { return *sink_; }

 private:
  static constexpr size_t kMaxLineBytes = size_t{1} << 20;
  void emit(std::string_view line, bool complete);
  std::string prefix_;
  LineSink* sink_;  // outlives the source
  std::string partial_;
};

// Whether two descriptors are of one file or terminal.
bool same_file(int a, int b);

}  // namespace tutti::command
