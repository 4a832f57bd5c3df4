// SPDX-License-Identifier: Apache-2.0
// Calls that are made again and again, which go a shorter way from the second time on: the same
// results, checks and errors.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

using Ints = std::vector<int32_t>;

// One rank's calls; all ranks make the same.
class Caller {
 public:
  Caller(int n, int rank, tuttiComm_t comm) : n_(n), rank_(rank), comm_(comm) {}

  void call(uint32_t round) {
    round_ = static_cast<int>(round);
    count_ = kCounts[round / kKinds % kCounts.size()];
    in_place_ = round / 3 % 2 == 1;
    root_ = static_cast<int>(round) % n_;
    switch (round % kKinds) {
      case 0:
        return all_reduce(tuttiSum);
      case 1:
        return all_reduce(tuttiMax);
      case 2:
        return all_gather();
      case 3:
        return reduce_scatter();
      case 4:
        return broadcast();
      case 5:
        return all_to_all();
      case 6:
        return average();
      default:
        EXPECT_TUTTI(tuttiBarrier(comm_, nullptr));
    }
  }
  static constexpr uint32_t kKinds = 8;

 private:
  inline static const std::vector<size_t> kCounts = {1, 2, 3, 14, 15, 1000, 5000, 12000};

  int32_t input(int rank, size_t i) const { return value(rank, i, round_); }
  Ints inputs(size_t blocks) const {
    Ints in(blocks * count_);
    for (size_t i = 0; i < in.size(); ++i) in[i] = input(rank_, i);
    return in;
  }
  int32_t folded(size_t i, tuttiRedOp_t op) const {
    int32_t all = input(0, i);
    for (int rank = 1; rank < n_; ++rank)
      all = op == tuttiMax ? std::max(all, input(rank, i)) : all + input(rank, i);
    return all;
  }
  template <typename Expected>
  void expect(const Ints& got, Expected&& expected) const {
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], expected(i)) << "rank " << rank_ << " round " << round_ << " element " << i;
  }
  size_t blocks() const { return static_cast<size_t>(n_); }

  void all_reduce(tuttiRedOp_t op) {
    Ints in = inputs(1), out(count_);
    Ints& to = in_place_ ? in : out;
    EXPECT_TUTTI(tuttiAllReduce(in.data(), to.data(), count_, tuttiInt32, op, comm_, nullptr));
    expect(to, [&](size_t i) { return folded(i, op); });
  }
  void average() {
    std::vector<double> in(count_), out(count_);
    for (size_t i = 0; i < count_; ++i) in[i] = input(rank_, i);
    EXPECT_TUTTI(
        tuttiAllReduce(in.data(), out.data(), count_, tuttiFloat64, tuttiAvg, comm_, nullptr));
    for (size_t i = 0; i < count_; ++i)
      ASSERT_DOUBLE_EQ(out[i], static_cast<double>(folded(i, tuttiSum)) / n_);
  }
  void all_gather() {
    Ints in = inputs(1), out(blocks() * count_);
    int32_t* own = out.data() + static_cast<size_t>(rank_) * count_;
    if (in_place_) std::copy(in.begin(), in.end(), own);
    EXPECT_TUTTI(tuttiAllGather(in_place_ ? own : in.data(), out.data(), count_, tuttiInt32, comm_,
                                nullptr));
    expect(out, [&](size_t i) { return input(static_cast<int>(i / count_), i % count_); });
  }
  void reduce_scatter() {
    Ints in = inputs(blocks()), out(count_);
    const size_t own = static_cast<size_t>(rank_) * count_;
    EXPECT_TUTTI(tuttiReduceScatter(in.data(), in_place_ ? in.data() + own : out.data(), count_,
                                    tuttiInt32, tuttiSum, comm_, nullptr));
    if (in_place_)
      out.assign(in.begin() + static_cast<std::ptrdiff_t>(own),
                 in.begin() + static_cast<std::ptrdiff_t>(own + count_));
    expect(out, [&](size_t i) { return folded(own + i, tuttiSum); });
  }
  void broadcast() {
    Ints in = inputs(1), out(count_);
    Ints& to = in_place_ ? in : out;
    EXPECT_TUTTI(tuttiBroadcast(in.data(), to.data(), count_, tuttiInt32, root_, comm_, nullptr));
    expect(to, [&](size_t i) { return input(root_, i); });
  }
  void all_to_all() {
    const Ints in = inputs(blocks());
    Ints out(blocks() * count_);
    EXPECT_TUTTI(tuttiAllToAll(in.data(), out.data(), count_, tuttiInt32, comm_, nullptr));
    const size_t own = static_cast<size_t>(rank_) * count_;
    expect(out, [&](size_t i) { return input(static_cast<int>(i / count_), own + i % count_); });
  }

  int n_, rank_;
  tuttiComm_t comm_;
  int round_ = 0;
  size_t count_ = 0;
  bool in_place_ = false;
  int root_ = 0;
};

