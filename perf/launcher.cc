// SPDX-License-Identifier: Apache-2.0
// One thread, one poll loop: signals arrive through a signalfd, output through pipes, and no call
// in the loop blocks.
#include "perf/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <sys/random.h>
#include <sys/wait.h>

#include "perf/hosts/remote_job.h"
#include "perf/job_text.h"
#include "perf/line_relay.h"
#include "perf/signal_gate.h"
#include "perf/spawn.h"
#include "perf/terminal_input.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"

namespace tutti::command {
namespace {

constexpr int64_t kGraceNs = 2 * kNsPerSecond;  // between SIGTERM and SIGKILL
constexpr size_t kReadBytes = size_t{64} << 10;

// A process's pipe and the lines it is cut into.
struct Stream {
  FileDescriptor fd;
  LineSource lines;

  // False when nothing more will come.
  bool read_some() {
    std::array<char, kReadBytes> buffer;
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got > 0) lines.add({buffer.data(), static_cast<size_t>(got)});
    return got > 0;
  }
};

struct Rank {
  pid_t pid = 0;
  bool running = false;
};

class Job {
 public:
  explicit Job(const RunOptions& options)
      : options_(options),
        processes_(options.threads ? 1 : options.ranks),
        direct_(processes_ == 1 && options.prefix != PrefixMode::kAll) {}
  // Nothing may be left running, whatever has been thrown.
  ~Job() {
    for (size_t r = 0; r < ranks_.size(); ++r)
      if (ranks_[r].running) end_rank(r);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void start(const std::string& path) {
    raise_file_limit(2 * static_cast<size_t>(processes_) + 32);
    const CoreShares shares(options_.threads ? Pinning::kNone : options_.pinning, processes_);
    uint64_t job = 0;
    if (getrandom(&job, sizeof job, 0) != sizeof job)
      throw system_error("can't draw a job name", errno);
    for (int rank = 0; rank < processes_; ++rank) {
      start_rank(rank, path, fmt::format("{:016x}", job), shares.cpus_of(rank));
    }
    if (options_.timeout_seconds > 0)
      deadline_ = Deadline::after_ns(
          static_cast<int64_t>(options_.timeout_seconds * static_cast<double>(kNsPerSecond)));
  }

  // Until every rank has ended and what they wrote is out.
  void run() {
    while (n_running() > 0) {
      wait_for_something();
      handle_signals();
      reap();
      check_deadlines();
    }
    for (Stream& stream : streams_) drain(stream);
    flush();
  }

  // Says what went wrong, if anything, and returns the exit status.
  int report() const {
    if (timed_out_)
      fmt::print(stderr, "tutti run: the job did not end within {} s; {}\n",
                 options_.timeout_seconds,
                 processes_ == 1 ? "it was stopped" : others_text(n_stopped_, false));
    if (!failure_) return timed_out_ ? kTimeoutStatus : 0;
    if (!timed_out_) fmt::print(stderr, "tutti run: {}\n", failure_text(*failure_, processes_));
    return timed_out_ ? kTimeoutStatus : failure_->status;
  }

 private:
  std::vector<std::string> variables(int rank, const std::string& job) const {
    std::vector<std::string> result = {
        fmt::format("TUTTI_RANK={}", rank), fmt::format("TUTTI_SIZE={}", processes_),
        fmt::format("TUTTI_LOCAL_RANK={}", rank), fmt::format("TUTTI_LOCAL_SIZE={}", processes_),
        "TUTTI_JOB=" + job};
    if (options_.threads) result.push_back(fmt::format("TUTTI_THREADS={}", options_.ranks));
    return result;
  }

  void start_rank(int rank, const std::string& path, const std::string& job,
                  std::vector<int32_t> cpus) {
    FileDescriptor input;
    if (rank == 0 && isatty(STDIN_FILENO) != 0) input = terminal_.open();
    if (rank > 0) input = FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
    SpawnRequest request{.path = path,
                         .arguments = options_.command,
                         .variables = variables(rank, job),
                         .cpus = std::move(cpus),
                         .signal_mask = signals_.mask_before()};
    if (input) request.stdin_fd = input.get();
    Pipe out, err;  // the ends that the process writes close here once it has them
    if (!direct_) {
      out = make_pipe();
      err = make_pipe();
      request.stdout_fd = out.write_end.get();
      request.stderr_fd = err.write_end.get();
    }
    ranks_.push_back({spawn(request), true});
    if (direct_) return;
    set_nonblocking(out.read_end.get());
    set_nonblocking(err.read_end.get());
    streams_.push_back(
        {std::move(out.read_end), LineSource(line_prefix(options_.prefix, rank, true), out_)});
    streams_.push_back(
        {std::move(err.read_end),
         LineSource(line_prefix(options_.prefix, rank, false), one_sink_ ? out_ : err_)});
  }

  int n_running() const {
    return static_cast<int>(
        std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.running; }));
  }

  void wait_for_something() {
    std::vector<pollfd> polled = {{signals_.fd(), POLLIN, 0}};
    for (const LineSink* sink : {&out_, &err_})
      if (!sink->empty()) polled.push_back({sink->fd(), POLLOUT, 0});
    terminal_.add_to(polled);
    const size_t first_stream = polled.size();
    for (Stream& stream : streams_) {
      if (stream.lines.sink().closed())
        stream.fd.reset();  // the process gets SIGPIPE, as without us
      // poll skips negative descriptors.
      polled.push_back({stream.lines.sink().full() ? -1 : stream.fd.get(), POLLIN, 0});
    }
    if (poll(polled.data(), polled.size(), next_deadline().left_ms()) <= 0) return;
    for (size_t i = 1; i < first_stream; ++i) {
      if (polled[i].revents == 0) continue;
      for (LineSink* sink : {&out_, &err_})
        if (polled[i].fd == sink->fd()) sink->write_some();
      terminal_.on_ready(polled[i].fd);
    }
    for (size_t i = 0; i < streams_.size(); ++i)
      if (polled[first_stream + i].revents != 0 && !streams_[i].read_some()) finish(streams_[i]);
  }

