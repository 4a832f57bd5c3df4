// SPDX-License-Identifier: Apache-2.0
// One job that lives through many failures: in every round a rank is killed or stopped amid
// collectives or puts, the others shrink, go on and grow back with a new process. Ranks that have
// been handed back an error see no byte change after it, and hold no more descriptors and mappings
// after many rounds than after a few.
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tutti/tutti.h"

namespace {

constexpr int kMaxRanks = 8;
constexpr double kTimeoutSeconds = 1.0;
constexpr double kDeathBound = 1.0;
constexpr double kShrinkBound = 2.0;
constexpr size_t kCount = 40'000;
constexpr size_t kWindowBytes = size_t{8} << 20;
constexpr int kWarmRounds = 30;  // after which nothing may grow any more

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}
void nap() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

// What happens in a round; drawn alike by everybody.
struct Round {
  int victim = 0;
  bool stop = false;     // SIGSTOP, and SIGCONT once the others have gone on
  bool puts = false;     // amid puts into the next rank's window, else amid AllReduces
  int64_t delay_us = 0;  // from the first call of the round to the fall
};

Round draw(uint64_t seed, uint64_t number, int n) {
  std::mt19937_64 random(seed + number * 0x9e3779b97f4a7c15ULL);
  Round round;
  const auto ranks = static_cast<uint64_t>(n);
  // Rank 0 is spared in every second hundred rounds, to grow old: see watch_growth().
  round.victim =
      static_cast<int>(number / 100 % 2 == 0 ? random() % ranks : 1 + random() % (ranks - 1));
  round.stop = random() % 5 == 0;  // costs the timeout
  round.puts = random() % 3 == 0;
  round.delay_us = static_cast<int64_t>(random() % 4000);
  return round;
}

std::string text_of(const Round& r, uint64_t number) {
  return "round " + std::to_string(number) + ", rank " + std::to_string(r.victim) +
         (r.stop ? " stopped" : " killed") + (r.puts ? " amid puts" : " amid AllReduces");
}

// Shared by all processes. Counters go up once per rank and round; the release of a counter pairs
// with the acquire of whoever waits for it.
struct Board {
  std::atomic<int64_t> fell_ns;
  std::atomic<uint64_t> shrunk;   // survivors that have gone on with fewer ranks
  std::atomic<uint64_t> checked;  // survivors that have compared their memory
  std::atomic<int> resumed;       // the stopped rank runs again
  std::atomic<int> gone;          // the victim's process has ended for good
  std::atomic<int> id_ready;      // `id` is for the growing of round id_ready
  std::atomic<int> failed;
  std::atomic<int64_t> slowest_us[2];  // from a death, a stop to the last error
  tuttiUniqueId first_id;
  std::atomic<int> first_id_ready;
  tuttiUniqueId id;
  std::atomic<const char*> doing[kMaxRanks];  // by rank at the start of the round; string literals
  char trouble[600];
};

class Rank {
 public:
  Rank(Board& board, uint64_t seed, int n, uint64_t rounds)
      : board_(board), seed_(seed), n_(n), rounds_(rounds) {
    config_ = TUTTI_CONFIG_INITIALIZER;
    config_.timeoutSeconds = kTimeoutSeconds;
    config_.initTimeoutSeconds = 10.0;
    send_.resize(kCount);
    recv_.resize(kCount);
    void* memory = nullptr;
    check(tuttiMemAlloc(&memory, kWindowBytes), "MemAlloc");
    window_memory_ = static_cast<uint8_t*>(memory);
  }

  void start(int rank) {
    rank_ = rank;
    if (rank == 0) {
      check(tuttiGetUniqueId(&board_.first_id), "GetUniqueId");
      board_.first_id_ready.store(1, std::memory_order_release);
    }
    while (board_.first_id_ready.load(std::memory_order_acquire) == 0) nap();
    check(tuttiCommInitRankConfig(&comm_, n_, board_.first_id, rank, &config_), "init");
    live(0);
  }
  // As the replacement that comes at the end of round `number`.
  void join(uint64_t number) {
    await_id(number);
    check(tuttiCommGrow(nullptr, n_, &board_.id, n_ - 1, &comm_, &config_), "grow (new rank)");
    rank_ = n_ - 1;
    expect_sum(comm_, n_);
    live(number + 1);
  }

