// SPDX-License-Identifier: Apache-2.0
// Verdicts on made-up recordings: who never entered, who disagrees, who waits for whom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/kernels/dtypes.h"
#include "src/trace/analysis.h"
#include "src/trace/kinds.h"

namespace tutti::trace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kStartNs = 1'000 * kNsPerSecond;

// A job of n ranks, each a process of its own; operations take 1 ms and begin 1 s apart.
class Job {
 public:
  explicit Job(int n_ranks, const std::string& name = "dp") {
    for (int rank = 0; rank < n_ranks; ++rank) {
      Recording r;
      r.comm_id = 0xabc;
      r.rank = rank;
      r.n_ranks = n_ranks;
      r.host_id = 1;
      r.process_uid = static_cast<uint64_t>(100 + rank);
      r.pid = 4700 + rank;
      r.comm_name = name;
      r.host = "node";
      r.program = "train";
      ranks.push_back(r);
    }
  }
  Operation& add(int rank, plan::Collective what, uint64_t number, State state = State::kDone) {
    Recording& r = ranks[static_cast<size_t>(rank)];
    Operation o;
    o.sequence = r.operations++;
    o.number = number;
    o.state = state;
    o.kind = static_cast<uint8_t>(what);
    o.name = kind_name(o.kind);
    o.dtype = static_cast<uint8_t>(DType::kFloat32);
    o.count = 4096;
    o.begun_ns = o.issued_ns = kStartNs + static_cast<int64_t>(number) * kNsPerSecond;
    if (o.ended()) o.ended_ns = o.begun_ns + kNsPerMs;
    r.last_seen_ns = std::max(o.begun_ns, o.ended_ns);
    r.ring.push_back(o);
    return r.ring.back();
  }
  void all(plan::Collective what, uint64_t number) {
    for (size_t rank = 0; rank < ranks.size(); ++rank) add(static_cast<int>(rank), what, number);
  }
  Recording& at(int rank) { return ranks[static_cast<size_t>(rank)]; }

  std::vector<Recording> ranks;
};

constexpr auto kAllReduce = plan::Collective::kAllReduce;
constexpr auto kBarrier = plan::Collective::kBarrier;

std::vector<Finding> judge(const std::vector<Recording>& recordings, char fate = 'S') {
  const Timeline timeline(recordings);
  return analyse(timeline, [=](const Recording&) { return fate; }).at(0).findings;
}

TEST(Analysis, RankThatNeverEntered_IsNamedWithItsLastCallAndItsProcess) {
  Job job(8);
  job.all(kBarrier, 1204);
  for (const int rank : {0, 1, 2, 4, 5, 6, 7}) {
    Operation& o = job.add(rank, kAllReduce, 1205, State::kRunning);
    o.begun_ns = o.issued_ns = kStartNs + 1204 * kNsPerSecond + kNsPerMs + 12'300 * kNsPerMs;
    o.waiting_for = 3;
  }
  const Timeline timeline(job.ranks);
  const auto all = analyse(timeline, [](const Recording&) { return char{0}; });
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].text(),
            "comm 'dp' (8 ranks): AllReduce #1205 float x 4096 sum was entered by ranks 0-2,4-7; "
            "rank 3 never entered it (last: Barrier #1204, ended 12.3 s before); process 4703 is "
            "gone\n");
  EXPECT_EQ(all[0].findings[0].verdict, Verdict::kNeverEntered);
  EXPECT_THAT(all[0].findings[0].ranks, ElementsAre(3));
}

TEST(Analysis, StoppedAndFinalizedProcesses_AreToldApart) {
  Job job(2);
  job.all(kBarrier, 0);
  job.add(0, kAllReduce, 1, State::kRunning);
  EXPECT_THAT(judge(job.ranks, 'T')[0].text, HasSubstr("process 4701 is stopped"));
  EXPECT_THAT(judge(job.ranks, 'R')[0].text, HasSubstr("process 4701 runs"));
  EXPECT_THAT(judge(job.ranks, '?')[0].text, HasSubstr("on host node"));
  job.at(1).comm_state = CommState::kFinalized;
  EXPECT_THAT(judge(job.ranks, 'R')[0].text, HasSubstr("finalized or destroyed"));
}

