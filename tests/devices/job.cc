// SPDX-License-Identifier: Apache-2.0
#include "tests/devices/job.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace tutti::devices {
namespace {

constexpr int64_t kPatienceNs = 30'000'000'000;

void run_rank(const Job& job, Board& board, int rank) {
  Result& result = board.results[rank];
  try {
    job.body(board, rank);
    result.state.store(1, std::memory_order_release);
  } catch (const std::exception& error) {
    std::snprintf(result.text, sizeof result.text, "%s", error.what());
    result.state.store(2, std::memory_order_release);
  }
}

// A pid of -1 would make kill() mean every process of the machine.
pid_t start(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid < 0) {
    std::perror("can't start a process");
    std::exit(2);
  }
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  std::fflush(nullptr);
  ::_exit(0);
}

std::vector<pid_t> start_all(const Job& job, Board& board) {
  std::vector<pid_t> pids;
  if (!job.threads) {
    for (int rank = 0; rank < job.n; ++rank)
      pids.push_back(start([&, rank] { run_rank(job, board, rank); }));
    return pids;
  }
  pids.push_back(start([&] {
    std::vector<std::thread> ranks;
    ranks.reserve(static_cast<size_t>(job.n));
    for (int rank = 0; rank < job.n; ++rank)
      ranks.emplace_back([&, rank] { run_rank(job, board, rank); });
    for (std::thread& rank : ranks) rank.join();
  }));
  return pids;
}

bool all_told(const Job& job, const Board& board) {
  for (int rank = 0; rank < job.n; ++rank) {
    if (rank != job.victim && board.results[rank].state.load(std::memory_order_acquire) == 0)
      return false;
  }
  return true;
}

std::string troubles(const Job& job, const Board& board) {
  std::string all;
  for (int rank = 0; rank < job.n; ++rank) {
    if (rank == job.victim) continue;
    const Result& result = board.results[rank];
    const int state = result.state.load(std::memory_order_acquire);
    if (state == 0) all += "\n    rank " + std::to_string(rank) + " hangs";
    if (state == 2) all += "\n    rank " + std::to_string(rank) + ": " + result.text;
  }
  return all;
}

// Ends what has not ended by itself in a moment, and says so.
std::string end_all(const Job& job, const std::vector<pid_t>& pids) {
  std::string left;
  for (size_t i = 0; i < pids.size(); ++i) {
    const bool expected = !job.threads && static_cast<int>(i) == job.victim;
    if (expected) ::kill(pids[i], SIGKILL);
    const int64_t limit = now_ns() + kPatienceNs;
    while (::waitpid(pids[i], nullptr, WNOHANG) == 0) {
      if (now_ns() > limit) {
        left += "\n    process " + std::to_string(i) + " does not end";
        ::kill(pids[i], SIGKILL);
        ::waitpid(pids[i], nullptr, 0);
        break;
      }
      nap();
    }
  }
  return left;
}

}  // namespace

std::string run(const Job& job) {
  void* const memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return "no memory for the board";
  auto& board = *static_cast<Board*>(memory);  // zeroed
  const std::vector<pid_t> pids = start_all(job, board);
  const int64_t limit = now_ns() + 2 * kPatienceNs;
  while (!all_told(job, board) && now_ns() < limit) {
    if (job.meanwhile) job.meanwhile(board, pids);
    nap();
  }
  std::string trouble = troubles(job, board);
  if (now_ns() >= limit) {
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
  }
  trouble += end_all(job, pids);
  ::munmap(memory, sizeof(Board));
  return trouble;
}

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double seconds_since(int64_t ns) { return static_cast<double>(now_ns() - ns) * 1e-9; }

void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

void await(const std::function<bool()>& condition, const char* what) {
  const int64_t limit = now_ns() + kPatienceNs;
  while (!condition()) {
    if (now_ns() > limit) throw Trouble(std::string("never came: ") + what);
    nap();
  }
}

}  // namespace tutti::devices
