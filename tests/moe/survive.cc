// SPDX-License-Identifier: Apache-2.0
// A rank of a MoE group is killed in each phase: the others must get an error that names it within
// the bound, go on without it by the mask with right results, and take a new process in its place.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tests/moe/layer_run.h"

namespace tutti::moe_test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMaxRanks = 8;
constexpr int kGoodLayers = 3;  // before the victim falls

struct Trial {
  Case layer;
  int victim = 0;
  // Where it falls; kPhases: at any time in the middle.
  int phase = 0;
  double bound = 1.0;  // seconds from the death to the error
  std::string text() const {
    static constexpr const char* kNames[] = {"routed",       "dispatch sent", "dispatched",
                                             "combine sent", "combined",      "the middle"};
    return layer.text() + "; rank " + std::to_string(victim) + " falls: " + kNames[phase];
  }
};

struct Result {
  std::atomic<int> state;  // release by the rank, acquire by the parent: 0 running, 1 good, 2 bad
  char text[500];
};
struct Board {
  std::atomic<int> id_ready;
  std::atomic<int64_t> fell_ns;
  std::atomic<int> grow_ready;  // release by a survivor: `grown` is filled
  tuttiUniqueId id, grown;
  Result results[kMaxRanks + 1];
};

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}
void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

class Rank {
 public:
  Rank(const Trial& trial, Board& board, int rank)
      : trial_(trial), board_(board), rank_(rank), n_(trial.layer.n_ranks) {}

  void run() {
    tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
    config.timeoutSeconds = 10;
    config.initTimeoutSeconds = 20;
    if (trial_.layer.devices) config.device = rank_;
    if (rank_ == (trial_.victim == 0 ? 1 : 0)) {
      require(tuttiGetUniqueId(&board_.id), "tuttiGetUniqueId");
      board_.id_ready.store(1, std::memory_order_release);
    }
    while (board_.id_ready.load(std::memory_order_acquire) == 0) nap();
    tuttiComm_t comm = nullptr;
    require(tuttiCommInitRankConfig(&comm, n_, board_.id, rank_, &config), "tuttiCommInitRank");
    tuttiMoeGroup_t group = make_group(trial_.layer, comm, -1);
    fail_together(group);
    go_on_without(group);
    rejoin(group, comm);
    require(tuttiMoeGroupDestroy(group), "tuttiMoeGroupDestroy");
    require(tuttiCommDestroy(grown_), "tuttiCommDestroy");
    require(tuttiCommAbort(comm), "tuttiCommAbort");
  }

  // The process that takes the victim's place.
  void run_newcomer() {
    while (board_.grow_ready.load(std::memory_order_acquire) == 0) nap();
    tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
    if (trial_.layer.devices) config.device = rank_;
    require(tuttiCommGrow(nullptr, n_, &board_.grown, n_ - 1, &grown_, &config), "tuttiCommGrow");
    tuttiMoeGroup_t group = make_group(trial_.layer, grown_, trial_.victim);
    run_layer(trial_.layer, group, trial_.victim, [](Phase) {});
    require(tuttiMoeGroupDestroy(group), "tuttiMoeGroupDestroy");
    require(tuttiCommDestroy(grown_), "tuttiCommDestroy");
  }

 private:
  bool is_victim() const { return rank_ == trial_.victim; }
  void fall() {
    board_.fell_ns.store(now_ns());
    ::kill(::getpid(), SIGKILL);
  }

  // Layers until one fails. In the middle: a thread lets the victim fall after a share of a layer.
  void fail_together(tuttiMoeGroup_t group) {
    int64_t layer_ns = 0;
    try {
      for (int i = 0; i < 1000; ++i) {
        const int64_t begin = now_ns();
        const bool falls = is_victim() && i == kGoodLayers;
        if (falls && trial_.phase == kPhases) fall_in(layer_ns);
        run_layer(trial_.layer, group, rank_, [&](Phase at) {
          if (falls && static_cast<int>(at) == trial_.phase) fall();
        });
        layer_ns = now_ns() - begin;
      }
    } catch (const std::runtime_error& error) {
      expect_failure(group, error.what());
      return;
    }
    throw std::runtime_error("layers with a fallen rank went on");
  }
  void fall_in(int64_t layer_ns) {
    const int64_t when = now_ns() + layer_ns * static_cast<int64_t>(trial_.layer.seed % 100) / 100;
    std::thread([this, when] {
      while (now_ns() < when) {
      }
      fall();
    }).detach();
  }

