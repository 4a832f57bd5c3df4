// SPDX-License-Identifier: Apache-2.0
// Ranks as processes, one of which is killed or stopped: the others must get the right error within
// the bound, shrink and go on with untouched inputs; nothing may be left behind.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tutti/tutti.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRanks = 8;
constexpr double kTimeoutSeconds = 1.0;  // silence
constexpr double kDeathBound = 1.0;      // from a death to the error
constexpr double kShrinkBound = 2.0;
constexpr int kCalls = 8;  // of the victim's collective, in which it falls

enum class Phase : int { kInit, kBeforeEntry, kFirst, kMiddle, kLast, kTeardown };
constexpr const char* kPhases[] = {"init",        "before entry", "first step",
                                   "middle step", "last step",    "teardown"};
constexpr int kPhaseCount = 6;

enum class Kind : int {
  kAllReduce,
  kReduce,
  kBroadcast,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kGather,
  kScatter,
  kBarrier,
  kSendRecv
};
constexpr const char* kKinds[] = {"AllReduce", "Reduce", "Broadcast", "AllGather", "ReduceScatter",
                                  "AllToAll",  "Gather", "Scatter",   "Barrier",   "SendRecv"};
constexpr int kKindCount = 10;

struct Trial {
  uint64_t seed = 0;
  int n = 4;
  Kind kind = Kind::kAllReduce;
  Phase phase = Phase::kMiddle;
  int victim = 0;
  bool stop = false;  // SIGSTOP instead of SIGKILL
  bool shrink = false;
  size_t count = 40'000;

  std::string text() const {
    return std::to_string(n) + " ranks, " + kKinds[static_cast<int>(kind)] + " of " +
           std::to_string(count) + ", rank " + std::to_string(victim) +
           (stop ? " stopped in " : " killed in ") + kPhases[static_cast<int>(phase)];
  }
};

// What one rank tells the watching parent.
struct Result {
  std::atomic<int> state;  // release by the rank, acquire by the parent: 0 running, 1 good, 2 bad
  char text[400];
};

struct Board {
  std::atomic<int> id_ready;
  std::atomic<int> joined;
  std::atomic<int64_t> fell_ns;  // when the victim fell; written by whoever makes it fall
  std::atomic<int> failed;       // survivors that have seen the failure
  std::atomic<int> resumed;
  tuttiUniqueId id;
  Result results[kMaxRanks + 1];
};

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}
void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

[[noreturn]] void bad(Result& result, const std::string& why) {
  std::snprintf(result.text, sizeof result.text, "%s", why.c_str());
  result.state.store(2, std::memory_order_release);
  ::_exit(1);
}

class Rank {
 public:
  Rank(const Trial& trial, Board& board, int rank)
      : trial_(trial), board_(board), result_(board.results[rank]), rank_(rank), n_(trial.n) {
    send_.resize(trial.count * kMaxRanks);
    recv_.resize(trial.count * kMaxRanks);
    fill();
  }

  void run() {
    config_ = TUTTI_CONFIG_INITIALIZER;
    config_.timeoutSeconds = kTimeoutSeconds;
    config_.initTimeoutSeconds = trial_.phase == Phase::kInit ? 2.0 : 10.0;
    join();
    if (trial_.phase == Phase::kInit) return expect_init_failure();
    if (result_of_init_ != tuttiSuccess)
      bad(result_, std::string("init: ") + tuttiGetLastError(nullptr));
    tuttiResult_t result = work();
    if (trial_.phase == Phase::kTeardown) {
      if (result != tuttiSuccess)
        bad(result_, std::string("before teardown: ") + tuttiGetLastError(nullptr));
      return teardown();
    }
    expect_failure(result);
    if (trial_.shrink) go_on();
    if (tuttiCommAbort(comm_) != tuttiSuccess) bad(result_, "abort failed");
  }

 private:
  bool is_victim() const { return rank_ == trial_.victim; }

  void fill() {
    for (size_t i = 0; i < send_.size(); ++i) send_[i] = value(rank_, i);
  }
  static int32_t value(int rank, size_t i) { return rank * 7919 + static_cast<int32_t>(i % 1009); }

  void fall() {
    board_.fell_ns.store(now_ns());
    ::kill(::getpid(), trial_.stop ? SIGSTOP : SIGKILL);
  }

