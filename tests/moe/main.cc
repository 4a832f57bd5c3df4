// SPDX-License-Identifier: Apache-2.0
// MoE layers over threads and processes against their definition: the named list of conformance,
// and a seeded sample of everything that may change how a layer is carried out.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tests/moe/case.h"
#include "tests/moe/layer_run.h"

namespace tutti::moe_test {
namespace {

constexpr int kMaxRanks = 16;
constexpr size_t kMaxCases = 4096;  // of one group

// What one rank says of one case, in memory that processes share.
struct Report {
  enum State : int32_t { kNotRun = 0, kPassed = 1, kFailed = 2 };
  int32_t state = kNotRun;
  char text[300] = {};
};
struct Board {
  std::atomic<int> id_ready;  // release by rank 0, acquire by the others: `id` is filled
  tuttiUniqueId id;
  Report reports[kMaxCases][kMaxRanks];
};

void run_rank(Board& board, const std::vector<Case>& cases, int rank) {
  const auto report = [&](size_t i, const std::string& text) {
    Report& mine = board.reports[i][rank];
    std::snprintf(mine.text, sizeof mine.text, "rank %d: %s", rank, text.c_str());
    mine.state = text.empty() ? Report::kPassed : Report::kFailed;
  };
  const Case& first = cases[0];
  if (rank == 0) {
    if (tuttiGetUniqueId(&board.id) != tuttiSuccess) return report(0, tuttiGetLastError(nullptr));
    board.id_ready.store(1, std::memory_order_release);
  }
  while (board.id_ready.load(std::memory_order_acquire) == 0)
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  if (!first.transport.empty()) config.transport = first.transport.c_str();
  config.timeoutSeconds = 60;
  if (first.devices) config.device = rank;
  tuttiComm_t comm = nullptr;
  if (tuttiCommInitRankConfig(&comm, first.n_ranks, board.id, rank, &config) != tuttiSuccess)
    return report(0, tuttiGetLastError(nullptr));
  for (size_t i = 0; i < cases.size(); ++i) {
    try {
      run_case(cases[i], comm, rank);
      report(i, "");
    } catch (const std::exception& error) {
      report(i, error.what());
      (void)tuttiCommDestroy(comm);
      return;  // the others may wait for what this rank has not done
    }
  }
  // Where faults delay them, the last messages are still on their way.
  (void)tuttiCommFinalize(comm);
  (void)tuttiCommDestroy(comm);
}

[[noreturn]] void run_child(Board& board, const std::vector<Case>& cases, int rank) {
  setenv("TUTTI_FAULTS", cases[0].faults.c_str(), 1);
  setenv("TUTTI_LAYOUT", cases[0].hosts.c_str(), 1);
  // Rows go in several rounds, with as few tokens as suit a simulated GPU.
  if (cases[0].small) setenv("TUTTI_SYMMETRIC_BYTES", "32768", 1);
  if (cases[0].processes) {
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
  Suite() {
    void* memory =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("mmap of the board failed");
    board_ = static_cast<Board*>(memory);
  }
  void run_group(const std::vector<Case>& cases) {
    std::memset(static_cast<void*>(board_), 0,
                offsetof(Board, reports) + cases.size() * sizeof board_->reports[0]);
    std::vector<pid_t> pids;
    for (int r = 0; r < (cases[0].processes ? cases[0].n_ranks : 1); ++r) {
      const pid_t pid = ::fork();
      if (pid == 0) run_child(*board_, cases, r);
      pids.push_back(pid);
    }
    const std::string trouble = watch(std::move(pids), cases.size());
    size_t passed = 0;
    for (size_t i = 0; i < cases.size(); ++i) passed += passes(cases[i], i, trouble) ? 1 : 0;
    run_ += passed;
    if (!trouble.empty()) {
      if (passed == cases.size()) ++failed_;
      std::printf("FAILED %s: %s\n", cases[0].group().c_str(), trouble.c_str());
    }
  }
  size_t run() const { return run_; }
  size_t failed() const { return failed_; }

 private:
  static std::string watch(std::vector<pid_t> pids, size_t n_cases) {
    using Clock = std::chrono::steady_clock;
    const auto limit = Clock::now() + std::chrono::seconds(120) + std::chrono::seconds(2) * n_cases;
    std::string trouble;
    while (!pids.empty()) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid > 0) {
        std::erase(pids, pid);
        if (WIFSIGNALED(status))
          trouble = "a rank was killed by signal " + std::to_string(WTERMSIG(status));
        if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
          trouble = "a rank exited with " + std::to_string(WEXITSTATUS(status));
        continue;
      }
      if (Clock::now() > limit) {
        trouble = "hang: stopped by the watchdog";
        for (const pid_t p : pids) ::kill(p, SIGKILL);
      }
      ::usleep(1000);
    }
    return trouble;
  }
  bool passes(const Case& c, size_t i, const std::string& trouble) {
    std::string why;
    for (int r = 0; r < c.n_ranks; ++r) {
      const Report& report = board_->reports[i][r];
      if (report.state == Report::kFailed) why = report.text;
    }
    for (int r = 0; r < c.n_ranks && why.empty(); ++r) {
      if (board_->reports[i][r].state == Report::kNotRun)
        why = "rank " + std::to_string(r) + " did not finish it" +
              (trouble.empty() ? "" : ": " + trouble);
    }
    if (why.empty()) return true;
    ++failed_;
    if (failed_ <= 30) std::printf("FAILED %s: %s\n", c.text().c_str(), why.c_str());
    std::fflush(stdout);
    return false;
  }