  Deadline next_deadline() const {
    return deadline_.time_ns() < kill_at_.time_ns() ? deadline_ : kill_at_;
  }

  static void finish(Stream& stream) {
    stream.fd.reset();
    stream.lines.finish();
  }

  // The writers are dead: what they wrote is in the pipe already.
  static void drain(Stream& stream) {
    if (!stream.fd) return;
    pollfd polled{stream.fd.get(), POLLIN, 0};
    while (poll(&polled, 1, 0) > 0 && stream.read_some()) {
    }
    finish(stream);
  }

  // A reader may be slow (a pager) unless the user or the time limit wants an end.
  void flush() {
    const int interrupts_before = interrupts_;
    deadline_ = Deadline::never();
    kill_at_ = timed_out_ ? Deadline::after_ns(kGraceNs) : Deadline::never();
    while (!(out_.empty() && err_.empty()) && interrupts_ == interrupts_before &&
           !kill_at_.expired()) {
      wait_for_something();
      handle_signals();
    }
  }

  void handle_signals() {
    for (int number = signals_.take(); number != 0; number = signals_.take()) {
      if (number == SIGCHLD) continue;
      signal_all(number);
      if (number == SIGTSTP) stop_self();
      if (number != SIGINT && number != SIGTERM && number != SIGHUP && number != SIGQUIT) continue;
      passed_on_ = number;
      if (++interrupts_ > 1) stop_all();  // asked twice: they did not listen
    }
  }

  // Time spent stopped does not count.
  void stop_self() {
    const int64_t start = now_ns();
    raise(SIGSTOP);
    for (Deadline* deadline : {&deadline_, &kill_at_})
      if (deadline->time_ns() != INT64_MAX)
        *deadline = Deadline::at_ns(deadline->time_ns() + now_ns() - start);
  }

  void signal_all(int number) const {
    for (const Rank& rank : ranks_)
      if (rank.running) kill(-rank.pid, number);
  }

  void stop_all() {
    if (kill_at_.time_ns() != INT64_MAX) return;
    n_stopped_ = n_running();
    signal_all(SIGTERM);
    signal_all(SIGCONT);  // a stopped process would not see it
    kill_at_ = Deadline::after_ns(kGraceNs);
  }

  void check_deadlines() {
    if (deadline_.expired()) {
      timed_out_ = true;
      deadline_ = Deadline::never();
      stop_all();
    }
    if (!kill_at_.expired()) return;
    signal_all(SIGKILL);
    kill_at_ = Deadline::after_ns(kGraceNs);
  }

  // Ends what is left of a rank's process group, then the rank. While its leader is not yet reaped
  // the group's id can't be taken by another.
  void end_rank(size_t index) {
    kill(-ranks_[index].pid, SIGKILL);
    waitpid(ranks_[index].pid, nullptr, 0);
    ranks_[index].running = false;
  }

  void reap() {
    std::optional<RankFailure> first;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      siginfo_t info{};
      if (!ranks_[r].running ||
          waitid(P_PID, ranks_[r].pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        continue;
      end_rank(r);
      const bool exited = info.si_code == CLD_EXITED;
      if (exited && info.si_status == 0) continue;
      // Of those that ended between two looks, one that was killed is the likelier cause.
      if (!first || (first->signal == 0 && !exited))
        first = RankFailure{.rank = static_cast<int>(r),
                            .pid = ranks_[r].pid,
                            .signal = exited ? 0 : info.si_status,
                            .status = exited ? info.si_status : 128 + info.si_status};
    }
    if (!first || failure_) return;
    failure_ = first;
    failure_->others_stopped = n_running();
    failure_->passed_on = passed_on_;
    stop_all();
  }

  const RunOptions& options_;
  const int processes_;
  const bool direct_;  // one process writes to our descriptors itself, so that it knows whether
                       // they are a terminal
  const bool one_sink_ =
      same_file(STDOUT_FILENO, STDERR_FILENO);  // then lines must not overtake each other's halves
  SignalGate signals_;
  LineSink out_{STDOUT_FILENO};
  LineSink err_{STDERR_FILENO};
  TerminalInput terminal_;
  std::vector<Rank> ranks_;
  std::vector<Stream> streams_;
  Deadline deadline_ = Deadline::never();  // of the job
  Deadline kill_at_ = Deadline::never();   // when SIGTERM has had its time
  bool timed_out_ = false;
  int passed_on_ = 0;
  int interrupts_ = 0;
  int n_stopped_ = 0;
  std::optional<RankFailure> failure_;
};

}  // namespace

int run_job(const RunOptions& options) {
  // A caller may have closed them; nothing else of ours may take their numbers.
  while (true) {
    FileDescriptor fd(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!fd || fd.get() > STDERR_FILENO) break;
    fcntl(fd.release(), F_SETFD, 0);
  }
  if (!options.hosts.empty()) return run_on_hosts(options);
  const std::optional<std::string> path = find_program(options.command.at(0));
  if (!path) {
    fmt::print(stderr, "tutti run: can't find a program \"{}\"{}\n", options.command[0],
               options.command[0].find('/') == std::string::npos ? " beside tutti or on PATH" : "");
    return kNotFoundStatus;
  }
  Job job(options);
  job.start(*path);
  job.run();
  return job.report();
}

}  // namespace tutti::command