  void join() {
    if (rank_ == (trial_.victim == 0 ? 1 : 0)) {
      if (tuttiGetUniqueId(&board_.id) != tuttiSuccess) bad(result_, tuttiGetLastError(nullptr));
      board_.id_ready.store(1, std::memory_order_release);
    }
    while (board_.id_ready.load(std::memory_order_acquire) == 0) nap();
    if (is_victim() && trial_.phase == Phase::kInit) {
      // Falls while the others join.
      std::thread([this] {
        std::this_thread::sleep_for(std::chrono::microseconds(trial_.seed % 3000));
        fall();
      }).detach();
    }
    result_of_init_ = tuttiCommInitRankConfig(&comm_, n_, board_.id, rank_, &config_);
    if (is_victim() && trial_.phase == Phase::kInit) ::pause();
  }

  // Whether a rank had joined before the victim fell is a matter of microseconds: either is right.
  void expect_init_failure() {
    if (result_of_init_ == tuttiSuccess) {
      tuttiResult_t result = tuttiSuccess;
      for (int i = 0; i < 3 && result == tuttiSuccess; ++i) result = tuttiBarrier(comm_, nullptr);
      if (result == tuttiSuccess) bad(result_, "barriers with a fallen rank succeeded");
      result_of_init_ = result;
      (void)tuttiCommAbort(comm_);
    }
    const std::string text = tuttiGetLastError(nullptr);
    if (result_of_init_ != tuttiRemoteError)
      bad(result_, "init: expected a remote error, got " + text);
    expect_named(text);
    const double seconds = since_fall();
    const double bound = config_.initTimeoutSeconds + kTimeoutSeconds + kDeathBound;
    if (seconds > bound)
      bad(result_, "init failed only after " + std::to_string(seconds) + " s: " + text);
  }

  // 0 when it has not fallen yet.
  double since_fall() const {
    const int64_t fell = board_.fell_ns.load();
    return fell == 0 ? 0.0 : static_cast<double>(now_ns() - fell) * 1e-9;
  }
  void expect_named(const std::string& text) {
    if (text.find(std::to_string(trial_.victim)) == std::string::npos)
      bad(result_, "rank " + std::to_string(trial_.victim) + " is not named: " + text);
  }

  tuttiResult_t call(tuttiComm_t comm, int n, int rank) {
    const int peer = (rank + 1) % n, from = (rank + n - 1) % n;
    const size_t count = trial_.count;
    switch (trial_.kind) {
      case Kind::kAllReduce:
        return tuttiAllReduce(send_.data(), recv_.data(), count, tuttiInt32, tuttiSum, comm,
                              nullptr);
      case Kind::kReduce:
        return tuttiReduce(send_.data(), recv_.data(), count, tuttiInt32, tuttiSum, 0, comm,
                           nullptr);
      case Kind::kBroadcast:
        return tuttiBroadcast(send_.data(), recv_.data(), count, tuttiInt32, 0, comm, nullptr);
      case Kind::kAllGather:
        return tuttiAllGather(send_.data(), recv_.data(), count, tuttiInt32, comm, nullptr);
      case Kind::kReduceScatter:
        return tuttiReduceScatter(send_.data(), recv_.data(), count, tuttiInt32, tuttiSum, comm,
                                  nullptr);
      case Kind::kAllToAll:
        return tuttiAllToAll(send_.data(), recv_.data(), count, tuttiInt32, comm, nullptr);
      case Kind::kGather:
        return tuttiGather(send_.data(), recv_.data(), count, tuttiInt32, 0, comm, nullptr);
      case Kind::kScatter:
        return tuttiScatter(send_.data(), recv_.data(), count, tuttiInt32, 0, comm, nullptr);
      case Kind::kBarrier:
        return tuttiBarrier(comm, nullptr);
      case Kind::kSendRecv:
        (void)tuttiGroupStart();
        (void)tuttiSend(send_.data(), count, tuttiInt32, peer, comm, nullptr);
        (void)tuttiRecv(recv_.data(), count, tuttiInt32, from, comm, nullptr);
        return tuttiGroupEnd();
    }
    return tuttiInternalError;
  }

  // Calls until something fails. In a step: a thread of the victim lets it fall after a share of
  // the time that a call has taken, or later, when the system gives it a core. A barrier closes
  // each round, so that ranks which need nothing of the victim hear of its end too.
  tuttiResult_t work() {
    int64_t call_ns = 0;
    const int64_t limit = now_ns() + 10'000'000'000;
    for (int i = 0; now_ns() < limit; ++i) {
      if (is_victim() && i == kCalls && trial_.phase != Phase::kTeardown) fall_in(call_ns);
      if (trial_.phase == Phase::kTeardown && i == kCalls) return tuttiSuccess;
      const int64_t begin = now_ns();
      tuttiResult_t result = call(comm_, n_, rank_);
      call_ns = now_ns() - begin;
      if (result == tuttiSuccess) result = tuttiBarrier(comm_, nullptr);
      if (result != tuttiSuccess) return result;
    }
    return tuttiSuccess;
  }