  void expect_failure(tuttiMoeGroup_t group, const std::string& text) {
    const double seconds = static_cast<double>(now_ns() - board_.fell_ns.load()) * 1e-9;
    tuttiResult_t async = tuttiSuccess;
    require(tuttiMoeGroupGetAsyncError(group, &async), "tuttiMoeGroupGetAsyncError");
    if (async != tuttiRemoteError)
      throw std::runtime_error("expected a remote error, got: " + text);
    const std::string name = "rank " + std::to_string(trial_.victim);
    if (text.find(name) == std::string::npos)
      throw std::runtime_error(name + " is not named: " + text);
    if (text.find("Moe") == std::string::npos)
      throw std::runtime_error("the operation is not named: " + text);
    if (seconds > trial_.bound)
      throw std::runtime_error("failed only after " + std::to_string(seconds) + " s: " + text);
  }

  void go_on_without(tuttiMoeGroup_t group) {
    std::vector<uint8_t> mask(static_cast<size_t>(n_), 1);
    mask[static_cast<size_t>(trial_.victim)] = 0;
    require(tuttiMoeGroupSetMask(group, mask.data()), "tuttiMoeGroupSetMask");
    std::vector<uint8_t> now(mask.size());
    require(tuttiMoeGroupGetMask(group, now.data()), "tuttiMoeGroupGetMask");
    if (now != mask) throw std::runtime_error("the mask is another than was set");
    tuttiResult_t async = tuttiInternalError;
    require(tuttiMoeGroupGetAsyncError(group, &async), "tuttiMoeGroupGetAsyncError");
    require(async, "the group after its mask");
    Case fewer = trial_.layer;
    fewer.active.assign(mask.begin(), mask.end());
    for (int i = 0; i < 2; ++i) run_layer(fewer, group, rank_, [](Phase) {});
  }

  // The survivors' own communicator shrinks, grows by the new process, and takes the group.
  void rejoin(tuttiMoeGroup_t group, tuttiComm_t comm) {
    tuttiComm_t smaller = nullptr;
    int excluded[] = {trial_.victim};
    require(tuttiCommShrink(comm, excluded, 1, &smaller, nullptr, TUTTI_SHRINK_DEFAULT),
            "tuttiCommShrink");
    const bool first = rank_ == (trial_.victim == 0 ? 1 : 0);
    if (first) {
      require(tuttiCommGetUniqueId(smaller, &board_.grown), "tuttiCommGetUniqueId");
      board_.grow_ready.store(1, std::memory_order_release);
    }
    require(tuttiCommGrow(smaller, n_, first ? &board_.grown : nullptr, -1, &grown_, nullptr),
            "tuttiCommGrow");
    require(tuttiMoeGroupRejoin(group, grown_), "tuttiMoeGroupRejoin");
    run_layer(trial_.layer, group, rank_, [](Phase) {});
    require(tuttiCommDestroy(smaller), "tuttiCommDestroy");
  }

  const Trial& trial_;
  Board& board_;
  int rank_;
  int n_;
  tuttiComm_t grown_ = nullptr;
};

[[noreturn]] void run_child(const Trial& trial, Board& board, int rank) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool newcomer = rank == trial.layer.n_ranks;
  Result& result = board.results[rank];
  try {
    Rank child(trial, board, newcomer ? trial.victim : rank);
    newcomer ? child.run_newcomer() : child.run();
    result.state.store(1, std::memory_order_release);
  } catch (const std::exception& error) {
    std::snprintf(result.text, sizeof result.text, "%s", error.what());
    result.state.store(2, std::memory_order_release);
  }
  std::exit(0);
}

