// SPDX-License-Identifier: Apache-2.0
// The small parts of a communicator, each by itself.
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "src/base/hash.h"
#include "src/base/wait.h"
#include "src/comm/bytes.h"
#include "src/comm/health.h"
#include "src/comm/issue_order.h"
#include "src/comm/notice_board.h"
#include "src/comm/peers.h"
#include "src/comm/redops.h"
#include "src/comm/selection.h"
#include "src/comm/team.h"
#include "src/planner/profile.h"

namespace tutti::comm {
namespace {

TEST(IssueOrder, Tickets_ServedInOrder) {
  IssueOrder order;
  Doorbell bell;
  const uint64_t a = order.take();
  const uint64_t b = order.take();
  EXPECT_TRUE(order.is_turn(a));
  EXPECT_FALSE(order.is_turn(b));
  order.leave(a, bell);
  EXPECT_TRUE(order.is_turn(b));
  EXPECT_FALSE(order.drained());
  order.leave(b, bell);
  EXPECT_TRUE(order.drained());
}

TEST(IssueOrder, LeavingBeforeTheTurn_StillDrains) {
  IssueOrder order;
  Doorbell bell;
  const uint64_t a = order.take();
  const uint64_t b = order.take();
  order.leave(b, bell);
  EXPECT_FALSE(order.drained());
  order.leave(a, bell);
  EXPECT_TRUE(order.drained());
}

TEST(IssueOrder, ManyThreads_OneAtATime) {
  IssueOrder order;
  Doorbell bell;
  int guarded = 0;  // written by the holder of the turn only
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int k = 0; k < 500; ++k) {
        const uint64_t ticket = order.take();
        while (!order.is_turn(ticket)) std::this_thread::yield();
        ++guarded;
        order.leave(ticket, bell);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(guarded, 2000);
  EXPECT_TRUE(order.drained());
}

TEST(Health, FirstFailure_IsKept) {
  Health health;
  EXPECT_TRUE(health.open());
  EXPECT_TRUE(health.fail(StatusCode::kRemoteError, "first"));
  EXPECT_FALSE(health.fail(StatusCode::kInvalidUsage, "second"));
  health.close();
  EXPECT_TRUE(health.broken());
  EXPECT_EQ(health.code(), StatusCode::kRemoteError);
  EXPECT_EQ(health.message(), "first");
}

TEST(Health, ContainedException_IsKept) {
  std::optional<Error> caught;
  EXPECT_TRUE(contained(caught, [] {}).ok());
  EXPECT_FALSE(caught.has_value());
  const Status status = contained(caught, [] { throw Error(StatusCode::kRemoteError, "gone"); });
  EXPECT_EQ(status.code, StatusCode::kRemoteError);
  EXPECT_EQ(status.reason, nullptr);
  EXPECT_STREQ(caught->what(), "gone");
}

TEST(Team, OneThreadWithTwoRanks_IsCrowded) {
  TeamMember a(1001, 0), b(1001, 0);
  a.claim();
  EXPECT_FALSE(a.crowded());
  b.claim();
  EXPECT_TRUE(b.crowded());
  EXPECT_TRUE(a.crowded());
  std::thread([&] {
    b.claim();
    EXPECT_FALSE(b.crowded());
  }).join();
  EXPECT_FALSE(a.crowded());
}

TEST(Team, RanksOfOtherCommunicators_DoNotCount) {
  TeamMember a(1002, 0), b(1003, 0);
  a.claim();
  b.claim();
  EXPECT_FALSE(a.crowded());
  EXPECT_FALSE(b.crowded());
}

TEST(Team, RankThatHasLeft_DoesNotCount) {
  TeamMember a(1004, this_thread_token());
  {
    TeamMember b(1004, this_thread_token());
    EXPECT_TRUE(a.crowded());
  }
  EXPECT_FALSE(a.crowded());
}

TEST(RedOps, CreatedOperation_ResolvesUntilDestroyed) {
  RedOps ops;
  float scalar = 2.5f;
  const int op = ops.create(&scalar, DType::kFloat32, true);
  scalar = 0;
  const ResolvedOp resolved = ops.resolve(op, DType::kFloat32, 4);
  EXPECT_EQ(resolved.op, Op::kPreMulSum);
  float kept;
  std::memcpy(&kept, resolved.scaling.pre, sizeof kept);
  EXPECT_EQ(kept, 2.5f);
  EXPECT_THROW(ops.resolve(op, DType::kFloat64, 4), Error);
  ops.destroy(op);
  EXPECT_THROW(ops.resolve(op, DType::kFloat32, 4), Error);
  EXPECT_EQ(ops.create(&scalar, DType::kFloat32, false), op) << "a freed value is used again";
  EXPECT_EQ(ops.resolve(op, DType::kFloat32, 4).late_scalar, &scalar);
}

TEST(RedOps, Average_DividesByRanks) {
  EXPECT_EQ(RedOps().resolve(4, DType::kInt32, 7).scaling.post_divisor, 7);
}

TEST(Selection, ProtocolAndSizes_FollowTheAgreedTable) {
  AgreedConfig agreed;
  EXPECT_EQ(resolve(agreed).layout.n_areas, 8u);
  EXPECT_TRUE(resolve(agreed).policy.allow_inline);
  EXPECT_EQ(resolve(agreed).policy.pull_min_bytes, UINT64_MAX);
  std::strcpy(agreed.protocol, "staged");
  EXPECT_FALSE(resolve(agreed).policy.allow_inline);
  EXPECT_EQ(resolve(agreed).policy.direct_min_bytes, UINT64_MAX);
  std::strcpy(agreed.protocol, "direct");
  EXPECT_EQ(resolve(agreed).policy.direct_min_bytes, 1u);
  EXPECT_EQ(resolve(agreed).policy.pull_min_bytes, 1u);
  agreed.slots = 3;
  EXPECT_THROW(resolve(agreed), Error);
  agreed.slots = 16;
  agreed.slot_bytes = 100;
  EXPECT_THROW(resolve(agreed), Error);
  agreed.slot_bytes = 4096;
  EXPECT_EQ(resolve(agreed).layout.area_bytes, 4096u);
}

TEST(Selection, SymmetricMemory_IsForGpusOfOneHostWhoseProtocolAllowsIt) {
  const Measured gpus{.n_ranks = 4, .ranks_per_host = 4, .all_devices = true};
  const Measured two_hosts{.n_ranks = 4, .ranks_per_host = 2, .all_devices = true};
  const Measured many{.n_ranks = 65, .ranks_per_host = 65, .all_devices = true};
  AgreedConfig agreed;
  agreed.symmetric_bytes = 100'000;
  EXPECT_EQ(resolve(agreed, {}, gpus).symmetric_bytes, 99'840u) << "whole units";
  EXPECT_EQ(resolve(agreed).symmetric_bytes, 0u);
  EXPECT_EQ(resolve(agreed, {}, two_hosts).symmetric_bytes, 0u);
  EXPECT_EQ(resolve(agreed, {}, many).symmetric_bytes, 0u);
  std::strcpy(agreed.algorithm, "nvls");
  EXPECT_TRUE(resolve(agreed, {}, gpus).nvls);
  EXPECT_EQ(resolve(agreed, {}, gpus).algorithm, "");
  EXPECT_THROW(resolve(agreed), Error) << "ranks of the host";
  EXPECT_THROW(resolve(agreed, {}, two_hosts), Error);
  std::strcpy(agreed.protocol, "staged");
  EXPECT_THROW(resolve(agreed, {}, gpus), Error);
  std::strcpy(agreed.protocol, "direct");
  EXPECT_TRUE(resolve(agreed, {}, gpus).nvls);
  agreed.deterministic = 1;
  EXPECT_THROW(resolve(agreed, {}, gpus), Error);
  agreed = {};
  agreed.symmetric_bytes = 1000;
  EXPECT_THROW(resolve(agreed, {}, gpus), Error);
}

TEST(Selection, Slots_FillTwiceTheSecondLevelWhereThereIsRoom) {
  const auto slots = [](Measured where, uint32_t slot_bytes = 0) {
    AgreedConfig agreed;
    agreed.slot_bytes = slot_bytes;
    return resolve(agreed, {}, where).layout.n_areas;
  };
  const CacheSizes caches{.second_level = 1 << 20, .last_level = 32 << 20};
  EXPECT_EQ(slots({.cores = 2, .ranks_per_host = 2, .caches = caches}), 32u);
  EXPECT_EQ(slots({.cores = 2, .ranks_per_host = 2, .caches = caches}, 4096), 64u) << "the most";
  EXPECT_EQ(slots({.cores = 64, .ranks_per_host = 4, .caches = caches}), 16u) << "of 16 MiB";
  EXPECT_EQ(slots({.cores = 64, .ranks_per_host = 64, .caches = caches}), 8u) << "the fewest";
  EXPECT_EQ(slots({.cores = 2, .ranks_per_host = 4, .caches = caches}), 8u) << "cores are shared";
  EXPECT_EQ(slots({.cores = 2, .ranks_per_host = 8, .caches = caches}), 4u) << "a crowd";
  EXPECT_EQ(slots({.cores = 2, .ranks_per_host = 2}), 8u) << "caches are not known";
}

TEST(Selection, SlotsBetweenHosts_AreLargeAndAWindowTogether) {
  const Measured hosts{.n_ranks = 4, .cores = 2, .ranks_per_host = 2};
  AgreedConfig agreed;
  EXPECT_EQ(resolve(agreed, {}, hosts).layout.area_bytes, 256u << 10);
  EXPECT_EQ(resolve(agreed, {}, hosts).layout.n_areas, 8u);
  agreed.slot_bytes = 64 << 10;
  EXPECT_EQ(resolve(agreed, {}, hosts).layout.n_areas, 32u);
  agreed.slot_bytes = 64;
  EXPECT_EQ(resolve(agreed, {}, hosts).layout.n_areas, 64u) << "the most";
  agreed.slot_bytes = 4 << 20;
  EXPECT_EQ(resolve(agreed, {}, hosts).layout.n_areas, 8u) << "the fewest";
  EXPECT_EQ(resolve({}, {}, {.n_ranks = 4, .ranks_per_host = 4}).layout.area_bytes, 64u << 10);
}

TEST(Selection, Signatures_DifferByCallNumberAndHistory) {
  std::set<uint32_t> seen;
  for (int call = 0; call < 100; ++call) {
    Hasher hash;
    hash.value(call);
    uint32_t history = 0;
    for (int number = 0; number < 100; ++number) {
      history = extended(history, transport::to_signature(hash.finish()));
      EXPECT_EQ(history & ~transport::kSignatureMask, 0u);
      seen.insert(history);
    }
  }
  EXPECT_GT(seen.size(), 9990u);
  EXPECT_NE(extended(extended(0, 4), 8), extended(extended(0, 8), 4));
  // A difference is not forgotten.
  uint32_t one = extended(0, 4), other = extended(0, 8);
  for (int call = 0; call < 1000; ++call) {
    one = extended(one, 12);
    other = extended(other, 12);
    EXPECT_NE(one, other);
  }
}

TEST(Peers, Record_SurvivesEncoding) {
  PeerRecord record{.process = this_process(), .cores = usable_cores()};
  record.transports.push_back({"shm", {std::byte{1}, std::byte{2}}, {std::byte{3}}});
  const auto bytes = encode(record);
  const PeerRecord copy = decode(bytes);
  EXPECT_EQ(copy.process, record.process);
  EXPECT_EQ(copy.cores, record.cores);
  ASSERT_NE(copy.find("shm"), nullptr);
  EXPECT_EQ(copy.find("shm")->address.size(), 2u);
  EXPECT_EQ(copy.find("ib"), nullptr);
  for (size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_THROW(decode(std::span(bytes).first(cut)), Error) << cut;
}

TEST(Peers, HostFacts_UniteCoresOfAHost) {
  std::vector<PeerRecord> records(3);
  records[0].process.host_id = records[1].process.host_id = 1;
  records[2].process.host_id = 2;
  records[0].cores = {0b0001};
  records[1].cores = {0b0110};
  records[2].cores = {0b1111};
  const HostFacts facts = host_facts(records, 0);
  EXPECT_EQ(facts.cores, 3);
  EXPECT_EQ(facts.local_ranks, 2);
  EXPECT_EQ(host_facts(records, 2).local_ranks, 1);
  EXPECT_EQ(facts.hosts.text(), "0,0,1");
  EXPECT_EQ(host_facts(records, 2).hosts, facts.hosts);
}

// Rank 0's layout counts where it is for so many ranks: plans see it, whatever the hosts are.
TEST(Peers, HostFacts_TakeTheLayoutOfRank0) {
  std::vector<PeerRecord> records(4);
  EXPECT_FALSE(host_facts(records, 0).hosts.several());
  records[0].layout.text = "2x2";
  records[1].layout.text = "4x1";
  EXPECT_EQ(host_facts(records, 3).hosts.text(), "2x2");
  EXPECT_EQ(host_facts(records, 3).local_ranks, 4);
  records[0].layout.text = "3x2";  // for another communicator of the job
  EXPECT_FALSE(host_facts(records, 0).hosts.several());
  records[0].layout.text = "2,x";
  EXPECT_THROW(host_facts(records, 0), Error);
}

TEST(Peers, HostFacts_KnowWhetherAllHaveRdma) {
  std::vector<PeerRecord> records(2);
  records[0].transports.push_back({"rdma", {}, {}});
  EXPECT_FALSE(host_facts(records, 0).rdma);
  records[1].transports.push_back({"rdma", {}, {}});
  EXPECT_TRUE(host_facts(records, 0).rdma);
  EXPECT_EQ(resolve({}, {}, {.rdma = true}).network, planner::kRdmaNetwork);
  EXPECT_EQ(resolve({}, {}, {}).network, planner::kTcpNetwork);
  planner::Profile profile;
  profile.parameters.network = {1, 2, 3, 4};
  EXPECT_EQ(resolve({}, {}, {.text = to_json(profile), .rdma = true}).network,
            *profile.parameters.network);
}

TEST(Select, SeveralHosts_TakeTwoLevels) {
  const uint64_t by_rank[] = {7, 7, 3, 3, 9, 9};
  const Selection call{.n_ranks = 6,
                       .cores = 2,
                       .hosts = planner::Hosts::of(by_rank),
                       .block_bytes = 64 << 20,
                       .dtype = DType::kFloat32};
  const Choice choice = select(call, resolve({}));
  EXPECT_TRUE(choice.row->layered) << choice.row->name;
  EXPECT_EQ(choice.request.hosts.text(), "3x2");
  Selection apart = call;
  const uint64_t alone[] = {1, 2, 3, 4, 5, 6};
  apart.hosts = planner::Hosts::of(alone);
  EXPECT_FALSE(select(apart, resolve({})).row->layered);
  EXPECT_FALSE(select(apart, resolve({})).request.hosts.several());
}

TEST(NoticeBoard, Words_RoundTrip) {
  for (const Cause cause : {Cause::kFailed, Cause::kDied, Cause::kTimedOut, Cause::kAborted}) {
    for (const int about : {-1, 0, 70000}) {
      const Notice notice{.from = 3, .about = about, .cause = cause, .position = 40000};
      const Notice back = unpack(pack(notice), 3, about);
      EXPECT_EQ(back.cause, cause);
      EXPECT_EQ(back.code, StatusCode::kRemoteError);
      EXPECT_EQ(back.position, 40000);
      EXPECT_EQ(static_cast<int>(NoticeBoard::encode(notice) >> 32) - 1, about);
    }
  }
}

TEST(Notice, FailureInALaterCollective_DoesNotConcernAnEarlierOne) {
  EXPECT_TRUE(concerns({.position = 5}, 5));
  EXPECT_TRUE(concerns({.position = 5}, 6));
  EXPECT_FALSE(concerns({.position = 5}, 4));
  EXPECT_TRUE(concerns({.position = 65535}, 1)) << "the numbers wrap";
  EXPECT_FALSE(concerns({.position = 1}, 65535));
}

TEST(NoticeBoard, OwnSignals_AreCounted) {
  MemoryBudget budget;
  NoticeBoard board(4, budget);
  EXPECT_FALSE(board.notice(0).has_value());
  board.signal_self(2, 7);
  board.signal_self(2, 7);
  EXPECT_EQ(board.signals(2, 7), 2u);
  EXPECT_EQ(board.signals(2, 6), 0u);
  EXPECT_GT(budget.used_bytes(), 0u);
}

}  // namespace
}  // namespace tutti::comm
