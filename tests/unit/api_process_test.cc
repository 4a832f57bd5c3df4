// SPDX-License-Identifier: Apache-2.0
// Ranks as processes: the launch environment, shared memory, and what survivors are told when one
// is killed.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "tests/unit/api_support.h"

// For sanitizers: a forked child has no threads of its parent's, so what only their stacks point to
// looks leaked there; and it starts threads of its own, which thread sanitizer refuses by default.
static bool is_child_of_rank = false;
extern "C" [[gnu::visibility("default")]] int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() { return is_child_of_rank ? 1 : 0; }
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace tutti::testing {
namespace {

// Forks one child per rank that runs `body` and exits with 0 when no expectation failed. Returns
// exit codes, -signal when killed.
std::vector<int> fork_ranks(int n, const std::function<void(int rank)>& body) {
  std::vector<pid_t> children;
  for (int rank = 0; rank < n; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      body(rank);
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    children.push_back(pid);
  }
  std::vector<int> results;
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    results.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
  }
  return results;
}

// As `tutti run` sets it.
void set_launch(int rank, int n, const char* job) {
  ::setenv("TUTTI_RANK", std::to_string(rank).c_str(), 1);
  ::setenv("TUTTI_SIZE", std::to_string(n).c_str(), 1);
  ::setenv("TUTTI_LOCAL_RANK", std::to_string(rank).c_str(), 1);
  ::setenv("TUTTI_LOCAL_SIZE", std::to_string(n).c_str(), 1);
  ::setenv("TUTTI_JOB", (job + std::to_string(::getppid())).c_str(), 1);
}

tuttiComm_t join_launch() {
  int rank = -1, size = 0;
  tuttiUniqueId id;
  tuttiComm_t comm = nullptr;
  EXPECT_TUTTI(tuttiLaunchInfo(&rank, &size, nullptr, nullptr));
  EXPECT_TUTTI(tuttiGetLaunchUniqueId(&id));
  EXPECT_TUTTI(tuttiCommInitRank(&comm, size, id, rank));
  return comm;
}

TEST(Processes, LaunchEnvironment_JoinsAndReduces) {
  constexpr int kRanks = 4;
  const auto results = fork_ranks(kRanks, [](int rank) {
    set_launch(rank, kRanks, "join");
    tuttiComm_t comm = join_launch();
    for (const size_t count : {size_t{1}, size_t{10000}, size_t{300000}}) {
      std::vector<int> in(count, rank + 1), out(count);
      EXPECT_TUTTI(
          tuttiAllReduce(in.data(), out.data(), count, tuttiInt32, tuttiSum, comm, nullptr));
      for (const int v : out) ASSERT_EQ(v, 10);
    }
    tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
    EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
    EXPECT_STREQ(stats.transports, "shm");
    tuttiComm_t pair = nullptr;
    EXPECT_TUTTI(tuttiCommSplit(comm, rank / 2, rank, &pair, nullptr));
    int x = 1;
    EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, pair, nullptr));
    EXPECT_EQ(x, 2);
    EXPECT_TUTTI(tuttiCommDestroy(pair));
    EXPECT_TUTTI(tuttiCommDestroy(comm));
  });
  EXPECT_EQ(results, std::vector<int>(kRanks, 0));
}

TEST(Processes, MappedMemoryAndWindows_CrossProcesses) {
  constexpr int kRanks = 3;
  constexpr size_t kCount = 50000;
  const auto results = fork_ranks(kRanks, [](int rank) {
    set_launch(rank, kRanks, "window");
    tuttiComm_t comm = join_launch();
    void* memory = nullptr;
    EXPECT_TUTTI(tuttiMemAlloc(&memory, kCount * sizeof(int)));
    int* data = static_cast<int*>(memory);
    std::fill_n(data, kCount, rank);
    EXPECT_TUTTI(tuttiAllReduce(data, data, kCount, tuttiInt32, tuttiSum, comm, nullptr));
    for (size_t i = 0; i < kCount; ++i) ASSERT_EQ(data[i], 3);
    tuttiWindow_t window = nullptr;
    EXPECT_TUTTI(tuttiCommWindowRegister(comm, memory, kCount * sizeof(int), &window, 0));
    const int token = 100 + rank;
    EXPECT_TUTTI(tuttiPutSignal(&token, 1, tuttiInt32, (rank + 1) % kRanks, window, 8, 0, 0, 0,
                                comm, nullptr));
    tuttiWaitSignalDesc_t wait{1, (rank + kRanks - 1) % kRanks, 0, 0};
    EXPECT_TUTTI(tuttiWaitSignal(1, &wait, comm, nullptr));
    EXPECT_EQ(data[2], 100 + wait.peer);
    EXPECT_TUTTI(tuttiCommWindowDeregister(comm, window));
    EXPECT_TUTTI(tuttiCommDestroy(comm));
    EXPECT_TUTTI(tuttiMemFree(memory));
  });
  EXPECT_EQ(results, std::vector<int>(kRanks, 0));
}