  Board* board_ = nullptr;
  size_t run_ = 0, failed_ = 0;
};

struct Options {
  int sample = 300;
  uint64_t seed = 1;
  bool named = false;
  std::string filter;
  int most_ranks = kMaxRanks;
  bool devices = false;
  bool list = false;
};

std::vector<Case> chosen(const Options& options) {
  std::vector<Case> cases;
  if (options.named) cases = options.devices ? named_device_cases() : named_cases();
  std::mt19937_64 random(options.seed);
  for (int i = 0; i < options.sample; ++i)
    cases.push_back(options.devices ? random_device_case(random) : random_case(random));
  std::erase_if(cases, [&](const Case& c) {
    return c.n_ranks > options.most_ranks ||
           (!options.filter.empty() && c.text().find(options.filter) == std::string::npos);
  });
  return cases;
}

int run(const Options& options) {
  std::map<std::string, std::vector<Case>> groups;
  for (const Case& c : chosen(options)) groups[c.group()].push_back(c);
  if (options.list) {
    for (const auto& [name, cases] : groups) {
      for (const Case& c : cases) std::printf("%s\n", c.text().c_str());
    }
    return 0;
  }
  Suite suite;
  for (const auto& [name, cases] : groups) {
    for (size_t first = 0; first < cases.size(); first += kMaxCases) {
      const size_t end = std::min(first + kMaxCases, cases.size());
      suite.run_group({cases.begin() + static_cast<ptrdiff_t>(first),
                       cases.begin() + static_cast<ptrdiff_t>(end)});
    }
  }
  std::printf("moe_conformance: %zu layers passed, %zu failed\n", suite.run(), suite.failed());
  return suite.failed() == 0 && suite.run() != 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::moe_test

int main(int argc, char** argv) {
  tutti::moe_test::Options options;
  tutti::cli::CommandLine line("MoE layers against their definition.");
  line.add_option("--sample", options.sample, "random layers").non_negative();
  line.add_option("--seed", options.seed, "of the sample");
  line.add_flag("--named", options.named, "the list of conformance, too");
  line.add_option("--filter", options.filter, "only layers whose description has this");
  line.add_option("--most-ranks", options.most_ranks, "leave layers of more ranks out");
  line.add_flag("--devices", options.devices, "ranks are of GPUs, rank r of GPU r");
  line.add_flag("--list", options.list, "print them instead, in their order");
  if (const auto status = line.parse(argc, argv); status.has_value()) return *status;
  return tutti::moe_test::run(options);
}