 private:
  void live(uint64_t first) {
    for (uint64_t number = first; number < rounds_; ++number) {
      number_ = number;
      round_ = draw(seed_, number, n_);
      place_ = rank_;
      doing("registers its window");
      check(tuttiCommWindowRegister(comm_, window_memory_, kWindowBytes, &window_, 0), "window");
      fill();
      fail_together();
      go_on();
      compare_again();
      grow_back();
      watch_growth(number - first);
    }
    check(tuttiCommDestroy(comm_), "destroy");
    check(tuttiMemFree(window_memory_), "MemFree");
  }

  void fill() {
    for (size_t i = 0; i < kCount; ++i) send_[i] = rank_ * 7919 + static_cast<int32_t>(i % 1009);
    std::memset(window_memory_, 255, kWindowBytes);
    check(tuttiBarrier(comm_, nullptr), "barrier");
  }

  bool is_victim() const { return rank_ == round_.victim; }

  // Works until the victim's fall shows; as the victim, until it falls.
  void fail_together() {
    doing("works");
    if (is_victim()) fall_later();
    tuttiResult_t result = tuttiSuccess;
    while (result == tuttiSuccess) result = round_.puts ? put() : all_reduce(comm_);
    error_ = tuttiGetLastError(nullptr);
    const double seconds = static_cast<double>(now_ns() - board_.fell_ns.load()) * 1e-9;
    const double bound = round_.stop ? kTimeoutSeconds + kDeathBound : kDeathBound;
    if (is_victim()) {
      for (;;) ::pause();  // resumed, and told by the others
    }
    if (result != tuttiRemoteError ||
        error_.find(std::to_string(round_.victim)) == std::string::npos)
      bad("expected a remote error about the victim, got " + std::to_string(result) + ": " +
          error_);
    note_slowest(static_cast<int64_t>(seconds * 1e6));
    if (seconds > bound) bad("failed only after " + std::to_string(seconds) + " s: " + error_);
    snapshot_.assign(window_memory_, window_memory_ + kWindowBytes);
    received_ = recv_;
    check(tuttiCommWindowDeregister(comm_, window_), "deregister");
  }

  void note_slowest(int64_t us) {
    std::atomic<int64_t>& slowest = board_.slowest_us[round_.stop ? 1 : 0];
    int64_t known = slowest.load();
    while (known < us && !slowest.compare_exchange_weak(known, us)) {
    }
  }

  void fall_later() {
    std::thread([this] {
      std::this_thread::sleep_for(std::chrono::microseconds(round_.delay_us));
      board_.fell_ns.store(now_ns());
      ::kill(::getpid(), round_.stop ? SIGSTOP : SIGKILL);
    }).detach();
  }

  // Into the next rank's window, all of it, so that the fall is likely to come in the middle.
  tuttiResult_t put() {
    const int next = (rank_ + 1) % n_, before = (rank_ + n_ - 1) % n_;
    outgoing_.assign(kWindowBytes, static_cast<uint8_t>(++puts_ % 200));
    const tuttiResult_t result = tuttiPutSignal(outgoing_.data(), kWindowBytes, tuttiUint8, next,
                                                window_, 0, 0, 0, 0, comm_, nullptr);
    if (result != tuttiSuccess) return result;
    tuttiWaitSignalDesc_t wait{1, before, 0, 0};
    return tuttiWaitSignal(1, &wait, comm_, nullptr);
  }

  tuttiResult_t all_reduce(tuttiComm_t comm) {
    return tuttiAllReduce(send_.data(), recv_.data(), kCount, tuttiInt32, tuttiSum, comm, nullptr);
  }