class Repeated : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, Repeated, ::testing::Values(1, 2, 3, 5));

TEST_P(Repeated, CallsInTurns_GiveTheRightResults) {
  World world(GetParam());
  world.each([&](int rank, tuttiComm_t comm) {
    Caller caller(GetParam(), rank, comm);
    for (uint32_t round = 0; round < 4 * 8 * Caller::kKinds; ++round) caller.call(round);
  });
}

TEST_P(Repeated, EachCallManyTimes_GivesTheRightResults) {
  World world(GetParam());
  world.each([&](int rank, tuttiComm_t comm) {
    Caller caller(GetParam(), rank, comm);
    for (uint32_t kind = 0; kind < Caller::kKinds; ++kind) {
      for (uint32_t time = 0; time < 40; ++time)
        caller.call(kind + (time % 2) * 3 * Caller::kKinds);
    }
  });
}

// Of two ranks that share one number each.
tuttiResult_t sum(tuttiComm_t comm, int32_t* in, int32_t* out, size_t count = 1) {
  return tuttiAllReduce(in, out, count, tuttiInt32, tuttiSum, comm, nullptr);
}

// What a C caller can pass.
template <typename Enum>
Enum as(int number) {
  Enum argument;
  std::memcpy(&argument, &number, sizeof argument);
  return argument;
}

// Ranks with a deadline of their own.
void with_timeout(double seconds, const std::function<void(int rank, tuttiComm_t comm)>& body) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
      config.timeoutSeconds = seconds;
      tuttiComm_t comm = nullptr;
      EXPECT_TUTTI(tuttiCommInitRankConfig(&comm, 2, id, rank, &config));
      body(rank, comm);
      EXPECT_TUTTI(tuttiCommDestroy(comm));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RepeatedCall, WrongBuffers_AreRefusedAndNothingBreaks) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    int32_t in[3] = {rank, rank, rank}, out[3] = {};
    for (int i = 0; i < 3; ++i) EXPECT_TUTTI(sum(comm, in, out, 2));
    expect_error(sum(comm, in, in + 1, 2), tuttiInvalidArgument, {"sendbuff", "overlap"});
    expect_error(sum(comm, nullptr, out, 2), tuttiInvalidArgument, {"sendbuff is NULL"});
    expect_error(sum(comm, in, nullptr, 2), tuttiInvalidArgument, {"recvbuff is NULL"});
    EXPECT_TUTTI(sum(comm, in, in, 2));
    EXPECT_EQ(in[0], 1);
  });
}

// Every size that goes in a line, both collectives whose ranks exchange one message each, in place
// and apart, again and again.
TEST(RepeatedCall, OfEverySmallSize_GivesTheRightResults) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    std::array<int8_t, 128> in{}, out{};
    for (size_t count = 1; count <= 60; ++count) {
      for (int time = 0; time < 6; ++time) {
        for (size_t i = 0; i < 2 * count; ++i) in[i] = static_cast<int8_t>(value(rank, i, time));
        const auto sum_of = [&](size_t i) {
          return static_cast<int8_t>(value(0, i, time) + value(1, i, time));
        };
        out.fill(77);
        EXPECT_TUTTI(
            tuttiReduceScatter(in.data(), out.data(), count, tuttiInt8, tuttiSum, comm, nullptr));
        for (size_t i = 0; i < count; ++i)
          ASSERT_EQ(out[i], sum_of(static_cast<size_t>(rank) * count + i)) << count << " " << i;
        ASSERT_EQ(out[count], 77);
        auto& to = time % 2 == 0 ? out : in;
        to[count] = 78;
        EXPECT_TUTTI(
            tuttiAllReduce(in.data(), to.data(), count, tuttiInt8, tuttiSum, comm, nullptr));
        for (size_t i = 0; i < count; ++i) ASSERT_EQ(to[i], sum_of(i)) << count << " " << i;
        ASSERT_EQ(to[count], 78);
      }
    }
  });
}

// Arguments that would name another call if only a part of them were looked at.
TEST(RepeatedCall, WithArgumentsThatAreNone_IsRefused) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    for (const int beyond : {0x100, 0x10000, -256}) {
      const auto dtype = static_cast<int>(tuttiInt32) + beyond;
      const auto op = static_cast<int>(tuttiSum) + beyond;
      expect_error(
          tuttiAllReduce(&in, &out, 1, as<tuttiDataType_t>(dtype), tuttiSum, comm, nullptr),
          tuttiInvalidArgument, {"datatype"});
      expect_error(tuttiAllReduce(&in, &out, 1, tuttiInt32, as<tuttiRedOp_t>(op), comm, nullptr),
                   tuttiInvalidArgument, {"op"});
    }
    EXPECT_TUTTI(sum(comm, &in, &out));
    EXPECT_EQ(out, 1);
  });
}