TEST(Analysis, OtherCall_IsADivergence) {
  Job job(4);
  job.all(kAllReduce, 4);
  for (const int rank : {0, 1, 3}) job.add(rank, kAllReduce, 5, State::kRunning);
  job.add(2, plan::Collective::kBroadcast, 5, State::kRunning).root = 1;
  const auto findings = judge(job.ranks);
  EXPECT_EQ(findings[0].verdict, Verdict::kDiverged);
  EXPECT_EQ(findings[0].number, 5u);
  EXPECT_THAT(findings[0].ranks, ElementsAre(2));
  EXPECT_THAT(findings[0].text,
              HasSubstr("ranks 0-1,3 call AllReduce #5 float x 4096 sum; rank 2 calls Broadcast #5 "
                        "float x 4096 root 1"));
}

TEST(Analysis, OtherArguments_AreAMismatch) {
  struct Case {
    void (*change)(Operation&);
    const char* text;
    plan::Collective what;
  };
  const Case cases[] = {
      {[](Operation& o) { o.count = 4097; }, "rank 1 calls AllReduce #0 float x 4097", kAllReduce},
      {[](Operation& o) { o.dtype = 8; }, "rank 1 calls AllReduce #0 double x 4096", kAllReduce},
      {[](Operation& o) { o.op = 2; }, "rank 1 calls AllReduce #0 float x 4096 max", kAllReduce},
      {[](Operation& o) { o.root = 2; }, "root 2", plan::Collective::kReduce},
  };
  for (const Case& c : cases) {
    Job job(3);
    job.all(c.what, 0);
    c.change(job.at(1).ring[0]);
    const auto findings = judge(job.ranks);
    EXPECT_EQ(findings[0].verdict, Verdict::kMismatch) << c.text;
    EXPECT_THAT(findings[0].ranks, ElementsAre(1));
    EXPECT_THAT(findings[0].text, HasSubstr(c.text));
  }
}

TEST(Analysis, DifferencesThatAreAllowed_AreNone) {
  Job job(2);
  job.all(kBarrier, 0);
  job.at(1).ring[0].count = 7;
  job.at(1).ring[0].dtype = 3;
  job.all(plan::Collective::kAllToAll, 1);
  job.at(0).ring[1].flags = job.at(1).ring[1].flags = kUneven | kCountsDiffer;
  job.at(1).ring[1].count = 5;
  job.all(plan::Collective::kAllGather, 2);
  job.at(1).ring[2].op = 1;
  EXPECT_EQ(judge(job.ranks)[0].verdict, Verdict::kHealthy);
}

TEST(Analysis, AllInside_TellsWhoWaitsForWhom) {
  Job job(3);
  for (int rank = 0; rank < 3; ++rank)
    job.add(rank, kAllReduce, 0, State::kRunning).waiting_for = (rank + 1) % 3;
  const auto findings = judge(job.ranks);
  EXPECT_EQ(findings[0].verdict, Verdict::kInside);
  EXPECT_THAT(findings[0].text, HasSubstr("rank 0 waits for rank 1; rank 1 waits for rank 2; rank "
                                          "2 waits for rank 0"));
}

TEST(Analysis, RankThatDiedAfterTheOthersOpenCollective_IsNamed) {
  Job job(3);
  job.all(kBarrier, 0);
  for (const int rank : {0, 1}) job.at(rank).ring.back().state = State::kRunning;
  const auto alive = judge(job.ranks, 'S');
  EXPECT_EQ(alive[0].verdict, Verdict::kInside);
  EXPECT_THAT(alive[0].text, Not(HasSubstr("rank 2")));
  const auto findings = judge(job.ranks, 0);
  EXPECT_EQ(findings[0].verdict, Verdict::kInside);
  EXPECT_THAT(findings[0].text,
              HasSubstr("has not ended on ranks 0-1; rank 2 ended it and called nothing after it, "
                        "process 4702 is gone; rank 0: process 4700 is gone"));
  EXPECT_THAT(findings[0].ranks, testing::ElementsAre(2, 0, 1));
}

