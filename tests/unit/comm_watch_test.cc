// SPDX-License-Identifier: Apache-2.0
// What becomes of kernels: noted when they end, named and ended when they can't go on.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <sys/wait.h>

#include "src/bootstrap/bootstrap.h"
#include "src/comm/setup.h"
#include "src/trace/reader.h"
#include "tests/unit/comm_watch_support.h"

// A forked rank starts threads of its own, which thread sanitizer refuses by default.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace tutti::comm {
namespace {

using testing::device_ranks;
using testing::DeviceRank;
using testing::eventually;
using ::testing::HasSubstr;
using testing::options_with;

constexpr int64_t kNever = 0;
constexpr auto kBroadcast = plan::Collective::kBroadcast;

int count_threads(const std::string& name) {
  int n = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string text;
    n += std::getline(file, text) && text == name ? 1 : 0;
  }
  return n;
}

std::string folder() {
  std::string name = ::testing::TempDir() + "tutti-watch-XXXXXX";
  return ::mkdtemp(name.data());
}

trace::Recording recording_in(const std::string& folder) {
  std::vector<std::string> warnings;
  auto all = trace::read_folder(folder, &warnings);
  EXPECT_EQ(all.size(), 1u);
  return all.empty() ? trace::Recording{} : std::move(all.front());
}