TEST(RepeatedCall, OnAHandleThatIsNone_IsRefused) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    expect_error(sum(nullptr, &in, &out), tuttiInvalidArgument, {"comm is NULL"});
    const auto beside = [&](ptrdiff_t bytes) {
      return reinterpret_cast<tuttiComm_t>(reinterpret_cast<uintptr_t>(comm) +
                                           static_cast<uintptr_t>(bytes));
    };
    for (const ptrdiff_t bytes : {1, 8, -8, 1 << 30, -(1 << 30)})
      expect_error(sum(beside(bytes), &in, &out), tuttiInvalidArgument, {"comm"});
    EXPECT_TUTTI(sum(comm, &in, &out));
  });
}

TEST(RepeatedCall, AfterAnAbort_IsRefused) {
  with_timeout(5, [](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    EXPECT_TUTTI(tuttiCommRevoke(comm, 0));
    EXPECT_NE(sum(comm, &in, &out), tuttiSuccess);
  });
}

// A child inherits handle, memory and what is known of its thread, but takes no rank's place.
TEST(RepeatedCall, InAForkedChild_IsRefused) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "a child of a process with threads does not get on with the thread sanitizer";
#endif
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    if (rank == 0) {
      const pid_t child = ::fork();
      if (child == 0) {
        ::alarm(20);
        const bool refused = sum(comm, &in, &out) == tuttiInvalidUsage;
        ::_exit(refused ? 0 : 1);
      }
      int status = -1;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    EXPECT_TUTTI(sum(comm, &in, &out));
    EXPECT_EQ(out, 1);
  });
}

TEST(RepeatedCall, WithAStreamOrInAGroup_KeepsItsPlaceInTheOrder) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    StreamHandle stream;
    int32_t in = rank + 1, out = 0, queued = 0;
    for (int i = 0; i < 20; ++i) {
      EXPECT_TUTTI(sum(comm, &in, &out));
      EXPECT_TUTTI(tuttiAllReduce(&in, &queued, 1, tuttiInt32, tuttiMax, comm, stream));
      EXPECT_TUTTI(sum(comm, &in, &out));
      EXPECT_TUTTI(tuttiGroupStart());
      EXPECT_TUTTI(sum(comm, &in, &out));
      EXPECT_TUTTI(tuttiGroupEnd());
      EXPECT_TUTTI(tuttiStreamSynchronize(stream));
      ASSERT_EQ(out, 3);
      ASSERT_EQ(queued, 2);
    }
  });
}

TEST(RepeatedCall, WhosePeerComesLate_Completes) {
  with_timeout(20, [](int rank, tuttiComm_t comm) {
    for (int i = 0; i < 20; ++i) {
      int32_t in = rank + i, out = 0;
      if (rank == i % 2) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      EXPECT_TUTTI(sum(comm, &in, &out));
      ASSERT_EQ(out, 2 * i + 1);
    }
  });
}

TEST(RepeatedCall, WhosePeerNeverComes_FailsAtTheDeadlineAndNamesIt) {
  with_timeout(0.3, [](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    if (rank == 0) {
      expect_error(sum(comm, &in, &out), tuttiRemoteError, {"AllReduce #5", "rank 1"});
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    }
  });
}

TEST(RepeatedCall, ThatPeersDisagreeOn_IsNamedOnBoth) {
  with_timeout(5, [](int rank, tuttiComm_t comm) {
    int32_t in[2] = {rank, rank}, out[2] = {};
    for (int i = 0; i < 5; ++i) {
      EXPECT_TUTTI(sum(comm, in, out, 1));
      EXPECT_TUTTI(sum(comm, in, out, 2));
    }
    expect_error(sum(comm, in, out, rank == 0 ? 1 : 2), tuttiInvalidUsage,
                 {"AllReduce #10", "count"});
  });
}

TEST(RepeatedCall, ThatWaits_IsEndedByAnAbort) {
  with_timeout(60, [](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    for (int i = 0; i < 5; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    if (rank == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      EXPECT_TUTTI(tuttiCommRevoke(comm, 0));
      return;
    }
    expect_error(sum(comm, &in, &out), tuttiRemoteError, {"revoked"});
  });
}

TEST(RepeatedCall, IsCountedAndRecordedLikeTheFirst) {
  World world(2);
  world.each([](int rank, tuttiComm_t comm) {
    int32_t in = rank, out = 0;
    tuttiCommStats_t before = TUTTI_COMM_STATS_INITIALIZER, after = TUTTI_COMM_STATS_INITIALIZER;
    EXPECT_TUTTI(sum(comm, &in, &out));
    EXPECT_TUTTI(tuttiCommGetStats(comm, &before));
    for (int i = 0; i < 10; ++i) EXPECT_TUTTI(sum(comm, &in, &out));
    EXPECT_TUTTI(tuttiCommGetStats(comm, &after));
    EXPECT_EQ(after.operations - before.operations, 10U);
    EXPECT_EQ(after.bytes[0] - before.bytes[0], 10 * sizeof in);
    EXPECT_STREQ(after.lastProtocol, "inline");
  });
}

}  // namespace
}  // namespace tutti::testing