  void expect_sum(tuttiComm_t comm, int n) {
    const std::vector<int64_t> ones(1000, 1);
    std::vector<int64_t> sum(1000);
    check(tuttiAllReduce(ones.data(), sum.data(), 1000, tuttiInt64, tuttiSum, comm, nullptr),
          "sum");
    for (const int64_t value : sum) {
      if (value != n)
        bad("expected a sum of " + std::to_string(n) + ", got " + std::to_string(value));
    }
  }

  void go_on() {
    doing("shrinks");
    const int64_t begin = now_ns();
    int excluded[] = {round_.victim};
    tuttiComm_t smaller = nullptr;
    check(tuttiCommShrink(comm_, excluded, 1, &smaller, &config_, TUTTI_SHRINK_DEFAULT), "shrink");
    const double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
    if (seconds > kShrinkBound) bad("shrinking took " + std::to_string(seconds) + " s");
    check(tuttiCommAbort(comm_), "abort");
    comm_ = smaller;
    expect_sum(comm_, n_ - 1);
    board_.shrunk.fetch_add(1, std::memory_order_acq_rel);
  }

  // The victim runs again, if it ever does; what this rank was handed back stays as it was.
  void compare_again() {
    doing("compares its memory");
    if (round_.stop) {
      await(
          [&] {
            return board_.resumed.load(std::memory_order_acquire) > static_cast<int>(number_);
          },
          "the stopped rank to be resumed");
      std::this_thread::sleep_for(std::chrono::milliseconds(30));  // for it to do its worst
    }
    if (std::memcmp(snapshot_.data(), window_memory_, kWindowBytes) != 0)
      bad("the window has changed after the error was returned");
    if (received_ != recv_) bad("the output has changed after the error was returned");
    board_.checked.fetch_add(1, std::memory_order_acq_rel);
    await([&] { return board_.gone.load(std::memory_order_acquire) > static_cast<int>(number_); },
          "the victim to be buried");
  }

  void grow_back() {
    doing("grows");
    check(tuttiCommUserRank(comm_, &rank_), "rank");
    if (rank_ == 0) {
      check(tuttiCommGetUniqueId(comm_, &board_.id), "GetUniqueId");
      board_.id_ready.store(static_cast<int>(number_) + 1, std::memory_order_release);
    }
    tuttiComm_t larger = nullptr;
    check(tuttiCommGrow(comm_, n_, rank_ == 0 ? &board_.id : nullptr, -1, &larger, &config_),
          "grow");
    check(tuttiCommDestroy(comm_), "destroy");
    comm_ = larger;
    expect_sum(comm_, n_);
  }

