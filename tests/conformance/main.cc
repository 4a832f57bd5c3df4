// SPDX-License-Identifier: Apache-2.0
// Runs conformance cases group by group, each group in processes of its own under a watchdog, and
// counts what was carried as requested.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tests/conformance/case.h"
#include "tests/conformance/runner.h"

namespace tutti::conformance {
namespace {

constexpr int kMaxRanks = 8;
constexpr size_t kMaxCases = 4096;  // of one group

// Between the watchdog and the ranks of one group.
struct Board {
  std::atomic<int> id_ready;  // release by rank 0, acquire by the others: `id` is filled
  std::atomic<int> setup_failed;
  tuttiUniqueId id;
  char setup_text[240];
  Report reports[kMaxCases][kMaxRanks];
};

void fail_setup(Board& board, int rank, const std::string& text) {
  if (board.setup_failed.exchange(1) == 0)
    std::snprintf(board.setup_text, sizeof board.setup_text, "rank %d: %s", rank, text.c_str());
}

void run_rank(Board& board, const std::vector<Case>& cases, int rank) {
  const Case& first = cases[0];
  if (rank == 0) {
    if (tuttiGetUniqueId(&board.id) != tuttiSuccess)
      return fail_setup(board, rank, tuttiGetLastError(nullptr));
    board.id_ready.store(1, std::memory_order_release);
  }
  while (board.id_ready.load(std::memory_order_acquire) == 0)
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  tuttiConfig_t config = config_for(first, rank);
  tuttiComm_t comm = nullptr;
  if (tuttiCommInitRankConfig(&comm, first.n_ranks, board.id, rank, &config) != tuttiSuccess) {
    return fail_setup(board, rank, tuttiGetLastError(nullptr));
  }
  try {
    Runner runner(comm, rank, first);
    for (size_t i = 0; i < cases.size(); ++i) runner.run(cases[i], &board.reports[i][rank]);
  } catch (const std::exception& error) {
    fail_setup(board, rank, error.what());
  }
  if (tuttiCommDestroy(comm) != tuttiSuccess) fail_setup(board, rank, tuttiGetLastError(nullptr));
}

// The child's body: all ranks as threads, or one rank.
[[noreturn]] void run_child(Board& board, const std::vector<Case>& cases, int rank) {
  setenv("TUTTI_SLOT_BYTES", std::to_string(cases[0].slot_bytes).c_str(), 1);
  setenv("TUTTI_SYMMETRIC_BYTES", std::to_string(symmetric_bytes(cases[0])).c_str(), 1);
  setenv("TUTTI_LAYOUT", cases[0].hosts().c_str(), 1);
  if (cases[0].layout == Layout::kProcesses) {
    run_rank(board, cases, rank);
  } else {
    std::vector<std::thread> threads;
    for (int r = 0; r < cases[0].n_ranks; ++r)
      threads.emplace_back([&, r] { run_rank(board, cases, r); });
    for (std::thread& t : threads) t.join();
  }
  std::exit(0);  // not _exit: sanitizers report at exit
}

class Suite {
 public:
  explicit Suite(bool verbose) : verbose_(verbose) {
    void* memory =
        mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap of the board failed");
    board_ = static_cast<Board*>(memory);
  }

  void run_group(const std::vector<Case>& cases) {
    std::memset(static_cast<void*>(board_), 0,
                offsetof(Board, reports) + cases.size() * sizeof board_->reports[0]);
    const int children = cases[0].layout == Layout::kProcesses ? cases[0].n_ranks : 1;
    std::vector<pid_t> pids;
    for (int r = 0; r < children; ++r) {
      const pid_t pid = fork();
      if (pid == 0) run_child(*board_, cases, r);
      pids.push_back(pid);
    }
    const std::string trouble = watch(pids, cases.size());
    collect(cases, trouble);
  }

  void summary(double seconds) const {
    for (const auto& [what, n] : by_) std::printf("  %-44s %zu\n", what.c_str(), n);
    std::printf(
        "conformance: %zu cases run in %.1f s, %zu of them counted (carried as requested), %zu "
        "failed\n",
        run_, seconds, counted_, failed_);
  }
  size_t counted() const { return counted_; }
  size_t failed() const { return failed_; }
  size_t run() const { return run_; }

