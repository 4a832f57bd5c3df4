// SPDX-License-Identifier: Apache-2.0
// Line assembly and non-blocking output of `tutti run`.
#include "perf/line_relay.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <sys/stat.h>

namespace tutti::command {

void LineSink::add(std::string_view text) {
  if (closed_ || text.empty()) return;
  if (!queue_.empty() && queue_.back().size() < PIPE_BUF)
    queue_.back() += text;
  else
    queue_.emplace_back(text);
  queued_bytes_ += text.size();
}

void LineSink::write_some() {
  if (queue_.empty()) return;
  const std::string& front = queue_.front();
  const size_t bytes = std::min<size_t>(front.size() - front_written_, PIPE_BUF);
  const ssize_t written = write(fd_, front.data() + front_written_, bytes);
  if (written < 0) {
    if (errno == EINTR || errno == EAGAIN) return;
    closed_ = true;  // EPIPE and whatever else a terminal or file may say: nobody will read it
    queue_.clear();
    queued_bytes_ = 0;
    return;
  }
  front_written_ += static_cast<size_t>(written);
  queued_bytes_ -= static_cast<size_t>(written);
  if (front_written_ < front.size()) return;
  queue_.pop_front();
  front_written_ = 0;
}

void LineSource::emit(std::string_view line, bool complete) {
  std::string text = prefix_;
  text += line;
  if (!complete && !prefix_.empty()) text += '\n';
  sink_->add(text);
}

void LineSource::add(std::string_view bytes) {
  size_t newline = bytes.find('\n');
  while (newline != std::string_view::npos) {
    partial_ += bytes.substr(0, newline + 1);
    emit(partial_, true);
    partial_.clear();
    bytes.remove_prefix(newline + 1);
    newline = bytes.find('\n');
  }
  partial_ += bytes;
  if (partial_.size() > kMaxLineBytes) finish();
}

void LineSource::finish() {
  if (!partial_.empty()) emit(partial_, false);
  partial_.clear();
}

bool same_file(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

}  // namespace tutti::command
