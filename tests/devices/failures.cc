// SPDX-License-Identifier: Apache-2.0
// Ranks of GPUs of which one is killed, stops, aborts, disagrees or does not come: the streams of
// the others end in time, their communicators say why, and the survivors of a death go on.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>

#include "perf/cli/cli.h"
#include "tests/devices/job.h"
#include "tests/devices/rank.h"

namespace tutti::devices {
namespace {

constexpr double kBound = 1.0;  // seconds from what happens to the error
constexpr double kShrinkBound = 2.0;
constexpr double kSilence = 1.0;  // timeoutSeconds where silence is what ends it
constexpr int kCalls = 5;         // before it happens
constexpr size_t kCount = 20'000;
constexpr int kN = 3;  // where the number of ranks does not matter
constexpr int64_t kMs = 1'000'000;

struct Trial {
  std::string name;
  std::function<std::string()> run;
};

tuttiConfig_t config_of(int rank, double timeout_seconds) {
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.timeoutSeconds = timeout_seconds;
  config.device = rank;
  return config;
}

void expect_within(double seconds, double bound, const std::string& what) {
  if (seconds > bound) throw Trouble(what + " only after " + std::to_string(seconds) + " s");
}

void expect_failure(const Rank& rank, tuttiResult_t got, tuttiResult_t wanted, int named) {
  const std::string text = rank.message();
  if (got != wanted) {
    throw Trouble("expected result " + std::to_string(wanted) + ", got " + std::to_string(got) +
                  ": " + text);
  }
  const std::string name = "rank " + std::to_string(named);
  if (named >= 0 && text.find(name) == std::string::npos)
    throw Trouble(name + " is not named: " + text);
}

tuttiResult_t issue_and_finish(Rank& rank, Kind kind, size_t count) {
  const tuttiResult_t issued = rank.issue(kind, count);
  const tuttiResult_t ended = rank.finish();
  return issued != tuttiSuccess ? issued : ended;
}

// ---- deaths ----

enum class Fall { kKilled, kStoppedThenKilled, kStopped };

struct Death {
  int n = 2;
  Kind kind = Kind::kAllReduce;
  int victim = 0;
  Fall fall = Fall::kKilled;
};

// In the middle of the call that begins now, by what the last one has taken.
void fall_within(const Death& death, Board& board, int64_t call_ns) {
  const int64_t when = now_ns() + call_ns / 2;
  std::thread([&death, &board, when] {
    while (now_ns() < when) {
    }
    if (death.fall != Fall::kStoppedThenKilled) board.event_ns.store(now_ns());
    ::kill(::getpid(), death.fall == Fall::kKilled ? SIGKILL : SIGSTOP);
  }).detach();
}

// Each round ends with a call in which all ranks need each other, so that those which need nothing
// of the victim hear of its end too.
void work_until_failure(const Death& death, Board& board, Rank& rank) {
  int64_t call_ns = 0;
  const int64_t begin_ns = now_ns();
  for (int i = 0;; ++i) {
    if (seconds_since(begin_ns) > 20) throw Trouble("no call fails");
    if (rank.number() == death.victim && i == kCalls) fall_within(death, board, call_ns);
    const int64_t begin = now_ns();
    tuttiResult_t result = issue_and_finish(rank, death.kind, kCount);
    call_ns = now_ns() - begin;
    if (result == tuttiSuccess) {
      rank.check(death.kind, kCount);
      result = issue_and_finish(rank, Kind::kAllReduce, 1);
    }
    if (result == tuttiSuccess) continue;
    const double seconds = seconds_since(board.event_ns.load());
    expect_failure(rank, result, tuttiRemoteError, death.victim);
    return expect_within(seconds, death.fall == Fall::kStopped ? kSilence + kBound : kBound,
                         "the error came");
  }
}

void survive(const Death& death, Board& board, int number) {
  Rank rank(board, number, death.n, kCount,
            config_of(number, death.fall == Fall::kStopped ? kSilence : 0));
  work_until_failure(death, board, rank);
  rank.check_input();
  const int64_t begin = now_ns();
  rank.shrink_without(death.victim);
  expect_within(seconds_since(begin), kShrinkBound, "the smaller communicator was there");
  for (const Kind kind : kKinds) rank.call(kind, kCount / 2);
  rank.destroy();
}

std::string run_death(const Death& death) {
  int64_t stopped_ns = 0;
  const auto kill_the_stopped = [&](Board& board, const std::vector<pid_t>& pids) {
    const pid_t victim = pids[static_cast<size_t>(death.victim)];
    siginfo_t info{};
    if (stopped_ns == 0) {
      const bool stopped =
          ::waitid(P_PID, static_cast<id_t>(victim), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == victim;
      if (stopped) stopped_ns = now_ns();
    } else if (board.event_ns.load() == 0 && now_ns() > stopped_ns + 300 * kMs) {
      board.event_ns.store(now_ns());
      ::kill(victim, SIGKILL);
    }
  };
  Job job{.n = death.n, .victim = death.victim, .body = [&](Board& board, int rank) {
            survive(death, board, rank);
          }};
  if (death.fall == Fall::kStoppedThenKilled) job.meanwhile = kill_the_stopped;
  return run(job);
}

void add_deaths(std::vector<Trial>& trials) {
  constexpr const char* kFalls[] = {"killed", "stopped, then killed", "stopped"};
  int turn = 0;
  for (const Kind kind : kKinds) {
    for (const int n : {2, 4}) {
      for (const Fall fall : {Fall::kKilled, Fall::kStoppedThenKilled, Fall::kStopped}) {
        // Silence has one way to be seen, whatever the call is.
        if (fall == Fall::kStopped && n == 2) continue;
        const Death death{.n = n, .kind = kind, .victim = turn++ % n, .fall = fall};
        trials.push_back({std::string("death: ") + name_of(kind) + ", " + std::to_string(n) +
                              " ranks, rank " + std::to_string(death.victim) + " " +
                              kFalls[static_cast<int>(fall)],
                          [death] { return run_death(death); }});
      }
    }
  }
}

// ---- aborts ----

// The last rank does not call before the others have been told.
void abort_among(Board& board, int number, int n) {
  Rank rank(board, number, n, kCount, config_of(number, 0));
  for (int i = 0; i < 2; ++i) rank.call(Kind::kAllReduce, kCount);
  board.ready.fetch_add(1);
  await([&] { return board.ready.load() == n; }, "the other ranks");
  if (number == n - 1) {
    await([&] { return board.event_ns.load() != 0; }, "the abort");
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return expect_failure(rank, issue_and_finish(rank, Kind::kAllReduce, kCount), tuttiRemoteError,
                          0);
  }
  if (rank.issue(Kind::kAllReduce, kCount) != tuttiSuccess) throw Trouble(rank.message());
  if (number != 0) {
    const tuttiResult_t result = rank.finish();
    const double seconds = seconds_since(board.event_ns.load());
    expect_failure(rank, result, tuttiRemoteError, 0);
    return expect_within(seconds, kBound, "the error came");
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // its kernel waits
  const int64_t begin = now_ns();
  board.event_ns.store(begin);
  rank.abort();
  expect_within(seconds_since(begin), kBound, "tuttiCommAbort returned");
  rank.wait_for_stream();
  expect_within(seconds_since(begin), kBound, "the stream ended");
}

// ---- calls that do not go together ----

struct Mismatch {
  const char* field;
  tuttiResult_t (*odd)(const Rank& rank);
  tuttiResult_t (*usual)(const Rank& rank) = nullptr;  // null: AllReduce
};

tuttiResult_t usual_call(const Rank& r) {
  return tuttiAllReduce(r.in(), r.out(), 1000, tuttiInt32, tuttiSum, r.comm(), r.stream());
}

constexpr Mismatch kMismatches[] = {
    {"count",
     [](const Rank& r) {
       return tuttiAllReduce(r.in(), r.out(), 1001, tuttiInt32, tuttiSum, r.comm(), r.stream());
     }},
    {"datatype",
     [](const Rank& r) {
       return tuttiAllReduce(r.in(), r.out(), 1000, tuttiFloat32, tuttiSum, r.comm(), r.stream());
     }},
    {"operation",
     [](const Rank& r) {
       return tuttiAllReduce(r.in(), r.out(), 1000, tuttiInt32, tuttiMax, r.comm(), r.stream());
     }},
    {"collective",
     [](const Rank& r) {
       return tuttiBroadcast(r.in(), r.out(), 1000, tuttiInt32, 0, r.comm(), r.stream());
     }},
    {"root",
     [](const Rank& r) {
       return tuttiBroadcast(r.in(), r.out(), 1000, tuttiInt32, 1, r.comm(), r.stream());
     },
     [](const Rank& r) {
       return tuttiBroadcast(r.in(), r.out(), 1000, tuttiInt32, 0, r.comm(), r.stream());
     }},
};

// The call itself may end well where its rank only sends; then one of the calls after it fails.
void disagree(const Mismatch& mismatch, Board& board, int number, int n, int odd) {
  Rank rank(board, number, n, kCount, config_of(number, 20));
  rank.call(Kind::kAllReduce, kCount);
  // Who has been told of a failure of others can't tell that its own call has ended well.
  board.ready.fetch_add(1);
  await([&] { return board.ready.load() == n; }, "the calls that agree");
  const auto usual = mismatch.usual == nullptr ? usual_call : mismatch.usual;
  tuttiResult_t result = number == odd ? mismatch.odd(rank) : usual(rank);
  if (result == tuttiSuccess) result = rank.finish();
  if (result == tuttiSuccess) result = issue_and_finish(rank, Kind::kAllReduce, kCount);
  expect_failure(rank, result, tuttiInvalidUsage, odd);
}

// ---- a rank that does not come ----

void wait_in_vain(Board& board, int number, int n) {
  Rank rank(board, number, n, kCount, config_of(number, kSilence));
  rank.call(Kind::kAllReduce, kCount);
  if (number == n - 1) {
    await([&] { return board.ready.load() == n - 1; }, "the errors of the others");
    return expect_failure(rank, issue_and_finish(rank, Kind::kAllReduce, kCount), tuttiRemoteError,
                          -1);
  }
  const int64_t begin = now_ns();
  const tuttiResult_t result = issue_and_finish(rank, Kind::kAllReduce, kCount);
  const double seconds = seconds_since(begin);
  board.ready.fetch_add(1);
  expect_failure(rank, result, tuttiRemoteError, n - 1);
  expect_within(seconds, kSilence + kBound, "the error came");
  if (seconds < kSilence) throw Trouble("the error came after " + std::to_string(seconds) + " s");
}

void add_others(std::vector<Trial>& trials) {
  for (const bool threads : {false, true}) {
    const std::string among = threads ? " (threads)" : " (processes)";
    trials.push_back({"abort" + among, [=] {
                        return run(
                            {.n = kN, .threads = threads, .body = [](Board& board, int rank) {
                               abort_among(board, rank, kN);
                             }});
                      }});
    trials.push_back({"deadline" + among, [=] {
                        return run(
                            {.n = kN, .threads = threads, .body = [](Board& board, int rank) {
                               wait_in_vain(board, rank, kN);
                             }});
                      }});
    for (const Mismatch& mismatch : kMismatches) {
      trials.push_back(
          {std::string("mismatch: ") + mismatch.field + among, [=, &mismatch] {
             return run({.n = kN, .threads = threads, .body = [&mismatch](Board& board, int rank) {
                           disagree(mismatch, board, rank, kN, 1);
                         }});
           }});
    }
  }
}

int run_all(const std::vector<Trial>& trials, const std::string& only) {
  size_t tried = 0, failed = 0;
  for (const Trial& trial : trials) {
    if (trial.name.find(only) == std::string::npos) continue;
    ++tried;
    const int64_t begin = now_ns();
    const std::string trouble = trial.run();
    failed += trouble.empty() ? 0 : 1;
    std::printf("%s: %s, %.2f s%s\n", trouble.empty() ? "ok" : "FAILED", trial.name.c_str(),
                seconds_since(begin), trouble.c_str());
    std::fflush(stdout);
  }
  std::printf("device_failures: %zu trials, %zu failed\n", tried, failed);
  return failed == 0 && tried != 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::devices

int main(int argc, char** argv) {
  std::string only;
  tutti::cli::CommandLine line(
      "Ranks of GPUs 0 to 3: one is killed, stops, aborts, disagrees or does not come.");
  line.add_option("--only", only, "trials whose name contains this");
  if (const auto status = line.parse(argc, argv)) return *status;
  std::vector<tutti::devices::Trial> trials;
  tutti::devices::add_deaths(trials);
  tutti::devices::add_others(trials);
  return tutti::devices::run_all(trials, only);
}
