// SPDX-License-Identifier: Apache-2.0
// The launcher's loop over all hosts. One thread; no call in it blocks.
#include "perf/hosts/remote_job.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/hosts/host_link.h"
#include "perf/hosts/job_ranks.h"
#include "perf/hosts/job_set_up.h"
#include "perf/job_text.h"
#include "perf/launcher.h"
#include "perf/line_relay.h"
#include "perf/signal_gate.h"
#include "perf/spawn.h"
#include "perf/terminal_input.h"
#include "src/base/clock.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

using nlohmann::json;
using State = HostLink::State;

// The agents' own grace between SIGTERM and SIGKILL is 2 s; then they have so long to say it.
constexpr int64_t kStopNs = 5 * kNsPerSecond;
constexpr int64_t kCloseNs = 4 * kNsPerSecond;  // for an agent that has been let go
constexpr int64_t kPingNs = 2 * kNsPerSecond;
constexpr int64_t kSilenceNs = 15 * kNsPerSecond;  // of a host: it is lost
// The loop turns at least at every ping: after a longer pause it is we who did not look.
constexpr int64_t kPauseNs = 2 * kPingNs;
constexpr size_t kInputWindow = size_t{256} << 10;  // bytes on their way to rank 0

class RemoteJob {
 public:
  explicit RemoteJob(const RunOptions& options)
      : options_(options), orders_(common_orders(options)) {}

  void start() {
    raise_file_limit(3 * options_.hosts.size() + 64);
    for (const HostShare& share : options_.hosts) {
      hosts_.push_back(std::make_unique<HostLink>(share, agent_command(options_, share.name),
                                                  messages_, signals_.mask_before()));
    }
    start_by_ = after_seconds(options_.on_hosts.start_seconds);
    if (options_.timeout_seconds > 0) end_by_ = after_seconds(options_.timeout_seconds);
  }

  void run() {
    while (std::ranges::any_of(hosts_, [](const auto& h) { return h->state() != State::kGone; })) {
      wait_for_something();
      handle_signals();
      for (const auto& host : hosts_) listen_to(*host);
      end_what_failed();
      check_deadlines();
    }
    ranks_.finish_lines();
    flush();
  }

  int report() const {
    if (timed_out_) {
      fmt::print(stderr, "tutti run: the job did not end within {} s; {}\n",
                 options_.timeout_seconds, others_text(n_stopped_, false));
    } else if (!failure_.empty()) {
      fmt::print(stderr, "tutti run: {}\n", failure_);
    }
    if (!unconfirmed_.empty())
      fmt::print(stderr, "tutti run: not confirmed that the ranks have ended on: {}\n",
                 unconfirmed_);
    return timed_out_ ? kTimeoutStatus : status_;
  }

 private:
  static Deadline after_seconds(double seconds) {
    return Deadline::after_ns(static_cast<int64_t>(seconds * static_cast<double>(kNsPerSecond)));
  }

  // --- waiting ---
  void wait_for_something() {
    std::vector<pollfd> polled = {{signals_.fd(), POLLIN, 0},
                                  {out_.empty() ? -1 : out_.fd(), POLLOUT, 0},
                                  {err_.empty() ? -1 : err_.fd(), POLLOUT, 0},
                                  {wants_input() ? input_fd_ : -1, POLLIN, 0}};
    const size_t first_host = polled.size();
    for (const auto& host : hosts_) host->add_to(polled, !out_.full() && !err_.full());
    const size_t first_terminal = polled.size();
    if (input_fd_ >= 0 && input_fd_ != STDIN_FILENO) terminal_.add_to(polled);
    const int64_t before = now_ns();
    const int ready = poll(polled.data(), polled.size(), next_deadline().left_ms());
    if (now_ns() - before > kPauseNs || before - turned_at_ns_ > kPauseNs)
      for (const auto& host : hosts_) host->forgive(now_ns() - turned_at_ns_);
    turned_at_ns_ = now_ns();
    if (ready <= 0) return;
    if (polled[1].revents != 0) out_.write_some();
    if (polled[2].revents != 0) err_.write_some();
    if (polled[3].revents != 0) pass_input();
    for (size_t h = 0; h < hosts_.size(); ++h)
      hosts_[h]->on_ready(&polled[first_host + h * HostLink::kPollEntries]);
    for (size_t i = first_terminal; i < polled.size(); ++i)
      if (polled[i].revents != 0) terminal_.on_ready(polled[i].fd);
  }