  // Ranks come and go, so what a rank holds is compared with what it held after a few rounds.
  void watch_growth(uint64_t age) {
    const auto entries = [](const char* folder) {
      return std::distance(std::filesystem::directory_iterator(folder), {});
    };
    const auto lines = [](const char* path) {
      std::ifstream file(path);
      return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
    };
    const auto descriptors = entries("/proc/self/fd");
    const auto mappings = lines("/proc/self/maps");
    if (age < kWarmRounds) {
      most_descriptors_ = std::max(most_descriptors_, descriptors);
      most_mappings_ = std::max(most_mappings_, mappings);
      return;
    }
    // How many a moment shows depends on what has not ended yet; what leaks never goes again.
    if (age % kWarmRounds == 0) least_descriptors_ = least_mappings_ = PTRDIFF_MAX;
    least_descriptors_ = std::min(least_descriptors_, descriptors);
    least_mappings_ = std::min(least_mappings_, mappings);
    if (age % kWarmRounds != kWarmRounds - 1) return;
    if (least_descriptors_ > most_descriptors_ + 5 || least_mappings_ > most_mappings_ + 10) {
      bad("in the " + std::to_string(kWarmRounds) + " rounds before its round " +
          std::to_string(age) + " never less than " + std::to_string(least_descriptors_) +
          " descriptors and " + std::to_string(least_mappings_) +
          " mappings; in the first rounds at most " + std::to_string(most_descriptors_) + " and " +
          std::to_string(most_mappings_) + "; descriptors:" + descriptor_kinds());
    }
  }
  // " 12 socket, 3 /memfd:tutti-recorder ..."
  static std::string descriptor_kinds() {
    std::map<std::string, int> kinds;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
      const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
      ++kinds[target.substr(0, target.find(":["))];
    }
    std::string text;
    for (const auto& [kind, n] : kinds) text += " " + std::to_string(n) + " " + kind + ",";
    return text;
  }

  void await_id(uint64_t number) {
    number_ = number;
    await(
        [&] { return board_.id_ready.load(std::memory_order_acquire) > static_cast<int>(number); },
        "the id to grow with");
  }
  template <typename Ready>
  void await(Ready&& ready, const char* what) {
    const int64_t limit = now_ns() + 20'000'000'000;
    while (!ready()) {
      if (now_ns() > limit) bad(std::string("waited too long for ") + what);
      nap();
    }
  }
  void check(tuttiResult_t result, const char* what) {
    if (result != tuttiSuccess) bad(std::string(what) + ": " + tuttiGetLastError(nullptr));
  }
  void doing(const char* what) { board_.doing[place_].store(what, std::memory_order_relaxed); }
  [[noreturn]] void bad(const std::string& why) {
    if (board_.failed.exchange(1) == 0) {
      std::string others;
      for (int rank = 0; rank < n_; ++rank) {
        const char* what = board_.doing[rank].load(std::memory_order_relaxed);
        others += "; rank " + std::to_string(rank) + " " + (what == nullptr ? "joins" : what);
      }
      std::snprintf(board_.trouble, sizeof board_.trouble, "%s: rank %d: %s%s",
                    text_of(round_, number_).c_str(), place_, why.c_str(), others.c_str());
    }
    ::_exit(1);
  }

  Board& board_;
  const uint64_t seed_;
  const int n_;
  const uint64_t rounds_;
  uint64_t number_ = 0;
  Round round_;
  int rank_ = -1;
  int place_ = 0;  // its rank at the start of the round
  tuttiConfig_t config_{};
  tuttiComm_t comm_ = nullptr;
  tuttiWindow_t window_ = nullptr;
  uint8_t* window_memory_ = nullptr;
  uint64_t puts_ = 0;
  std::vector<uint8_t> outgoing_, snapshot_;
  std::vector<int32_t> send_, recv_, received_;
  std::string error_;
  std::ptrdiff_t most_descriptors_ = 0, most_mappings_ = 0;
  std::ptrdiff_t least_descriptors_ = 0, least_mappings_ = 0;
};

// The parent of all ranks: buries the victims and starts their successors.
class Job {
 public:
  Job(Board& board, uint64_t seed, int n, uint64_t rounds)
      : board_(board), seed_(seed), n_(n), rounds_(rounds) {}

  // "" when all went well.
  std::string run() {
    for (int rank = 0; rank < n_; ++rank)
      pids_.push_back(spawn([this, rank] { Rank(board_, seed_, n_, rounds_).start(rank); }));
    std::string trouble;
    for (uint64_t number = 0; number < rounds_ && trouble.empty(); ++number)
      trouble = replace_victim(number);
    if (trouble.empty()) trouble = await_all();
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    return trouble;
  }

 private:
  template <typename Body>
  static pid_t spawn(Body&& body) {
    const pid_t pid = ::fork();
    if (pid < 0) {  // to kill() it would mean every process of the machine
      std::perror("endure: can't start a process");
      std::exit(2);
    }
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    ::_exit(0);
  }