  void fall_in(int64_t call_ns) {
    if (trial_.phase == Phase::kBeforeEntry) return fall();
    const int64_t share = trial_.phase == Phase::kFirst    ? 5
                          : trial_.phase == Phase::kMiddle ? 50
                                                           : 90;
    const int64_t when = now_ns() + call_ns * share / 100;
    std::thread([this, when] {
      while (now_ns() < when) {
      }
      fall();
    }).detach();
  }

  void expect_failure(tuttiResult_t result) {
    const std::string text = tuttiGetLastError(nullptr);
    const double seconds = since_fall();
    if (result != tuttiRemoteError)
      bad(result_, "expected a remote error, got " + std::to_string(result) + ": " + text);
    expect_named(text);
    const double bound = trial_.stop ? kTimeoutSeconds + kDeathBound : kDeathBound;
    if (seconds > bound)
      bad(result_, "failed only after " + std::to_string(seconds) + " s: " + text);
    for (size_t i = 0; i < send_.size(); ++i) {
      if (send_[i] != value(rank_, i)) bad(result_, "the failed call has changed its input");
    }
    board_.failed.fetch_add(1);
  }

  // Shrinks, repeats the call with the same inputs, checks, and keeps an eye on the buffers while a
  // stopped victim resumes.
  void go_on() {
    const int64_t begin = now_ns();
    tuttiComm_t smaller = nullptr;
    int excluded[] = {trial_.victim};
    if (tuttiCommShrink(comm_, excluded, 1, &smaller, &config_, TUTTI_SHRINK_DEFAULT) !=
        tuttiSuccess)
      bad(result_, std::string("shrink: ") + tuttiGetLastError(nullptr));
    const double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
    if (seconds > kShrinkBound) bad(result_, "shrinking took " + std::to_string(seconds) + " s");
    check_sum(smaller, n_ - 1);
    if (trial_.stop) survive_resumption();
    if (tuttiCommDestroy(smaller) != tuttiSuccess) bad(result_, tuttiGetLastError(nullptr));
  }

  void check_sum(tuttiComm_t comm, int n) {
    if (tuttiAllReduce(send_.data(), recv_.data(), trial_.count, tuttiInt32, tuttiSum, comm,
                       nullptr) != tuttiSuccess)
      bad(result_, std::string("repeated call: ") + tuttiGetLastError(nullptr));
    for (size_t i = 0; i < trial_.count; ++i) {
      int32_t sum = 0;
      for (int r = 0; r < n_; ++r) sum += r == trial_.victim ? 0 : value(r, i);
      if (recv_[i] != sum)
        bad(result_, "element " + std::to_string(i) + " of the repeated call is wrong");
    }
    int ranks = 0;
    if (tuttiCommCount(comm, &ranks) != tuttiSuccess || ranks != n)
      bad(result_, "the new communicator has another size");
  }

  void survive_resumption() {
    const std::vector<int32_t> before = recv_;
    board_.resumed.fetch_add(1);
    const int64_t until = now_ns() + 100'000'000;
    while (now_ns() < until) nap();
    if (before != recv_) bad(result_, "the resumed rank has changed a buffer");
    for (size_t i = 0; i < send_.size(); ++i) {
      if (send_[i] != value(rank_, i)) bad(result_, "the resumed rank has changed an input");
    }
  }

  void teardown() {
    if (is_victim()) fall();
    if (is_victim()) ::pause();
    // All that was sent has been received, so an orderly end and one that names the victim are both
    // right.
    const tuttiResult_t result = tuttiCommFinalize(comm_);
    if (result != tuttiSuccess) expect_named(tuttiGetLastError(nullptr));
    if (tuttiCommDestroy(comm_) != tuttiSuccess) bad(result_, tuttiGetLastError(nullptr));
    if (since_fall() > kTimeoutSeconds + kDeathBound)
      bad(result_, "teardown took " + std::to_string(since_fall()) + " s");
  }

  const Trial& trial_;
  Board& board_;
  Result& result_;
  int rank_;
  int n_;
  tuttiConfig_t config_{};
  tuttiComm_t comm_ = nullptr;
  tuttiResult_t result_of_init_ = tuttiSuccess;
  std::vector<int32_t> send_, recv_;
};

