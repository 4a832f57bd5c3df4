// SPDX-License-Identifier: Apache-2.0
// One thread, one poll loop, as the launcher: frames come in on standard input and go out on
// standard output, the ranks' output comes through pipes.
#include "perf/hosts/agent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>
#include <sys/wait.h>

#include "perf/hosts/rendezvous.h"
#include "perf/hosts/wire.h"
#include "perf/launcher.h"
#include "perf/line_relay.h"
#include "perf/signal_gate.h"
#include "perf/spawn.h"
#include "perf/terminal_input.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

using nlohmann::json;

constexpr int64_t kGraceNs = 2 * kNsPerSecond;  // between SIGTERM and SIGKILL
// The launcher says something every 2 s. One that is silent for so long is gone, with its machine.
constexpr int64_t kSilenceNs = 60 * kNsPerSecond;
constexpr int64_t kFlushNs = kNsPerSecond;  // when all have ended, for the launcher to hear it
constexpr int64_t kVisitNs = 3 * kNsPerSecond;
constexpr size_t kReadBytes = size_t{64} << 10;
// Of what a rank has left in a pipe; processes outside of its group may still write to it.
constexpr int kDrainReads = 64;
constexpr int kErrorStatus = 1;

std::string text_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

struct Rank {
  int32_t number;
  pid_t pid;
  FileDescriptor out, err;  // what it writes
  bool running = true;
};

class Agent {
 public:
  ~Agent() {
    for (Rank& rank : ranks_)
      if (rank.running) end(rank);
  }

  int run() {
    out_.add(kAgentGreeting);
    say(FrameKind::kHello, 0, text_of({{"version", agent_version()}}));
    while (!finished()) {
      wait_for_something();
      handle_signals();
      reap();
      check_deadlines();
    }
    return 0;
  }

 private:
  void say(FrameKind kind, int32_t rank = 0, std::string_view payload = {}) {
    out_.add(encode(kind, rank, payload));
  }

  bool any_running() const { return std::ranges::any_of(ranks_, &Rank::running); }

  bool finished() const {
    return input_ended_ && !any_running() &&
           (out_.empty() || out_.closed() || flush_until_.expired());
  }

  // --- waiting ---
  void wait_for_something() {
    std::vector<pollfd> polled = {{signals_.fd(), POLLIN, 0},
                                  {input_ended_ ? -1 : STDIN_FILENO, POLLIN, 0},
                                  {out_.empty() ? -1 : out_.fd(), POLLOUT, 0},
                                  {place_ ? place_->fd() : -1, POLLIN, 0},
                                  {pending_input_.empty() ? -1 : to_rank_0_.get(), POLLOUT, 0}};
    const size_t first = polled.size();
    for (const Rank& rank : ranks_)
      for (const FileDescriptor* fd : {&rank.out, &rank.err})
        polled.push_back({out_.full() ? -1 : fd->get(), POLLIN, 0});
    if (poll(polled.data(), polled.size(), next_deadline().left_ms()) <= 0) return;
    if (polled[1].revents != 0) read_input();
    if (polled[2].revents != 0) out_.write_some();
    if (polled[3].revents != 0 && place_) place_->answer();
    if (polled[4].revents != 0) feed_rank_0();
    if (out_.closed()) end_input();  // the connection is gone
    for (size_t i = 0; i < 2 * ranks_.size() && first + i < polled.size(); ++i)
      if (polled[first + i].revents != 0) relay(ranks_[i / 2], i % 2 == 0);
  }

  Deadline next_deadline() const {
    Deadline next = silent_at_;
    for (const Deadline& other : {kill_at_, flush_until_})
      if (other.time_ns() < next.time_ns()) next = other;
    return next;
  }

  void check_deadlines() {
    if (silent_at_.expired()) end_input();
    if (!kill_at_.expired()) return;
    signal_all(SIGKILL);
    kill_at_ = Deadline::after_ns(kGraceNs);
  }

  // --- what the launcher says ---
  void read_input() {
    std::array<char, kReadBytes> buffer;
    const ssize_t got = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return end_input();
    silent_at_ = Deadline::after_ns(kSilenceNs);
    frames_.add({buffer.data(), static_cast<size_t>(got)});
    while (const std::optional<Frame> frame = frames_.next()) obey(*frame);
  }

