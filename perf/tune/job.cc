// SPDX-License-Identifier: Apache-2.0
// The side that asks: a request in a memfd, answers through a pipe, which a thread reads while the
// launcher looks after the ranks.
#include "perf/tune/job.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <thread>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>

#include "perf/launcher.h"
#include "perf/tune/rank.h"
#include "src/base/error.h"
#include "src/base/file.h"

namespace tutti::command {
namespace {

// Both are inherited by the ranks.
FileDescriptor memfd_with(const std::string& text) {
  FileDescriptor fd(::memfd_create("tutti-tune", 0));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw system_error("can't hand out what to measure", errno);
  return fd;
}

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};
Pipe make_pipe() {
  int ends[2];
  if (::pipe(ends) != 0) throw system_error("can't make a pipe", errno);
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

// Reads answers until all writers are gone. The launcher takes signals on the thread that calls it,
// so they must not come here.
class Collector {
 public:
  Collector(FileDescriptor answers, Progress& progress)
      : answers_(std::move(answers)), progress_(progress) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { collect(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  // Once no writer is left.
  std::vector<std::string> lines() {
    thread_.join();
    return std::move(lines_);
  }
  ~Collector() {
    if (thread_.joinable()) thread_.join();
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

 private:
  void collect() {
    char piece[1 << 16];
    std::string line;
    for (;;) {
      const ssize_t got = ::read(answers_.get(), piece, sizeof piece);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return;
      for (ssize_t i = 0; i < got; ++i) {
        if (piece[i] != '\n') {
          line += piece[i];
          continue;
        }
        lines_.push_back(std::move(line));
        line.clear();
        progress_.step();
      }
    }
  }

  FileDescriptor answers_;
  Progress& progress_;
  std::vector<std::string> lines_;
  std::thread thread_;
};

}  // namespace

std::vector<Times> measure(int n_ranks, const Request& request, Progress& progress) {
  const FileDescriptor asked = memfd_with(to_text(request));
  Pipe answers = make_pipe();
  RunOptions run{.ranks = n_ranks};
  run.command = {std::filesystem::read_symlink("/proc/self/exe").string(), kRankCommand,
                 std::to_string(asked.get()), std::to_string(answers.write_end.get())};
  Collector collector(std::move(answers.read_end), progress);
  int status = 0;
  try {
    status = run_job(run);
  } catch (...) {
    answers.write_end.reset();  // so that the collector ends
    throw;
  }
  answers.write_end.reset();
  std::vector<Times> times;
  for (const std::string& line : collector.lines()) times.push_back(times_from_text(line));
  if (status != 0 || times.size() != request.points.size()) {
    throw Error(StatusCode::kSystemError,
                fmt::format("the {} ranks that measure ended with status {} after {} of {} points; "
                            "what they said is above, and `tutti doctor --ranks {}` may know more",
                            n_ranks, status, times.size(), request.points.size(), n_ranks));
  }
  return times;
}

std::vector<Times> measure_by_jobs(int n_jobs, int n_ranks, const Request& request,
                                   Progress& progress) {
  std::vector<Times> all = measure(n_ranks, request, progress);
  for (int job = 1; job < n_jobs; ++job) {
    const std::vector<Times> more = measure(n_ranks, request, progress);
    for (size_t point = 0; point < all.size(); ++point)
      for (size_t i = 0; i < all[point].size(); ++i)
        all[point][i].insert(all[point][i].end(), more[point][i].begin(), more[point][i].end());
  }
  return all;
}

}  // namespace tutti::command
