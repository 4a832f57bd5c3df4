// SPDX-License-Identifier: Apache-2.0
// Workers take seeds by turns and report through memory that they share with their parent.
#include "tests/sim/crew.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

namespace tutti::sim {
namespace {

constexpr unsigned kSeedSeconds = 20;  // of real time: more is a loop
constexpr int kTextBytes = 2000;
constexpr useconds_t kGlanceUs = 20'000;

// One worker's. The parent reads it while the worker writes it.
struct Desk {
  std::atomic<uint64_t> seed{0};  // in hand
  std::atomic<uint64_t> done{0};
  std::atomic<bool> found{false};  // release: `text` is complete
  Tally tally;                     // complete once the worker has ended
  double cpu_seconds = 0;          // as above
  char text[kTextBytes] = {};
};

struct Board {
  std::atomic<bool> stop{false};
  Desk desks[64];
};

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void work(const Shift& shift, int worker, Board& board) {
  Desk& desk = board.desks[worker];
  auto job = std::make_unique<Job>();
  Scenario scenario;
  for (uint64_t i = static_cast<uint64_t>(worker); i < shift.seeds && !board.stop.load();
       i += static_cast<uint64_t>(shift.jobs)) {
    const uint64_t seed = shift.first + i;
    desk.seed.store(seed);
    ::alarm(kSeedSeconds);
    make_scenario(seed, &scenario);
    if (shift.verbose)
      std::printf("seed %llu: %s", static_cast<unsigned long long>(seed),
                  describe(scenario).c_str());
    const std::string finding = job->run(scenario, false);
    desk.done.fetch_add(1);
    if (finding.empty()) continue;
    std::strncpy(desk.text, finding.c_str(), kTextBytes - 1);
    desk.found.store(true, std::memory_order_release);
    board.stop.store(true);
  }
  desk.tally = job->tally();
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  desk.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
}

void show_progress(const Shift& shift, const Board& board) {
  uint64_t done = 0;
  for (int i = 0; i < shift.jobs; ++i) done += board.desks[i].done.load();
  std::fprintf(stderr, "\r%llu of %llu seeds", static_cast<unsigned long long>(done),
               static_cast<unsigned long long>(shift.seeds));
}

void note_fall(int status, const Desk& desk, Report& report) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  report.seed = desk.seed.load();
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  report.finding =
      signal == SIGALRM ? "did not end in " + std::to_string(kSeedSeconds) + " s of real time"
      : signal != 0     ? std::string("the process fell: ") + ::strsignal(signal)
                        : "the process ended with status " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

Report run_seeds(const Shift& shift) {
  void* const memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  Board& board = *new (memory) Board;
  const auto began = std::chrono::steady_clock::now();
  std::fflush(nullptr);
  std::vector<pid_t> workers;
  for (int i = 0; i < shift.jobs; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      work(shift, i, board);
      std::fflush(nullptr);
      ::_exit(0);
    }
    workers.push_back(pid);
  }
  Report report;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  for (size_t left = workers.size(); left > 0;) {
    bool ended = false;
    for (size_t i = 0; i < workers.size(); ++i) {
      int status = 0;
      if (workers[i] <= 0 || ::waitpid(workers[i], &status, WNOHANG) <= 0) continue;
      ended = true;
      workers[i] = 0;
      --left;
      note_fall(status, board.desks[i], report);
      if (!report.finding.empty()) board.stop.store(true);
    }
    if (terminal) show_progress(shift, board);
    if (!ended && left > 0) ::usleep(kGlanceUs);
  }
  if (terminal) std::fprintf(stderr, "\r\033[K");
  for (int i = 0; i < shift.jobs; ++i) {
    const Desk& desk = board.desks[i];
    report.tally.jobs += desk.tally.jobs;
    report.tally.harmful += desk.tally.harmful;
    report.tally.faults += desk.tally.faults;
    report.tally.errors += desk.tally.errors;
    report.tally.calls += desk.tally.calls;
    report.tally.went_on += desk.tally.went_on;
    report.cpu_seconds = std::max(report.cpu_seconds, desk.cpu_seconds);
    if (!desk.found.load(std::memory_order_acquire)) continue;
    if (!report.finding.empty() && report.seed < desk.seed.load()) continue;
    report.seed = desk.seed.load();
    report.finding = desk.text;
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  ::munmap(memory, sizeof(Board));
  return report;
}

}  // namespace tutti::sim