  // Nobody listens any more: nothing may stay.
  void end_input() {
    if (input_ended_) return;
    input_ended_ = true;
    silent_at_ = Deadline::never();
    place_.reset();
    stop_all();
    flush_until_ = Deadline::after_ns(kGraceNs + kFlushNs);
  }

  void obey(const Frame& frame) {
    switch (frame.kind) {
      case FrameKind::kSetUp:
        return or_refuse([&] { set_up(decode_orders(frame.payload)); });
      case FrameKind::kCheck:
        return or_refuse([&] { check_place(json::parse(frame.payload)); });
      case FrameKind::kGo:
        return or_refuse([&] { start_ranks(json::parse(frame.payload)); });
      case FrameKind::kSignal:
        // A launcher that is stopped says nothing, and is not gone.
        if (frame.rank == SIGTSTP) silent_at_ = Deadline::never();
        return signal_all(frame.rank);
      case FrameKind::kStop:
        return stop_all();
      case FrameKind::kInput:
        pending_input_ += frame.payload;
        return to_rank_0_ ? void() : drop_input();
      case FrameKind::kInputEnd:
        input_complete_ = true;
        if (pending_input_.empty()) to_rank_0_.reset();
        return;
      case FrameKind::kPing:
        return say(FrameKind::kPong);
      default:
        throw Error(StatusCode::kRemoteError,
                    fmt::format("expected an order, got a message of kind {}",
                                static_cast<int>(frame.kind)));
    }
  }

  template <class Action>
  void or_refuse(const Action& action) {
    const auto refuse = [this](int status, const char* text) {
      say(FrameKind::kRefused, 0, text_of({{"status", status}, {"text", text}}));
    };
    try {
      action();
    } catch (const std::exception& error) {
      refuse(refusal_status_, error.what());
    }
    refusal_status_ = kErrorStatus;
  }

  void set_up(AgentOrders orders) {
    orders_ = std::move(orders);
    if (chdir(orders_.folder.c_str()) != 0) {
      throw system_error(fmt::format("can't go to the folder {} of the launcher; name another by "
                                     "--wdir",
                                     orders_.folder),
                         errno);
    }
    const std::optional<std::string> path = find_program(orders_.command.at(0));
    if (!path) {
      refusal_status_ = kNotFoundStatus;
      throw Error(StatusCode::kInvalidArgument,
                  fmt::format("can't find a program \"{}\"{}", orders_.command[0],
                              orders_.command[0].find('/') == std::string::npos
                                  ? " beside tutti or on PATH"
                                  : fmt::format(" (from {})", orders_.folder)));
    }
    path_ = *path;
    json offer = json::object();
    if (orders_.meets && orders_.first_rank == 0) {
      place_.emplace(orders_.interface_prefix, orders_.port);
      offer = {{"port", place_->offer().port},
               {"token", place_->offer().token},
               {"addresses", place_->offer().addresses}};
    }
    say(FrameKind::kReady, 0, text_of(offer));
  }

  void check_place(const json& place) {
    say(FrameKind::kChecked, 0,
        visit(place.at("address"), place.at("port").get<uint16_t>(), place.at("token"),
              Deadline::after_ns(kVisitNs)));
  }

  // --- ranks ---
  void start_ranks(const json& further) {
    place_.reset();  // rank 0 will listen there
    for (const json& variable : further) orders_.variables.push_back(variable);
    raise_file_limit(4 * static_cast<size_t>(orders_.ranks) + 32);
    const CoreShares shares(orders_.pinning, orders_.ranks);
    for (int local = 0; local < orders_.ranks; ++local) start_rank(local, shares.cpus_of(local));
  }