 private:
  // Waits for the children; kills them when they exceed the group's time. Returns what went wrong,
  // "" when nothing.
  std::string watch(std::vector<pid_t> pids, size_t n_cases) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(120) +
                       std::chrono::milliseconds(100) * n_cases;
    std::string trouble;
    while (!pids.empty()) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, WNOHANG);
      if (pid > 0) {
        std::erase(pids, pid);
        if (WIFSIGNALED(status))
          trouble = "a rank was killed by signal " + std::to_string(WTERMSIG(status));
        if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
          trouble = "a rank exited with " + std::to_string(WEXITSTATUS(status));
        continue;
      }
      if (std::chrono::steady_clock::now() > limit) {
        trouble = "hang: stopped by the watchdog";
        for (const pid_t p : pids) kill(p, SIGKILL);
      }
      usleep(1000);
    }
    return trouble;
  }

  void collect(const std::vector<Case>& cases, const std::string& trouble) {
    std::string group_trouble = board_->setup_failed.load() != 0 ? board_->setup_text : trouble;
    for (size_t i = 0; i < cases.size(); ++i) {
      const Report* reports = board_->reports[i];
      ++run_;
      std::string why;
      for (int r = 0; r < cases[i].n_ranks && why.empty(); ++r) {
        if (reports[r].state == Report::kFailed) why = reports[r].text;
        if (reports[r].state == Report::kNotRun)
          why = "rank " + std::to_string(r) + " did not finish it: " + group_trouble;
      }
      if (!why.empty()) {
        fail(cases[i].text() + ": " + why);
      } else if (counts(cases[i], reports, cases[i].n_ranks)) {
        ++counted_;
        ++by_["algorithm " + std::string(rows()[cases[i].row].algorithm == nullptr
                                             ? "p2p"
                                             : rows()[cases[i].row].algorithm->name)];
        ++by_["collective " + std::string(name(rows()[cases[i].row].kind))];
        ++by_["carrier " +
              std::string(cases[i].layout == Layout::kThreads ? "threads " : "processes ") +
              cases[i].transport];
        ++by_["protocol " + std::to_string(static_cast<int>(cases[i].protocol))];
      }
    }
    if (!group_trouble.empty()) fail(cases[0].group() + ": " + group_trouble);
  }

  void fail(const std::string& text) {
    ++failed_;
    if (failed_ <= 40 || verbose_) std::printf("FAILED %s\n", text.c_str());
    std::fflush(stdout);
  }

  bool verbose_;
  Board* board_;
  size_t run_ = 0, counted_ = 0, failed_ = 0;
  std::map<std::string, size_t> by_;
};

struct Options {
  size_t budget = 9000;
  size_t minimum = 0;
  uint64_t seed = 1;
  bool full = false;
  size_t part = 0, parts = 1;
  std::string filter;
  bool small = false;
  bool random = false;
  bool verbose = false;
  bool devices = false;
};

bool wanted(const Options& o, const Case& c) {
  if (o.small && (c.n_ranks != kMaxRanks || c.size_class > kLastSmallSizeClass)) return false;
  return o.filter.empty() || c.text().find(o.filter) != std::string::npos;
}

// Cases that share communicators, in groups of at most kMaxCases.
class Grouped {
 public:
  void add(const Case& c) { groups_[c.group()].push_back(c); }
  bool holds_other_than(const Case& c) const {
    return !groups_.empty() && groups_.find(c.group()) == groups_.end();
  }
  void run(Suite& suite, bool progress) {
    size_t done = 0;
    for (auto& [key, cases] : groups_) {
      for (size_t at = 0; at < cases.size(); at += kMaxCases) {
        suite.run_group(
            {cases.begin() + static_cast<ptrdiff_t>(at),
             cases.begin() + static_cast<ptrdiff_t>(std::min(cases.size(), at + kMaxCases))});
      }
      ++done;
      if (progress)
        std::fprintf(stderr, "\r%zu/%zu groups, %zu cases, %zu failed ", done, groups_.size(),
                     suite.run(), suite.failed());
    }
    if (progress) std::fprintf(stderr, "\n");
    groups_.clear();
  }

 private:
  std::map<std::string, std::vector<Case>> groups_;
};

int run(const Options& o) {
  const auto start = std::chrono::steady_clock::now();
  Suite suite(o.verbose);
  Grouped grouped;
  const auto add = [&](const Case& c) {
    if (!wanted(o, c)) return;
    if (o.full && grouped.holds_other_than(c))
      grouped.run(suite, false);  // the product is too large to be held
    grouped.add(c);
  };
  if (o.full) {
    for_each_case(o.part, o.parts, add);
  } else {
    for (const Case& c : sample_cases(o.budget, o.seed, !o.random)) add(c);
  }
  grouped.run(suite, isatty(STDERR_FILENO) != 0);
  suite.summary(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (suite.counted() < o.minimum) {
    std::printf("FAILED: %zu cases counted, at least %zu asked for\n", suite.counted(), o.minimum);
    return 1;
  }
  return suite.failed() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::conformance

int main(int argc, char** argv) {
  tutti::conformance::Options options;
  tutti::cli::CommandLine line(
      "Every collective against a scalar reference, over every algorithm, protocol, transport and "
      "layout.");
  line.add_option("--budget", options.budget, "cases of the pairwise sample");
  line.add_option("--minimum", options.minimum, "fail when fewer cases count");
  line.add_option("--seed", options.seed, "seed of the sample");
  line.add_flag("--full", options.full, "the full product instead of a sample");
  line.add_option("--part", options.part,
                  "with --full: run cases whose number is PART modulo PARTS");
  line.add_option("--parts", options.parts, "with --full");
  line.add_option("--filter", options.filter, "only cases whose text contains this");
  line.add_flag("--small", options.small, "only small messages among the largest number of ranks");
  line.add_flag("--random", options.random, "a plain random sample, without covering every pair");
  line.add_flag("--devices", options.devices,
                "ranks of GPUs 0 to 7, with buffers in their memory, instead of the host's");
  line.add_flag("--verbose", options.verbose, "print every failure");
  if (const auto status = line.parse(argc, argv)) return *status;
  if (options.devices) tutti::conformance::take_devices();
  return tutti::conformance::run(options);
}