// Bytes of this process's address space.
size_t address_space_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t pages = 0;
  file >> pages;
  return pages * 4096;
}

// The address space holds the stacks of a few threads only.
TEST(InitAll, ThreadsCantBeStarted_TheOthersDoNotWaitForThem) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer needs the address space itself";
#endif
  const auto results = fork_ranks(1, [](int) {
    const rlim_t most = address_space_bytes() + (size_t{80} << 20);
    const rlimit limit{most, most};
    EXPECT_EQ(::setrlimit(RLIMIT_AS, &limit), 0);
    std::vector<tuttiComm_t> comms(64);
    const int64_t start = now_ns();
    expect_error(tuttiCommInitAll(comms.data(), 64, nullptr), tuttiSystemError,
                 {"of the 64 threads", "could be started"});
    EXPECT_LT(now_ns() - start, 5 * kNsPerSecond);
  });
  EXPECT_EQ(results, std::vector<int>{0});
}

// What a rank holds when it forks.
struct Held {
  tuttiComm_t comm = nullptr;
  tuttiStream_t stream = nullptr;
  tuttiWindow_t window = nullptr;
  void* registration = nullptr;
  void* memory = nullptr;
};

void only_exits(const Held&) {}

void uses_what_it_inherited(const Held& held) {
  const std::vector<std::string> fragments = {
      "belongs to process " + std::to_string(::getppid()),
      "this is its forked child " + std::to_string(::getpid())};
  int x = 1;
  const auto refused = [&](tuttiResult_t result) {
    expect_error(result, tuttiInvalidUsage, fragments);
  };
  refused(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, held.comm, nullptr));
  refused(tuttiCommCount(held.comm, &x));
  refused(tuttiCommWindowDeregister(held.comm, held.window));
  refused(tuttiCommDeregister(held.comm, held.registration));
  refused(tuttiStreamSynchronize(held.stream));
  refused(tuttiStreamDestroy(held.stream));
  refused(tuttiCommFinalize(held.comm));
  refused(tuttiCommAbort(held.comm));
  refused(tuttiCommDestroy(held.comm));
  EXPECT_TUTTI(tuttiMemFree(held.memory));  // the child's mapping only
}

void ends_the_group_of_its_parent(const Held&) {
  expect_error(tuttiGroupEnd(), tuttiInvalidUsage,
               {"calls of process " + std::to_string(::getppid())});
}

void makes_communicators_of_its_own(const Held& held) {
  uses_what_it_inherited(held);
  World world(2);
  world.each([](int, tuttiComm_t comm) {
    std::vector<int> x(1000, 1);
    EXPECT_TUTTI(tuttiAllReduce(x.data(), x.data(), 1000, tuttiInt32, tuttiSum, comm, nullptr));
    EXPECT_EQ(x[999], 2);
  });
}

struct ChildOfRank {
  const char* name;
  void (*body)(const Held&);
};
class ForkedChild : public ::testing::TestWithParam<ChildOfRank> {};

// Whatever a child does, it ends by exit(), with everything that this runs.
TEST_P(ForkedChild, OfARank_DoesNotDisturbTheJob) {
  constexpr int kRanks = 3;
  const auto results = fork_ranks(kRanks, [&](int rank) {
    set_launch(rank, kRanks, GetParam().name);
    Held held{.comm = join_launch()};
    EXPECT_TUTTI(tuttiStreamCreate(&held.stream));
    EXPECT_TUTTI(tuttiMemAlloc(&held.memory, 1 << 16));
    EXPECT_TUTTI(tuttiCommWindowRegister(held.comm, held.memory, 1 << 16, &held.window, 0));
    EXPECT_TUTTI(tuttiCommRegister(held.comm, held.memory, 1 << 16, &held.registration));
    int* data = static_cast<int*>(held.memory);
    const auto reduce = [&](int expected) {
      std::fill_n(data, 1 << 14, 1);
      EXPECT_TUTTI(
          tuttiAllReduce(data, data, 1 << 14, tuttiInt32, tuttiSum, held.comm, held.stream));
      EXPECT_TUTTI(tuttiStreamSynchronize(held.stream));
      EXPECT_EQ(data[100], expected);
    };
    reduce(kRanks);
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiBarrier(held.comm, held.stream));
    const pid_t child = ::fork();
    if (child == 0) {
      is_child_of_rank = true;
      ::alarm(20);
      GetParam().body(held);
      std::exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TUTTI(tuttiGroupEnd());
    reduce(kRanks);
    EXPECT_TUTTI(tuttiCommDeregister(held.comm, held.registration));
    EXPECT_TUTTI(tuttiCommWindowDeregister(held.comm, held.window));
    EXPECT_TUTTI(tuttiStreamDestroy(held.stream));
    EXPECT_TUTTI(tuttiCommDestroy(held.comm));
    EXPECT_TUTTI(tuttiMemFree(held.memory));
  });
  EXPECT_EQ(results, std::vector<int>(kRanks, 0));
}
INSTANTIATE_TEST_SUITE_P(Table, ForkedChild,
                         ::testing::Values(ChildOfRank{"ExitsOnly", only_exits},
                                           ChildOfRank{"UsesHandles", uses_what_it_inherited},
                                           ChildOfRank{"EndsGroup", ends_the_group_of_its_parent},
                                           ChildOfRank{"OwnCommunicators",
                                                       makes_communicators_of_its_own}),
                         [](const auto& info) { return std::string(info.param.name); });