// "" when all went well.
std::string run_trial(const Trial& trial, Board& board) {
  std::memset(static_cast<void*>(&board), 0, sizeof board);
  const int children = trial.layer.n_ranks + 1;
  std::vector<pid_t> pids;
  for (int rank = 0; rank < children; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) run_child(trial, board, rank);
    pids.push_back(pid);
  }
  const int64_t limit = now_ns() + 120'000'000'000;
  std::string trouble;
  while (!pids.empty()) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid > 0) std::erase(pids, pid);
    bool bad = false;
    for (int rank = 0; rank < children; ++rank)
      bad = bad || board.results[rank].state.load(std::memory_order_acquire) == 2;
    if (bad || now_ns() > limit) {
      if (!bad) trouble = "hang";
      std::this_thread::sleep_for(std::chrono::milliseconds(bad ? 300 : 0));
      for (const pid_t p : pids) ::kill(p, SIGKILL);
      for (const pid_t p : pids) ::waitpid(p, nullptr, 0);
      break;
    }
    nap();
  }
  std::string bad;  // one failure often makes others
  for (int rank = 0; rank < children; ++rank) {
    const int state = board.results[rank].state.load(std::memory_order_acquire);
    if (state == 2) bad += "\n  rank " + std::to_string(rank) + ": " + board.results[rank].text;
    if (state == 0 && rank != trial.victim && trouble.empty())
      trouble = "rank " + std::to_string(rank) + " did not end well";
  }
  return bad.empty() ? trouble : bad;
}

Trial make_trial(int number, bool devices) {
  std::mt19937_64 random(static_cast<uint64_t>(number) + 17);
  constexpr int kRanks[] = {2, 3, 4, 8};
  Trial trial;
  Case& c = trial.layer;
  c.processes = true;
  c.transport = "shm";
  c.n_ranks = kRanks[random() % 4];
  c.n_experts = 12;
  c.k = 4;
  c.hidden = 512;
  c.max_tokens = random() % 2 == 0 ? 8 : c.n_ranks <= 4 ? 400 : 60;
  c.layout = random() % 3 == 0 ? tuttiMoeRankMajor : tuttiMoeExpertMajor;
  c.quantization = random() % 2 == 0 ? tuttiMoeQuantE4m3G128F32 : tuttiMoeQuantNone;
  c.experts = random() % 2 == 0 ? Experts::kReplicated : Experts::kEven;
  c.shared = random() % 2 == 0;
  if (c.shared && c.n_ranks <= 3) {
    c.hidden = 2048;  // large enough to go by reference
    c.max_tokens = 40;
  }
  c.seed = random() % 100000;
  if (devices) {
    c.devices = true;
    c.transport.clear();
    c.shared = false;
    c.n_ranks = std::min(c.n_ranks, 4);
    c.hidden = 256;
    c.max_tokens = std::min<size_t>(c.max_tokens, 20);
  }
  trial.victim = static_cast<int>(random() % static_cast<uint64_t>(c.n_ranks));
  trial.phase = number % (kPhases + 1);
  return trial;
}

struct Options {
  int trials = 12, first = 0;
  bool devices = false;
  double bound = 1.0;
};

int run(const Options& options) {
  void* memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  auto& board = *static_cast<Board*>(memory);
  int failed = 0;
  for (int number = options.first; number < options.first + options.trials; ++number) {
    Trial trial = make_trial(number, options.devices);
    trial.bound = options.bound;
    const std::string why = run_trial(trial, board);
    if (why.empty()) continue;
    ++failed;
    std::printf("FAILED trial %d: %s: %s\n", number, trial.text().c_str(), why.c_str());
    std::fflush(stdout);
  }
  std::printf("moe_survive: %d of %d trials failed\n", failed, options.trials);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::moe_test

int main(int argc, char** argv) {
  tutti::moe_test::Options options;
  tutti::cli::CommandLine line("Ranks of MoE groups that are killed in each phase.");
  line.add_option("--trials", options.trials, "how many").positive();
  line.add_option("--first", options.first, "number of the first trial").non_negative();
  line.add_option("--bound", options.bound,
                  "seconds from a death to the error, on an idle machine 1")
      .positive();
  line.add_flag("--devices", options.devices, "ranks are of GPUs, rank r of GPU r");
  if (const auto status = line.parse(argc, argv); status.has_value()) return *status;
  return tutti::moe_test::run(options);
}