// What a job must not leave behind.
struct Traces {
  size_t shared_memory = 0, descriptors = 0, sockets = 0, processes = 0;
  bool within(const Traces& other) const {
    return shared_memory <= other.shared_memory && descriptors <= other.descriptors &&
           sockets <= other.sockets && processes <= other.processes;
  }
};
size_t entries(const char* folder) {
  std::error_code error;
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder, error), {}));
}
size_t entries_named(const char* folder, const char* text) {
  std::error_code error;
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    n += entry.path().filename().string().find(text) != std::string::npos ? 1 : 0;
  return n;
}

// "socket:[4711]" of every bound Unix socket of the library, of all jobs on the machine.
std::set<std::string> bound_sockets() {
  std::set<std::string> bound;
  std::ifstream table("/proc/net/unix");
  std::string line;
  while (std::getline(table, line)) {
    if (line.find("@tutti") == std::string::npos) continue;
    std::istringstream words(line);
    std::string word;
    for (int column = 0; column < 7; ++column) words >> word;
    bound.insert("socket:[" + word + "]");
  }
  return bound;
}

// This process and its children, to which orphans of theirs count (see main).
std::vector<std::filesystem::path> own_processes() {
  std::vector<std::filesystem::path> own{"/proc/self"};
  std::error_code error;
  for (const auto& process : std::filesystem::directory_iterator("/proc", error)) {
    std::ifstream file(process.path() / "stat");
    std::string stat;
    if (!std::getline(file, stat)) continue;
    const size_t name_end = stat.rfind(')');  // then: " state ppid ..."
    if (name_end == std::string::npos || name_end + 4 >= stat.size()) continue;
    if (std::atoi(stat.c_str() + name_end + 4) == ::getpid()) own.push_back(process.path());
  }
  return own;
}

// Those of the bound sockets that this job holds.
size_t own_sockets(const std::vector<std::filesystem::path>& processes) {
  const std::set<std::string> bound = bound_sockets();
  size_t n = 0;
  for (const std::filesystem::path& process : processes) {
    std::error_code gone;
    for (const auto& fd : std::filesystem::directory_iterator(process / "fd", gone))
      n += bound.contains(std::filesystem::read_symlink(fd.path(), gone).string()) ? 1 : 0;
  }
  return n;
}
Traces traces() {
  const std::vector<std::filesystem::path> processes = own_processes();
  return {.shared_memory = entries_named("/dev/shm", "tutti"),
          .descriptors = entries("/proc/self/fd"),
          .sockets = own_sockets(processes),
          .processes = processes.size()};
}

// What processes held that have just ended may take a moment, so a surplus must last.
std::string left_behind(const Traces& before) {
  const int64_t limit = now_ns() + 3'000'000'000;
  Traces after = traces();
  while (!after.within(before) && now_ns() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    after = traces();
  }
  if (after.within(before)) return "";
  const auto change = [](const char* what, size_t a, size_t b) {
    return b <= a ? std::string()
                  : std::string(" ") + what + " " + std::to_string(a) + " -> " + std::to_string(b);
  };
  return " | left behind:" + change("/dev/shm", before.shared_memory, after.shared_memory) +
         change("descriptors", before.descriptors, after.descriptors) +
         change("sockets", before.sockets, after.sockets) +
         change("processes", before.processes, after.processes);
}

// A pid of -1 would make kill() mean every process of the machine.
pid_t checked_fork() {
  const pid_t pid = ::fork();
  if (pid < 0) {
    std::perror("survive: can't start a process");
    std::exit(2);
  }
  return pid;
}

std::string run_trial(const Trial& trial, Board& board) {
  std::memset(static_cast<void*>(&board), 0, sizeof board);
  std::vector<pid_t> pids;
  for (int rank = 0; rank < trial.n; ++rank) {
    const pid_t pid = checked_fork();
    if (pid == 0) {
      Rank(trial, board, rank).run();
      board.results[rank].state.store(1, std::memory_order_release);
      ::_exit(0);
    }
    pids.push_back(pid);
  }
  std::string trouble;
  const int64_t limit = now_ns() + 20'000'000'000;
  int open = trial.n - 1;
  bool resumed = false;
  while (open > 0 && now_ns() < limit) {
    if (trial.stop && !resumed && board.resumed.load() == trial.n - 1) {
      resumed = true;
      ::kill(pids[static_cast<size_t>(trial.victim)], SIGCONT);
    }
    open = 0;
    for (int rank = 0; rank < trial.n; ++rank) {
      if (rank != trial.victim && board.results[rank].state.load(std::memory_order_acquire) == 0)
        ++open;
    }
    nap();
  }
  for (int rank = 0; rank < trial.n; ++rank) {
    const Result& result = board.results[rank];
    if (rank == trial.victim) continue;
    if (result.state.load() == 0) trouble += " | rank " + std::to_string(rank) + " hangs";
    if (result.state.load() == 2) trouble += " | rank " + std::to_string(rank) + ": " + result.text;
  }
  for (int rank = 0; rank < trial.n; ++rank) {
    if (rank == trial.victim || board.results[rank].state.load() == 0)
      ::kill(pids[static_cast<size_t>(rank)], SIGKILL);
  }
  for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
  return trouble;
}