// Memory that forked ranks share.
class SharedCounter {
 public:
  SharedCounter()
      : value_(new (::mmap(nullptr, sizeof(std::atomic<int>), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0)) std::atomic<int>(0)) {}
  ~SharedCounter() { ::munmap(value_, sizeof *value_); }
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;
  // Adds one and waits until `target` ranks have.
  void meet(int target) {
    ++*value_;
    const Deadline deadline = Deadline::after_ns(10 * kNsPerSecond);
    while (value_->load() < target && !deadline.expired()) sleep_ns(kNsPerMs);
  }

 private:
  std::atomic<int>* value_;
};

struct Killing {
  const char* name;
  int n;
  int warm_up;  // collectives before the death: 0 kills while connections are made
  std::function<tuttiResult_t(tuttiComm_t, int* buffer)> call;
};
class KilledPeer : public ::testing::TestWithParam<Killing> {};

// Every survivor hears of it within a second of the death, also those that do not talk to the dead
// rank.
TEST_P(KilledPeer, Survivors_AreToldTheRankInTime) {
  const Killing& row = GetParam();
  const int victim = row.n - 1;
  SharedCounter done;
  const auto results = fork_ranks(row.n, [&](int rank) {
    set_launch(rank, row.n, row.name);
    tuttiComm_t comm = join_launch();
    std::vector<int> buffer(1 << 16);
    for (int k = 0; k < row.warm_up; ++k) EXPECT_TUTTI(row.call(comm, buffer.data()));
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    if (rank == victim) ::raise(SIGKILL);
    const int64_t start = now_ns();
    tuttiResult_t result = tuttiSuccess;
    while (result == tuttiSuccess) result = row.call(comm, buffer.data());
    EXPECT_LT(now_ns() - start, kNsPerSecond);
    EXPECT_EQ(result, tuttiRemoteError);
    EXPECT_NE(
        std::string(tuttiGetLastError(comm)).find("rank " + std::to_string(victim) + " has died"),
        std::string::npos)
        << tuttiGetLastError(comm);
    done.meet(row.n - 1);  // so that no survivor is taken for a victim
    EXPECT_TUTTI(tuttiCommDestroy(comm));
  });
  std::vector<int> expected(static_cast<size_t>(row.n), 0);
  expected.back() = -SIGKILL;
  EXPECT_EQ(results, expected);
}

tuttiResult_t all_reduce_small(tuttiComm_t comm, int* b) {
  return tuttiAllReduce(b, b, 1, tuttiInt32, tuttiSum, comm, nullptr);
}
tuttiResult_t all_reduce_large(tuttiComm_t comm, int* b) {
  return tuttiAllReduce(b, b, 1 << 16, tuttiInt32, tuttiSum, comm, nullptr);
}
tuttiResult_t reduce_small(tuttiComm_t comm, int* b) {
  const tuttiResult_t result = tuttiReduce(b, b, 1, tuttiInt32, tuttiSum, 0, comm, nullptr);
  return result == tuttiSuccess ? tuttiBarrier(comm, nullptr) : result;
}
tuttiResult_t wait_for_last(tuttiComm_t comm, int*) {
  int n = 0;
  tuttiCommCount(comm, &n);
  tuttiWaitSignalDesc_t wait{1, n - 1, 0, 0};
  return tuttiWaitSignal(1, &wait, comm, nullptr);
}
INSTANTIATE_TEST_SUITE_P(Table, KilledPeer,
                         ::testing::Values(Killing{"SmallWarm", 4, 3, all_reduce_small},
                                           Killing{"SmallCold", 4, 0, all_reduce_small},
                                           Killing{"LargeWarm", 4, 3, all_reduce_large},
                                           Killing{"LargeCold", 5, 0, all_reduce_large},
                                           Killing{"ReduceCold", 4, 0, reduce_small},
                                           Killing{"WaitSignal", 5, 0, wait_for_last}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tutti::testing