  std::string replace_victim(uint64_t number) {
    const Round round = draw(seed_, number, n_);
    const auto survivors = static_cast<uint64_t>(n_ - 1);
    const pid_t victim = pids_[static_cast<size_t>(round.victim)];
    if (round.stop) {
      const std::string trouble = await(board_.shrunk, (number + 1) * survivors, "shrink", number);
      if (!trouble.empty()) return trouble;
      ::kill(victim, SIGCONT);
      board_.resumed.store(static_cast<int>(number) + 1, std::memory_order_release);
    }
    const std::string trouble = await(board_.checked, (number + 1) * survivors, "compare", number);
    if (!trouble.empty()) return trouble;
    ::kill(victim, SIGKILL);
    ::waitpid(victim, nullptr, 0);
    pids_.erase(pids_.begin() + round.victim);
    board_.resumed.store(static_cast<int>(number) + 1, std::memory_order_release);
    board_.gone.store(static_cast<int>(number) + 1, std::memory_order_release);
    pids_.push_back(spawn([this, number] { Rank(board_, seed_, n_, rounds_).join(number); }));
    return "";
  }

  std::string await(const std::atomic<uint64_t>& counter, uint64_t value, const char* what,
                    uint64_t number) const {
    const int64_t limit = now_ns() + 30'000'000'000;
    while (counter.load(std::memory_order_acquire) < value) {
      if (board_.failed.load(std::memory_order_acquire) != 0) {
        nap();  // for the sentence to be written
        return board_.trouble;
      }
      const std::string crash = find_crash(number);
      if (!crash.empty()) return crash;
      if (now_ns() > limit) {
        return text_of(draw(seed_, number, n_), number) + ": only " +
               std::to_string(counter.load()) + " of " + std::to_string(value) + " came to " + what;
      }
      nap();
    }
    return "";
  }

  // A survivor that has ended without saying why.
  std::string find_crash(uint64_t number) const {
    const Round round = draw(seed_, number, n_);
    for (int rank = 0; rank < n_; ++rank) {
      siginfo_t info{};
      if (rank == round.victim) continue;
      ::waitid(P_PID, static_cast<id_t>(pids_[static_cast<size_t>(rank)]), &info,
               WEXITED | WNOHANG | WNOWAIT);
      if (info.si_pid == 0 || info.si_code == CLD_EXITED) continue;
      return text_of(round, number) + ": rank " + std::to_string(rank) + " fell too, by signal " +
             std::to_string(info.si_status);
    }
    return "";
  }

  std::string await_all() {
    for (const pid_t pid : pids_) {
      int status = 0;
      ::waitpid(pid, &status, 0);
      if (status != 0)
        return board_.failed.load() != 0 ? board_.trouble : "a rank ended with a failure";
    }
    pids_.clear();
    return "";
  }

  Board& board_;
  const uint64_t seed_;
  const int n_;
  const uint64_t rounds_;
  std::vector<pid_t> pids_;  // by rank
};

}  // namespace

int main(int argc, char** argv) {
  uint64_t rounds = 200, seed = 1;
  std::vector<int> sizes{4, 8};
  tutti::cli::CommandLine line(
      "Lets one job live through many failures: kill or stop, shrink, go on, grow back, again.");
  line.add_option("--rounds", rounds, "failures per job");
  line.add_option("--seed", seed, "equal seeds fail alike");
  line.add_option("--ranks", sizes, "sizes of the jobs, each of 3 to 8 ranks").range(3, kMaxRanks);
  if (const auto status = line.parse(argc, argv)) return *status;
  bool good = true;
  for (const int n : sizes) {
    auto* board = static_cast<Board*>(
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const int64_t start = now_ns();
    const std::string trouble = Job(*board, seed, n, rounds).run();
    const double seconds = static_cast<double>(now_ns() - start) * 1e-9;
    std::printf(
        "endure: %d ranks, %zu rounds, seed %zu, %.1f s, slowest error %.0f ms after a death, "
        "%.0f ms after a stop: %s\n",
        n, static_cast<size_t>(rounds), static_cast<size_t>(seed), seconds,
        static_cast<double>(board->slowest_us[0].load()) / 1e3,
        static_cast<double>(board->slowest_us[1].load()) / 1e3,
        trouble.empty() ? "good" : trouble.c_str());
    std::fflush(stdout);
    good = good && trouble.empty();
    ::munmap(board, sizeof(Board));
  }
  return good ? 0 : 1;
}