  void start_rank(int local, std::vector<int32_t> cpus) {
    const int number = orders_.first_rank + local;
    Pipe in, out = make_pipe(), err = make_pipe();
    if (number == 0)
      in = make_pipe();
    else
      in.read_end = FileDescriptor(open("/dev/null", O_RDONLY | O_CLOEXEC));
    std::vector<std::string> variables = orders_.variables;
    for (const auto& [name, value] :
         {std::pair("TUTTI_RANK", number), std::pair("TUTTI_SIZE", orders_.size),
          std::pair("TUTTI_LOCAL_RANK", local), std::pair("TUTTI_LOCAL_SIZE", orders_.ranks)})
      variables.push_back(fmt::format("{}={}", name, value));
    const pid_t pid = spawn({.path = path_,
                             .arguments = orders_.command,
                             .variables = std::move(variables),
                             .cpus = std::move(cpus),
                             .stdin_fd = in.read_end.get(),
                             .stdout_fd = out.write_end.get(),
                             .stderr_fd = err.write_end.get(),
                             .signal_mask = signals_.mask_before()});
    for (const FileDescriptor* fd : {&out.read_end, &err.read_end}) set_nonblocking(fd->get());
    ranks_.push_back({number, pid, std::move(out.read_end), std::move(err.read_end)});
    say(FrameKind::kStarted, number, text_of({{"pid", pid}}));
    if (number != 0) return;
    set_nonblocking(in.write_end.get());
    to_rank_0_ = std::move(in.write_end);
  }

  // False when nothing more will come or nothing is there now.
  bool relay(Rank& rank, bool is_out) {
    FileDescriptor& fd = is_out ? rank.out : rank.err;
    std::array<char, kReadBytes> buffer;
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got > 0)
      say(is_out ? FrameKind::kOut : FrameKind::kErr, rank.number,
          {buffer.data(), static_cast<size_t>(got)});
    else
      fd.reset();
    return got > 0;
  }

  void feed_rank_0() {
    const ssize_t written = write(to_rank_0_.get(), pending_input_.data(), pending_input_.size());
    if (written < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (written < 0) {
      to_rank_0_.reset();
      return drop_input();
    }
    say(FrameKind::kTaken, 0, std::to_string(written));
    pending_input_.erase(0, static_cast<size_t>(written));
    if (pending_input_.empty() && input_complete_) to_rank_0_.reset();
  }

  // Rank 0 reads no more; the launcher need not know.
  void drop_input() {
    say(FrameKind::kTaken, 0, std::to_string(pending_input_.size()));
    pending_input_.clear();
  }

  void handle_signals() {
    for (int number = signals_.take(); number != 0; number = signals_.take())
      if (number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT)
        stop_all();
  }

  void signal_all(int number) const {
    for (const Rank& rank : ranks_)
      if (rank.running) kill(-rank.pid, number);
  }

  void stop_all() {
    if (kill_at_.time_ns() != INT64_MAX) return;
    signal_all(SIGTERM);
    signal_all(SIGCONT);  // a stopped process would not see it
    kill_at_ = Deadline::after_ns(kGraceNs);
  }

  // Ends what is left of the rank's process group, then the rank; see Job::end_rank.
  static void end(Rank& rank) {
    kill(-rank.pid, SIGKILL);
    waitpid(rank.pid, nullptr, 0);
    rank.running = false;
  }

  void reap() {
    for (Rank& rank : ranks_) {
      siginfo_t info{};
      if (!rank.running ||
          waitid(P_PID, static_cast<id_t>(rank.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid == 0)
        continue;
      end(rank);
      for (const bool is_out : {true, false}) {
        for (int i = 0; i < kDrainReads && relay(rank, is_out); ++i) {
        }
        (is_out ? rank.out : rank.err).reset();
      }
      const bool exited = info.si_code == CLD_EXITED;
      say(FrameKind::kExited, rank.number,
          text_of({{"signal", exited ? 0 : info.si_status},
                   {"status", exited ? info.si_status : 128 + info.si_status}}));
    }
    if (!ranks_.empty() && !any_running()) kill_at_ = Deadline::never();
  }

  SignalGate signals_;
  LineSink out_{STDOUT_FILENO};
  FrameReader frames_;
  AgentOrders orders_;
  std::string path_;  // of the program
  std::optional<MeetingPlace> place_;
  std::vector<Rank> ranks_;
  FileDescriptor to_rank_0_;
  std::string pending_input_;  // came, not yet read by rank 0
  bool input_complete_ = false;
  bool input_ended_ = false;  // the launcher has closed the connection, or it broke
  int refusal_status_ = kErrorStatus;
  Deadline silent_at_ = Deadline::after_ns(kSilenceNs);
  Deadline kill_at_ = Deadline::never();
  Deadline flush_until_ = Deadline::never();
};

}  // namespace

int run_agent() { return Agent().run(); }

}  // namespace tutti::command