  Deadline next_deadline() const {
    Deadline next = ping_at_;
    for (const Deadline& other : {start_by_, end_by_, stop_by_})
      if (other.time_ns() < next.time_ns()) next = other;
    for (const auto& host : hosts_)
      if (host->kill_at().time_ns() < next.time_ns()) next = host->kill_at();
    return next;
  }

  // --- what the hosts say ---
  void listen_to(HostLink& host) {
    if (host.state() == State::kGone) return;
    const std::optional<State> before = host.reap();
    try {
      while (const std::optional<Frame> frame = host.next_frame()) on_frame(host, *frame);
    } catch (const std::exception& error) {
      lose(host, error.what());
    }
    if (!before) {
      if (host.state() == State::kRunning && ranks_.n_running_on(host.share()) == 0)
        host.close(kCloseNs);
      return;
    }
    if (*before == State::kConnecting) {
      lose(host, "could not be reached: " + host.end_text());
    } else if (*before != State::kClosing || ranks_.n_running_on(host.share()) > 0) {
      lose(host, "was lost: " + host.end_text());
    }
  }

  void on_frame(HostLink& host, const Frame& frame) {
    const bool starts = frame.kind == FrameKind::kHello || frame.kind == FrameKind::kReady ||
                        frame.kind == FrameKind::kChecked;
    if (starts && is_ending()) return;  // said before it heard of the end
    switch (frame.kind) {
      case FrameKind::kHello:
        return greet(host, json::parse(frame.payload).at("version"));
      case FrameKind::kReady:
        return on_ready(host, frame.payload);
      case FrameKind::kChecked:
        if (search_.add_answer(host.share().name, frame.payload))
          search_.reached() ? go() : try_next_address();
        return;
      case FrameKind::kRefused:
        return on_refused(host, json::parse(frame.payload));
      case FrameKind::kTaken:
        input_on_its_way_ -= std::min<size_t>(input_on_its_way_, std::stoul(frame.payload));
        return;
      case FrameKind::kPong:
        return;
      default:
        return ranks_.on_frame(host.share(), frame);
    }
  }

  void on_refused(const HostLink& host, const json& why) {
    const HostShare& share = host.share();
    ranks_.refused(share);
    fail(fmt::format("host {} ({}): {}", share.name, ranks_text(share),
                     why.at("text").get<std::string>()),
         why.at("status"), 0);
  }

  void greet(HostLink& host, const std::string& version) {
    if (version != agent_version()) {
      throw Error(StatusCode::kRemoteError,
                  fmt::format("runs tutti {}, this is {}: install the same there, or name it by "
                              "--tutti",
                              version, agent_version()));
    }
    AgentOrders orders = orders_;
    orders.first_rank = host.share().first_rank;
    orders.ranks = host.share().ranks;
    host.say(FrameKind::kSetUp, 0, encode(orders));
    host.enter(State::kSetUp);
  }

  void on_ready(HostLink& host, const std::string& offer) {
    host.enter(State::kReady);
    if (orders_.meets && host.share().first_rank == 0)
      search_.offer(offer, static_cast<int>(hosts_.size()) - 1);
    if (!std::ranges::all_of(hosts_, [](const auto& h) { return h->state() == State::kReady; }))
      return;
    orders_.meets ? try_next_address() : go();
  }