// Collectives, phases and victims in turn, half of them stopped; all of it once in 2 * 10 * 6 * 4
// trials of 4 ranks.
Trial draw(uint64_t number, const std::vector<int>& sizes, bool shrink) {
  Trial t;
  std::mt19937_64 random(number * 0x9e3779b97f4a7c15ULL + 1);
  t.seed = random();
  t.n = sizes[number % sizes.size()];
  t.shrink = shrink;
  uint64_t at = number / sizes.size();
  t.stop = at % 2 == 1;
  at = shrink ? random() : at / 2;
  t.kind = static_cast<Kind>(at % kKindCount);
  at /= kKindCount;
  t.phase = static_cast<Phase>(at % kPhaseCount);
  at /= kPhaseCount;
  t.victim = static_cast<int>(at % static_cast<uint64_t>(t.n));
  if (shrink && (t.phase == Phase::kInit || t.phase == Phase::kTeardown)) t.phase = Phase::kMiddle;
  constexpr size_t kCounts[] = {1, 14, 3000, 40'000, 300'000};
  t.count = kCounts[random() % 5];
  return t;
}

struct Plan {
  size_t trials = 500, first = 0, jobs = 4;
  bool shrink = false, verbose = false;
};

// One of the processes that share the trials. Returns how many failed.
int run_share(const Plan& plan, size_t job) {
  auto* board = static_cast<Board*>(
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  int failed = 0;
  for (size_t i = plan.first + job; i < plan.first + plan.trials; i += plan.jobs) {
    const Trial trial = draw(i, plan.shrink ? std::vector{4, 8} : std::vector{4}, plan.shrink);
    if (plan.verbose) std::printf("%zu: %s\n", i, trial.text().c_str());
    std::fflush(stdout);
    const size_t descriptors = entries("/proc/self/fd");
    std::string trouble = run_trial(trial, *board);
    if (entries("/proc/self/fd") != descriptors) trouble += " | descriptors are left open";
    if (trouble.empty()) continue;
    ++failed;
    std::printf("FAILED --first %zu (%s):%s\n", i, trial.text().c_str(), trouble.c_str());
  }
  std::fflush(stdout);
  return std::min(failed, 100);
}

// Returns how many trials failed in all.
int run_all(const Plan& plan) {
  std::vector<pid_t> shares;
  for (size_t job = 0; job < plan.jobs; ++job) {
    const pid_t pid = checked_fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::_exit(run_share(plan, job));
    }
    shares.push_back(pid);
  }
  int failed = 0;
  for (const pid_t pid : shares) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    failed += WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  tutti::cli::CommandLine line(
      "Kills or stops one rank of a job of processes: each collective, phase and rank in turn.");
  line.add_option("--trials", plan.trials, "how many");
  line.add_option("--first", plan.first, "number of the first trial");
  line.add_option("--jobs", plan.jobs, "trials at a time; they mostly wait").range(1, 64);
  line.add_flag("--shrink", plan.shrink, "4 and 8 ranks; the survivors shrink and go on");
  line.add_flag("--verbose", plan.verbose, "a line per trial");
  if (const auto status = line.parse(argc, argv)) return *status;
  const auto start = Clock::now();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a share leaves behind becomes a child of this process
  const Traces before = traces();
  int failed = run_all(plan);
  const std::string left = left_behind(before);
  if (!left.empty()) {
    ++failed;
    std::printf("FAILED (--jobs 1 --verbose shows where):%s\n", left.c_str());
  }
  std::printf("survive: %zu trials, %d failed, %.1f s\n", plan.trials, failed,
              std::chrono::duration<double>(Clock::now() - start).count());
  return failed == 0 ? 0 : 1;
}