// Two communicators whose ranks enter them in another order.
TEST(Analysis, QueuedBehindAnotherCommunicator_IsNamed) {
  Job one(2, "one");
  Job two(2, "two");
  for (Recording& r : two.ranks) r.comm_id = 0xdef;
  one.add(0, kAllReduce, 0, State::kRunning).waiting_for = 1;
  two.add(1, kAllReduce, 0, State::kRunning).waiting_for = 0;
  std::vector<Recording> both = one.ranks;
  both.insert(both.end(), two.ranks.begin(), two.ranks.end());
  const Timeline timeline(both);
  const auto all = analyse(timeline, [](const Recording&) { return 'S'; });
  ASSERT_EQ(all.size(), 2u);
  EXPECT_THAT(all[0].text(), HasSubstr("comm 'one' (2 ranks): AllReduce #0"));
  EXPECT_THAT(all[0].text(),
              HasSubstr("rank 1 never entered it (it has called nothing); its process is in "
                        "AllReduce #0 float x 4096 sum of comm 'two' (2 ranks) as rank 1, waiting "
                        "for rank 0"));
  EXPECT_THAT(all[1].text(), HasSubstr("of comm 'one' (2 ranks) as rank 0"));
}

TEST(Analysis, QueuedCall_CountsAsEntered) {
  Job job(2);
  job.add(0, kAllReduce, 0, State::kRunning).waiting_for = 1;
  Operation queued = job.at(0).ring[0];
  queued.state = State::kQueued;
  job.at(1).queue.push_back(queued);
  const auto findings = judge(job.ranks);
  EXPECT_EQ(findings[0].verdict, Verdict::kInside);
  EXPECT_THAT(findings[0].text, HasSubstr("rank 1 has it queued, waiting for its turn"));
}

TEST(Analysis, OpenReceive_NamesThePeer) {
  Job job(2);
  job.all(kBarrier, 0);
  Operation& receive = job.add(0, kBarrier, 1, State::kRunning);
  receive.kind = static_cast<uint8_t>(Kind::kRecv);
  receive.name = "Recv";
  receive.root = receive.waiting_for = 1;
  const auto findings = judge(job.ranks);
  EXPECT_EQ(findings[0].verdict, Verdict::kTransfer);
  EXPECT_THAT(findings[0].text, HasSubstr("rank 0 is in Recv #1 float x 4096 from rank 1"));
  EXPECT_THAT(findings[0].text, HasSubstr("waiting for rank 1 (last: Barrier #0"));
}

TEST(Analysis, MissingFilesAndFailures_AreReported) {
  Job job(4);
  job.all(kAllReduce, 0);
  job.at(2).comm_state = CommState::kFailed;
  job.at(2).failure = "no memory";
  job.ranks.erase(job.ranks.begin() + 1);
  const auto findings = judge(job.ranks);
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_THAT(findings[0].text, HasSubstr("rank 2 was the first: no memory"));
  EXPECT_EQ(findings[1].verdict, Verdict::kMissing);
  EXPECT_THAT(findings[1].ranks, ElementsAre(1));
}

TEST(Analysis, RankThatIsOftenLast_IsTheStraggler) {
  Job job(3);
  for (uint64_t k = 0; k < 20; ++k) {
    job.all(kAllReduce, k);
    for (int rank = 0; rank < 3; ++rank)
      job.at(rank).ring.back().issued_ns += rank == 1 ? 2 * kNsPerMs : 0;
  }
  const auto findings = judge(job.ranks);
  EXPECT_EQ(findings[0].verdict, Verdict::kStraggler);
  EXPECT_EQ(findings[0].text,
            "rank 1 entered last in 20 of 20 collectives, 2 ms after the first rank on average");
}

TEST(Analysis, RecordsThatTheRingHasDropped_AreNotMissed) {
  Job job(2);
  for (uint64_t k = 0; k < 30; ++k) {
    job.add(0, kAllReduce, k);
    if (k >= 20) job.add(1, kAllReduce, k);
  }
  EXPECT_EQ(judge(job.ranks)[0].verdict, Verdict::kHealthy);
}

TEST(Timeline, ClocksOfTwoHosts_AreRelatedByTheirWallClocks) {
  Job job(2);
  job.at(0).wall_offset_ns = 500;
  job.at(1).host_id = 2;
  job.at(1).wall_offset_ns = -300;
  const Timeline timeline(job.ranks);
  EXPECT_EQ(timeline.common_ns(job.ranks[0], 1000), 1500);
  EXPECT_EQ(timeline.common_ns(job.ranks[1], 1000), 700);
}

TEST(RankList, Runs_AreShortened) {
  EXPECT_EQ(rank_list({0, 1, 2, 4, 6, 7}), "0-2,4,6-7");
  EXPECT_EQ(ranks_text({5}), "rank 5");
}

}  // namespace
}  // namespace tutti::trace