  void try_next_address() {
    const std::optional<std::string> place = search_.next();
    if (!place) {
      return fail(
          fmt::format("the hosts can't meet at {} (rank 0's host); choose another interface "
                      "by --interface, or open a port and name it by --port:{}",
                      hosts_[0]->share().name, search_.failures()),
          kHostStatus, 0);
    }
    for (size_t h = 1; h < hosts_.size(); ++h) hosts_[h]->say(FrameKind::kCheck, 0, *place);
  }

  void go() {
    start_by_ = Deadline::never();
    for (const auto& host : hosts_) {
      host->say(FrameKind::kGo, 0, search_.variables());
      host->enter(State::kRunning);
    }
    ranks_.order();
    input_fd_ = STDIN_FILENO;
    if (isatty(STDIN_FILENO) == 0) return;
    terminal_end_ = terminal_.open();
    input_fd_ = terminal_end_.get();
  }

  // --- input ---
  bool wants_input() const {
    return input_fd_ >= 0 && input_on_its_way_ < kInputWindow && ranks_.is_running(0);
  }

  void pass_input() {
    std::array<char, 32 << 10> buffer;
    const ssize_t got = read(input_fd_, buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      input_fd_ = -1;
      return hosts_[0]->say(FrameKind::kInputEnd);
    }
    input_on_its_way_ += static_cast<size_t>(got);
    hosts_[0]->say(FrameKind::kInput, 0, {buffer.data(), static_cast<size_t>(got)});
  }

  // --- ends ---
  void end_what_failed() {
    if (!ranks_.first_failure() || is_ending()) return;
    RankFailure failure = *ranks_.first_failure();
    failure.others_stopped = ranks_.n_running();
    failure.passed_on = passed_on_;
    fail(failure_text(failure, orders_.size), failure.status, 0);
  }

  bool is_ending() const { return !failure_.empty() || timed_out_; }

  // The host does not answer any more, or says nonsense.
  void lose(HostLink& host, const std::string& why) {
    const HostShare& share = host.share();
    if (ranks_.give_up(share) > 0) unconfirmed_ += (unconfirmed_.empty() ? "" : ", ") + share.name;
    host.kill_shell();
    fail(fmt::format("host {} ({}) {}", share.name, ranks_text(share), why), kHostStatus,
         ranks_.n_running());
  }

  // The first reason counts. `others`: ranks that are stopped therefore, where the text does not
  // say it.
  void fail(const std::string& text, int status, int others) {
    if (!is_ending()) {
      failure_ = text + (others > 0 ? "; " + others_text(others, false) : "");
      status_ = status;
    }
    stop_all();
  }

  void stop_all() {
    start_by_ = Deadline::never();
    if (stop_by_.time_ns() != INT64_MAX) return;
    n_stopped_ = ranks_.n_running();
    stop_by_ = Deadline::after_ns(kStopNs);
    for (const auto& host : hosts_) {
      if (host->state() == State::kRunning)
        host->say(FrameKind::kStop);
      else
        host->close(kCloseNs);  // it runs nothing yet
    }
  }

  void check_deadlines() {
    if (start_by_.expired()) fail(late_text(), kHostStatus, 0);
    if (end_by_.expired()) {
      timed_out_ = failure_.empty();
      end_by_ = Deadline::never();
      stop_all();
    }
    if (stop_by_.expired()) {
      stop_by_ = Deadline::at_ns(INT64_MAX - 1);
      for (const auto& host : hosts_)
        if (host->up()) lose(*host, "did not end its ranks");
    }
    for (const auto& host : hosts_)
      if (host->kill_at().expired()) host->kill_shell();
    if (ping_at_.expired()) ping();
  }

  void ping() {
    ping_at_ = Deadline::after_ns(kPingNs);
    for (const auto& host : hosts_) {
      if (host->state() == State::kConnecting || !host->up()) continue;
      host->say(FrameKind::kPing);
      if (!out_.full() && !err_.full() && now_ns() - host->heard_at_ns() > kSilenceNs)
        lose(*host,
             fmt::format("was lost: it has said nothing for {} s", kSilenceNs / kNsPerSecond));
    }
  }