// Two ranks as processes; rank 1 is killed while rank 0's kernel waits for it. First, so that the
// child is forked while there is nothing to inherit.
TEST(DeviceWatch, DeadProcess_EndsItsWaitersWithinASecond) {
  int to_child[2], to_parent[2];
  ASSERT_EQ(::pipe(to_child) | ::pipe(to_parent), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    bootstrap::UniqueId id;
    if (::read(to_child[0], &id, sizeof id) != sizeof id) ::_exit(1);
    const auto comm = join(id, {.rank = 1, .n_ranks = 2}, options_with(kNever), nullptr, 0);
    if (::write(to_parent[1], "x", 1) != 1) ::_exit(1);
    while (true) ::pause();
  }
  const bootstrap::UniqueId id = bootstrap::create_unique_id("");
  ASSERT_EQ(::write(to_child[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
  DeviceRank rank(join(id, {.rank = 0, .n_ranks = 2}, options_with(kNever), nullptr, 0));
  char there = 0;
  ASSERT_EQ(::read(to_parent[0], &there, 1), 1);
  rank.launch_and_wait(1);
  sleep_ns(30 * kNsPerMs);
  EXPECT_FALSE(rank.comm->health().broken());
  ::kill(child, SIGKILL);
  EXPECT_TRUE(rank.breaks(kNsPerSecond));
  EXPECT_EQ(rank.comm->health().code(), StatusCode::kRemoteError);
  EXPECT_THAT(rank.comm->health().message(), HasSubstr("rank 1 has died"));
  ::waitpid(child, nullptr, 0);
  for (const int fd : {to_child[0], to_child[1], to_parent[0], to_parent[1]}) ::close(fd);
}

TEST(DeviceWatch, Launches_EndInOrderInJournalAndRecording) {
  const std::string traces = folder();
  auto ranks = device_ranks(1, options_with(kNever, traces));
  DeviceRank& rank = ranks[0];
  for (int i = 0; i < 5; ++i) rank.launch();
  for (uint64_t i = 0; i < 2; ++i) {
    rank.gpu->begin(i);
    rank.gpu->end();
  }
  rank.gpu->begin(2);
  ASSERT_TRUE(eventually([&] { return rank.ended(1); }));
  EXPECT_FALSE(rank.watch->drain(Deadline::after_ns(20 * kNsPerMs)));
  EXPECT_TRUE(rank.ended(1)) << "the third still runs";
  const trace::Recording recording = recording_in(traces);
  ASSERT_EQ(recording.ring.size(), 5u);
  for (size_t i = 0; i < 5; ++i)
    EXPECT_EQ(recording.ring[i].state, i < 2 ? trace::State::kDone : trace::State::kRunning);
  rank.gpu->end();
  for (uint64_t i = 3; i < 5; ++i) {
    rank.gpu->begin(i);
    rank.gpu->end();
  }
  EXPECT_TRUE(rank.watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
  EXPECT_TRUE(rank.ended(4));
  EXPECT_TRUE(rank.last()->ended);
  EXPECT_FALSE(rank.gpu->aborted());
  std::filesystem::remove_all(traces);
}

// More are in flight than the recording has entries: those that were overwritten are let be.
TEST(DeviceWatch, MoreLaunchesThanRecords_EachRecordIsItsOwn) {
  const std::string traces = folder();
  auto ranks = device_ranks(1, options_with(kNever, traces));
  DeviceRank& rank = ranks[0];
  for (int i = 0; i < 40; ++i) rank.launch();
  for (uint64_t i = 0; i < 30; ++i) {
    rank.gpu->begin(i);
    rank.gpu->end();
  }
  ASSERT_TRUE(eventually([&] { return rank.ended(29); }));
  const trace::Recording recording = recording_in(traces);
  ASSERT_EQ(recording.ring.size(), 16u);
  for (const auto& one : recording.ring) {
    EXPECT_EQ(one.state, one.number < 30 ? trace::State::kDone : trace::State::kRunning)
        << one.number;
  }
  std::filesystem::remove_all(traces);
}

TEST(DeviceWatch, Mismatch_NamesBothCallsAndReachesThePeer) {
  auto ranks = device_ranks(2, options_with(kNever));
  ranks[1].launch_and_wait(0, kBroadcast, "Broadcast");
  ranks[0].launch_and_wait(1);
  ranks[0].gpu->find_mismatch(1);
  for (DeviceRank& rank : ranks) {
    ASSERT_TRUE(rank.breaks());
    EXPECT_EQ(rank.comm->health().code(), StatusCode::kInvalidUsage);
    const std::string message = rank.comm->health().message();
    EXPECT_THAT(message, HasSubstr("has called AllReduce"));
    EXPECT_THAT(message, HasSubstr("has called Broadcast"));
  }
}

// Nobody has to receive a wrong message: the journals tell.
TEST(DeviceWatch, WaitingForARankThatCallsSomethingElse_IsNamed) {
  auto ranks = device_ranks(2, options_with(kNever));
  ranks[1].launch(kBroadcast, "Broadcast");
  ranks[0].launch_and_wait(1);
  ASSERT_TRUE(ranks[0].breaks());
  EXPECT_EQ(ranks[0].comm->health().code(), StatusCode::kInvalidUsage);
  EXPECT_THAT(ranks[0].comm->health().message(), HasSubstr("AllReduce #0 (rank 0 of 2): "));
}

TEST(DeviceWatch, Deadline_CountsOnlyWhileAKernelWaits) {
  constexpr int64_t kTimeoutNs = 300 * kNsPerMs;
  auto ranks = device_ranks(2, options_with(kTimeoutNs));
  ranks[0].launch();
  sleep_ns(2 * kTimeoutNs);
  EXPECT_FALSE(ranks[0].comm->health().broken()) << "it is queued behind the user's own work";
  ranks[0].gpu->begin(0);
  sleep_ns(2 * kTimeoutNs);
  EXPECT_FALSE(ranks[0].comm->health().broken()) << "it computes";
  const Deadline moving = Deadline::after_ns(2 * kTimeoutNs);
  for (uint32_t place = 0; !moving.expired(); ++place) {
    ranks[0].gpu->wait_for(1, place);
    sleep_ns(10 * kNsPerMs);
  }
  EXPECT_FALSE(ranks[0].comm->health().broken()) << "it waits for one message after the other";
  ASSERT_TRUE(ranks[0].breaks());
  EXPECT_EQ(ranks[0].comm->health().code(), StatusCode::kRemoteError);
  EXPECT_THAT(ranks[0].comm->health().message(), HasSubstr("rank 1 never entered AllReduce #0"));
}

TEST(DeviceWatch, BrokenOff_EndsKernelsAndRecordsFailures) {
  const std::string traces = folder();
  auto ranks = device_ranks(1, options_with(kNever, traces));
  ranks[0].launch_and_wait(0);
  ranks[0].launch();
  ranks[0].comm->break_off(Cause::kAborted, "tuttiCommAbort");
  ASSERT_TRUE(ranks[0].breaks(kNsPerSecond));
  EXPECT_TRUE(ranks[0].watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
  const trace::Recording recording = recording_in(traces);
  ASSERT_EQ(recording.ring.size(), 2u);
  for (const auto& one : recording.ring) EXPECT_EQ(one.state, trace::State::kFailed);
  // One that was on its way into a stream just then.
  ranks[0].launch();
  EXPECT_TRUE(
      eventually([&] { return recording_in(traces).ring.back().state == trace::State::kFailed; }));
  std::filesystem::remove_all(traces);
}

TEST(DeviceWatch, PeerThatAborts_EndsWhoeverWaits) {
  auto ranks = device_ranks(2, options_with(kNever));
  ranks[0].launch_and_wait(1);
  ranks[1].comm->break_off(Cause::kAborted, "tuttiCommAbort");
  ASSERT_TRUE(ranks[0].breaks(kNsPerSecond));
  EXPECT_THAT(ranks[0].comm->health().message(), HasSubstr("rank 1 has aborted"));
}

TEST(DeviceWatch, GpuThatFails_SaysWhatTheDriverSays) {
  auto ranks = device_ranks(1, options_with(kNever));
  ranks[0].launch();
  ranks[0].gpu->begin(0);
  ranks[0].gpu->crash();
  ASSERT_TRUE(ranks[0].breaks());
  EXPECT_EQ(ranks[0].comm->health().code(), StatusCode::kUnhandledCudaError);
  EXPECT_THAT(ranks[0].comm->health().message(), HasSubstr("an illegal memory access"));
  EXPECT_TRUE(ranks[0].watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
}

TEST(DeviceWatch, ReplaysOfGraphs_AreWatchedToo) {
  auto ranks = device_ranks(2, options_with(100 * kNsPerMs));
  ranks[0].watch->captured(77, "AllGather");
  sleep_ns(20 * kNsPerMs);
  ranks[0].gpu->begin(77, true);
  ranks[0].gpu->end();
  EXPECT_TRUE(ranks[0].watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
  // It neither ends what was launched, nor is it taken for that.
  ranks[0].launch();
  ranks[0].gpu->begin(77, true);
  ranks[0].gpu->wait_for(1);
  ASSERT_TRUE(ranks[0].breaks());
  EXPECT_THAT(ranks[0].comm->health().message(), HasSubstr("AllGather of a captured graph"));
  EXPECT_FALSE(ranks[0].ended(0));
}

// Host ranks sleep, and a kernel can't wake them.
TEST(DeviceWatch, WhileKernelsRun_BellsOfPeersAreRung) {
  auto ranks = device_ranks(2, options_with(kNever));
  ranks[0].comm->path().links.send_to(1, 0);
  ASSERT_NE(ranks[1].comm->path().links.try_recv_from(0, 0), nullptr);
  bool ready = false;
  ASSERT_TRUE(ranks[0].comm->path().links.send_to(1, 0).ready(&ready).ok() && ready);
  Doorbell& bell = ranks[1].comm->bell();
  bell.sleepers.fetch_add(1);
  const uint32_t before = bell.rings;
  sleep_ns(10 * kNsPerMs);
  EXPECT_EQ(bell.rings, before) << "nothing runs";
  ranks[0].launch();
  ranks[0].gpu->begin(0);
  EXPECT_TRUE(eventually([&] { return bell.rings != before; }));
  bell.sleepers.fetch_sub(1);
  ranks[0].gpu->end();
  EXPECT_TRUE(ranks[0].watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
}

TEST(DeviceWatch, ManyCommunicators_OneThreadThatEndsWithTheLast) {
  EXPECT_EQ(count_threads("tutti-watch"), 0);
  std::vector<DeviceRank> ranks;
  for (int i = 0; i < 24; ++i)
    ranks.push_back(std::move(device_ranks(1, options_with(kNever)).front()));
  std::vector<std::thread> users;
  for (DeviceRank& rank : ranks) {
    users.emplace_back([&rank] {
      for (uint64_t i = 0; i < 50; ++i) {
        rank.launch();
        if (i % 3 == 0) continue;
        rank.gpu->begin(i);
        rank.gpu->end();
      }
      for (uint64_t i = 0; i < 17; ++i) {
        rank.gpu->begin(50);
        rank.gpu->end();
      }
      EXPECT_TRUE(rank.watch->drain(Deadline::after_ns(20 * kNsPerSecond)));
      EXPECT_TRUE(rank.ended(49));
    });
  }
  EXPECT_EQ(count_threads("tutti-watch"), 1);
  for (std::thread& user : users) user.join();
  ranks.clear();
  EXPECT_EQ(count_threads("tutti-watch"), 0);
}

// No look comes after the end: nothing of the rank is there any more.
TEST(DeviceWatch, DestroyedWhileKernelsRun_IsNotLookedAtAgain) {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    auto ranks = device_ranks(1, options_with(kNever));
    DeviceRank& rank = ranks[0];
    std::thread gpu([gpu = rank.gpu] {
      for (uint64_t i = 0; i < 8; ++i) {
        gpu->begin(i);
        gpu->end();
      }
    });
    for (int i = 0; i < 8; ++i) rank.launch();
    sleep_ns(static_cast<int64_t>(random() % 2000) * kNsPerUs);
    rank.watch.reset();
    rank.comm.reset();
    gpu.join();
  }
}

}  // namespace
}  // namespace tutti::comm