  std::string late_text() const {
    std::string late;
    for (const auto& host : hosts_) {
      if (host->state() == State::kReady) continue;
      const char* what = host->state() == State::kConnecting ? "not reached" : "has not got ready";
      late += fmt::format("{}{} ({}, {})", late.empty() ? "" : ", ", host->share().name,
                          ranks_text(host->share()), what);
    }
    return fmt::format("the job did not start within {} s (--start-timeout): {}",
                       options_.on_hosts.start_seconds,
                       late.empty() ? "the hosts did not meet" : late);
  }

  // --- signals ---
  void handle_signals() {
    for (int number = signals_.take(); number != 0; number = signals_.take()) {
      if (number == SIGCHLD) continue;
      const bool ends =
          number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT;
      for (const auto& host : hosts_)
        if (host->state() == State::kRunning) host->say(FrameKind::kSignal, number);
      if (number == SIGTSTP) stop_self();
      if (!ends) continue;
      passed_on_ = number;
      if (hosts_[0]->state() < State::kRunning)
        fail(fmt::format("{} came before the ranks had started", signal_text(number)), 128 + number,
             0);
      else if (++interrupts_ > 1)
        stop_all();  // asked twice: they did not listen
    }
  }

  // What has been said goes out first, if the pipes take it.
  void stop_self() {
    for (const auto& host : hosts_) {
      std::vector<pollfd> polled;
      host->add_to(polled, false);
      while (polled[0].fd >= 0 && poll(polled.data(), 1, 0) > 0) {
        polled[1].revents = polled[2].revents = 0;
        host->on_ready(polled.data());
        polled.clear();
        host->add_to(polled, false);
      }
    }
    const int64_t start = now_ns();
    raise(SIGSTOP);
    for (Deadline* deadline : {&end_by_, &stop_by_, &start_by_})
      if (deadline->time_ns() != INT64_MAX)
        *deadline = Deadline::at_ns(deadline->time_ns() + now_ns() - start);
  }

  // A reader may be slow (a pager) unless the user or the time limit wants an end.
  void flush() {
    const int interrupts_before = interrupts_;
    const Deadline until = timed_out_ ? Deadline::after_ns(kStopNs) : Deadline::never();
    while (!(out_.empty() && err_.empty()) && interrupts_ == interrupts_before &&
           !until.expired()) {
      ping_at_ = Deadline::after_ns(kPingNs);
      wait_for_something();
      handle_signals();
    }
  }

  const RunOptions& options_;
  const AgentOrders orders_;
  SignalGate signals_;
  LineSink out_{STDOUT_FILENO};
  LineSink err_{STDERR_FILENO};
  // Where both are one file, lines must not overtake each other's halves.
  LineSink& messages_ = same_file(STDOUT_FILENO, STDERR_FILENO) ? out_ : err_;
  TerminalInput terminal_;
  FileDescriptor terminal_end_;
  std::vector<std::unique_ptr<HostLink>> hosts_;
  JobRanks ranks_{orders_.size, options_.prefix, out_, messages_};
  MeetingSearch search_;
  int input_fd_ = -1;  // where rank 0's input comes from; -1: not yet, or ended
  size_t input_on_its_way_ = 0;
  Deadline start_by_ = Deadline::never();
  Deadline end_by_ = Deadline::never();   // --timeout
  Deadline stop_by_ = Deadline::never();  // the agents' time to end their ranks
  Deadline ping_at_ = Deadline::after_ns(kPingNs);
  int64_t turned_at_ns_ = now_ns();
  std::string failure_;      // what is reported
  std::string unconfirmed_;  // hosts
  int status_ = 0;
  bool timed_out_ = false;
  int n_stopped_ = 0;
  int passed_on_ = 0;
  int interrupts_ = 0;
};

}  // namespace

int run_on_hosts(const RunOptions& options) {
  RemoteJob job(options);
  job.start();
  job.run();
  return job.report();
}

}  // namespace tutti::command
