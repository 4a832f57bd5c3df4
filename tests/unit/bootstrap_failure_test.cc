// SPDX-License-Identifier: Apache-2.0
// What ranks hear when a rendezvous or an all-gather can't succeed, and strangers at the door.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/wait.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/handshake.h"
#include "src/bootstrap/root.h"
#include "src/bootstrap/wire.h"
#include "tests/unit/bootstrap_test_support.h"

namespace tutti::bootstrap {
namespace {

using testing::HasSubstr;

Deadline in_ms(int64_t ms) { return Deadline::after_ns(ms * kNsPerMs); }

std::string random_name() {
  uint64_t number = 0;
  fill_random(std::as_writable_bytes(std::span(&number, 1)));
  return std::to_string(number);
}

TEST(Join_VeryManyRanksMissing, NamesTheFirst) {
  const UniqueId id = create_unique_id("");
  const Outcome outcome =
      outcome_of([&] { Bootstrap::join(id, INT32_MAX, 1, in_ms(100), nullptr); });
  EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
  EXPECT_THAT(outcome.text, HasSubstr("ranks 0, 2, 3, "));
  EXPECT_THAT(outcome.text, HasSubstr("16 and 2147483630 more of 2147483647 did not come"));
}

TEST(Join_RanksMissing, EveryRankHearsWhich) {
  const UniqueId id = create_unique_id("");
  const int present[] = {0, 1, 2, 4, 6, 7};
  const auto outcomes =
      run_threads(6, [&](int i) { Bootstrap::join(id, 8, present[i], in_ms(1000), nullptr); });
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
    EXPECT_THAT(outcome.text,
                HasSubstr("ranks 3 and 5 of 8 did not come within 1.0 s (6 are here)"));
  }
  const Outcome late = outcome_of([&] { Bootstrap::join(id, 8, 3, soon(), nullptr); });
  EXPECT_EQ(late.code, StatusCode::kRemoteError);
  EXPECT_THAT(late.text, HasSubstr("ranks 3 and 5 of 8 did not come"));
}

TEST(Join_TwoProcessesClaimOneRank, AllHearBothNames) {
  const UniqueId id = create_unique_id("");
  const int claimed[] = {0, 1, 1};
  const int64_t start_ns = now_ns();
  const auto outcomes =
      run_threads(3, [&](int i) { Bootstrap::join(id, 4, claimed[i], soon(), nullptr); });
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.code, StatusCode::kInvalidUsage);
    EXPECT_THAT(outcome.text,
                HasSubstr("two processes claim one rank: rank 1 (host " + host_name() + ", pid "));
    EXPECT_THAT(outcome.text, HasSubstr(" and rank 1 (host "));
  }
  EXPECT_LT(now_ns() - start_ns, 20 * kNsPerSecond);
}

TEST(Join_SizesDiffer, AllHearBothSizes) {
  const UniqueId id = create_unique_id("");
  const auto outcomes =
      run_threads(2, [&](int rank) { Bootstrap::join(id, 4 + rank, rank, soon(), nullptr); });
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.code, StatusCode::kInvalidUsage);
    EXPECT_THAT(outcome.text, HasSubstr("4"));
    EXPECT_THAT(outcome.text, HasSubstr("give all processes the same number of ranks"));
  }
}

TEST(Join_WrongKey_IsTurnedAwayAndHarmsNobody, TwoRanks) {
  const UniqueId id = create_unique_id("");
  UniqueIdFields forged = unpack(id);
  fill_random(forged.key);
  const auto outcomes = run_threads(
      3, [&](int i) { Bootstrap::join(i < 2 ? id : pack(forged), 2, i % 2, soon(), nullptr); });
  EXPECT_EQ(outcomes[0].text, "");
  EXPECT_EQ(outcomes[1].text, "");
  EXPECT_EQ(outcomes[2].code, StatusCode::kRemoteError);
  EXPECT_THAT(outcomes[2].text, HasSubstr("key"));
}

TEST(Join_HostWithAnotherKey_IsNotBelieved, TheRankSaysSo) {
  // A stranger that records nothing and answers with noise in place of a proof.
  Listener stranger = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
  UniqueIdFields fields{.address = stranger.address()};
  std::thread host([&] {
    Socket socket = std::move(*stranger.accept(soon()));
    Bytes noise(sizeof(Nonce) + wire_bytes<Assignment>() + sizeof(Mac));
    fill_random(noise);
    socket.send_all(noise, soon());
    Bytes hello(sizeof(Nonce) + wire_bytes<Registration>() + sizeof(Mac));
    socket.receive_all(hello, soon());
  });
  const Outcome outcome = outcome_of([&] { Bootstrap::join(pack(fields), 2, 0, soon(), nullptr); });
  host.join();
  EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
  EXPECT_THAT(outcome.text, HasSubstr("did not prove the id's key"));
}

TEST(Join_NoiseAndHalfOpenConnections_DoNotStopIt, EightRanks) {
  const UniqueId id = create_unique_id("");
  const SocketAddress root = unpack(id).address;
  std::vector<Socket> strangers;
  for (int i = 0; i < 24; ++i)
    strangers.push_back(Socket::connect(root, SocketKind::kStream, soon()));
  for (int i = 0; i < 12; ++i) {
    Bytes noise(static_cast<size_t>(1 + i * 50));
    fill_random(noise);
    strangers[static_cast<size_t>(i)].send_all(noise, soon());
  }
  const auto outcomes = run_threads(8, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, 8, rank, soon(), nullptr);
    bootstrap->all_gather(pattern(rank, 100), soon());
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

TEST(Join_MoreStrangersThanPlaces_WaitsUntilTheyAreDismissed, TwoRanks) {
  const UniqueId id = create_unique_id("");
  const SocketAddress root = unpack(id).address;
  std::vector<Socket> strangers;
  for (int i = 0; i < Gate::kMaxOpen + 4; ++i)
    strangers.push_back(Socket::connect(root, SocketKind::kStream, soon()));
  const auto outcomes =
      run_threads(2, [&](int rank) { Bootstrap::join(id, 2, rank, soon(), nullptr); });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

// What a rank sends to a listener that poses as the root: a proof that is good for that listener's
// challenge only.
Bytes record_hello(const UniqueId& id) {
  UniqueIdFields fields = unpack(id);
  fields.address.port = 0;
  Listener listener = Listener::bind(fields.address, SocketKind::kStream);
  fields.address = listener.address();
  std::thread rank([&fields] {
    EXPECT_THROW(Bootstrap::join(pack(fields), 2, 1, Deadline::after_ns(kNsPerSecond), nullptr),
                 Error);
  });
  Socket socket = listener.accept(soon()).value();
  Bytes challenge(sizeof(Nonce));
  fill_random(challenge);
  socket.send_all(challenge, soon());
  Bytes hello(sizeof(Nonce) + wire_bytes<Registration>() + sizeof(Mac));
  socket.receive_all(hello, soon());
  socket = Socket();
  rank.join();
  return hello;
}

TEST(Join_UnderAttack_Completes, ThousandHalfOpenAndReplayedAndRandom) {
  const UniqueId id = create_unique_id("");
  const SocketAddress root = unpack(id).address;
  const Bytes replay = record_hello(id);
  std::vector<Socket> strangers;
  for (int i = 0; i < 1000; ++i)
    strangers.push_back(Socket::connect(root, SocketKind::kStream, soon()));
  for (int i = 0; i < 100; ++i) {
    Bytes noise(replay.size());
    fill_random(noise);
    strangers[static_cast<size_t>(i * 10)].send_all(i % 2 == 0 ? replay : noise, soon());
  }
  const auto outcomes = run_threads(4, [&](int rank) {
    const auto bootstrap =
        Bootstrap::join(id, 4, rank, Deadline::after_ns(30 * kNsPerSecond), nullptr);
    bootstrap->all_gather(pattern(rank, 100), soon());
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
}

TEST(Join_DismissedInACrowd_ComesAgain, OneRank) {
  // A door that closes on the first visitor, and then is the root's: what one sees who is too slow
  // in a crowd.
  UniqueIdFields fields{.address = SocketAddress::parse("@tutti-test-" + random_name())};
  fill_random(fields.key);
  std::optional<Listener> door = Listener::bind(fields.address, SocketKind::kStream);
  std::thread keeper([&] {
    Socket first = door->accept(soon()).value();
    Bytes challenge(sizeof(Nonce));
    fill_random(challenge);
    first.send_all(challenge, soon());
    door.reset();
    Root::start(fields.address, fields.key);
    first = Socket();
  });
  const Outcome outcome = outcome_of([&] { Bootstrap::join(pack(fields), 1, 0, soon(), nullptr); });
  keeper.join();
  EXPECT_EQ(outcome.text, "");
}

TEST(Join_Aborted_ReturnsWithin100Ms, AndTheOthersHearIt) {
  const UniqueId id = create_unique_id("");
  std::atomic<bool> aborted{false};
  std::atomic<int64_t> set_ns{0};
  std::atomic<int64_t> back_ns{0};
  std::thread aborter([&] {
    sleep_ns(300 * kNsPerMs);
    set_ns = now_ns();
    aborted = true;
  });
  const auto outcomes = run_threads(3, [&](int rank) {
    try {
      Bootstrap::join(id, 4, rank, soon(), rank == 1 ? &aborted : nullptr);
    } catch (const Error&) {
      if (rank == 1) back_ns = now_ns();
      throw;
    }
  });
  aborter.join();
  EXPECT_EQ(outcomes[1].code, StatusCode::kInvalidUsage) << outcomes[1].text;
  EXPECT_LT(back_ns - set_ns, 100 * kNsPerMs);
  for (const int other : {0, 2}) {
    EXPECT_EQ(outcomes[static_cast<size_t>(other)].code, StatusCode::kRemoteError);
    EXPECT_THAT(outcomes[static_cast<size_t>(other)].text, HasSubstr("rank 1 (host "));
  }
}

TEST(Join_AbortedBeforeTheRootAnswers_ReturnsEarly, NoRootThere) {
  UniqueIdFields fields{.address = SocketAddress::parse("@tutti-nobody-listens-here")};
  std::atomic<bool> aborted{false};
  std::thread aborter([&] {
    sleep_ns(100 * kNsPerMs);
    aborted = true;
  });
  const int64_t start_ns = now_ns();
  const Outcome outcome =
      outcome_of([&] { Bootstrap::join(pack(fields), 2, 0, soon(), &aborted); });
  aborter.join();
  EXPECT_EQ(outcome.code, StatusCode::kInvalidUsage) << outcome.text;
  EXPECT_LT(now_ns() - start_ns, 2 * kNsPerSecond);
}

TEST(Join_NoRoot_SaysSoAtTheDeadline, OneRank) {
  UniqueIdFields fields{.address = SocketAddress::parse("@tutti-nobody-listens-here")};
  const Outcome outcome =
      outcome_of([&] { Bootstrap::join(pack(fields), 2, 0, in_ms(200), nullptr); });
  EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
  EXPECT_THAT(outcome.text,
              HasSubstr("no answer from the rendezvous root at @tutti-nobody-listens-here"));
}

TEST(Join_RankRegistersButNeverAttaches, TheOthersHearWhich) {
  const UniqueId id = create_unique_id("");
  const UniqueIdFields fields = unpack(id);
  const auto control = ControlThread::shared();
  const auto outcomes = run_threads(3, [&](int rank) {
    if (rank < 2) {
      Bootstrap::join(id, 3, rank, soon(), nullptr);
      return;
    }
    // Registers like a rank, and then ends.
    Registration registration{
        .n_ranks = 3, .wait_ns = INT64_MAX, .peer = {.rank = 2, .pid = 7, .host = "elsewhere"}};
    registration.address = SocketAddress::parse("@tutti-nobody-listens-here");
    visit({.control = control,
           .key = fields.key,
           .role = Role::kRegister,
           .hello = encode(registration),
           .answer_bytes = wire_bytes<Assignment>(),
           .host_name = "the root"},
          Socket::connect(fields.address, SocketKind::kStream, soon()), {.deadline = soon()});
  });
  for (const size_t other : {size_t{0}, size_t{1}}) {
    EXPECT_EQ(outcomes[other].code, StatusCode::kRemoteError);
    EXPECT_THAT(outcomes[other].text, HasSubstr("rank 2 (host elsewhere, pid 7)"));
  }
}

// The process of the root ends as soon as its own rank has failed; by then the others know why.
TEST(Join_RankOfTheRootsProcessFails_RanksOnTheirWayHearItFirst, ThreeRanks) {
  const UniqueId id = create_unique_id("");
  const Failure failure{StatusCode::kRemoteError, "rank 7 has died"};
  int64_t waited_ns = 0;
  const auto outcomes = run_threads(3, [&](int i) {
    if (i < 2) {
      Bootstrap::join(id, 3, i, soon(), nullptr);
      return;
    }
    sleep_ns(50 * kNsPerMs);
    const int64_t start_ns = now_ns();
    Root::end_hosted(unpack(id), failure);
    waited_ns = now_ns() - start_ns;
    Bootstrap::join(id, 3, 2, soon(), nullptr);
  });
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
    EXPECT_THAT(outcome.text, HasSubstr("rank 7 has died"));
  }
  EXPECT_GE(waited_ns, Root::kFarewellNs);  // rank 2 had not come
  const int64_t again_ns = now_ns();
  Root::end_hosted(unpack(id), failure);  // all know: no wait
  EXPECT_LT(now_ns() - again_ns, Root::kFarewellNs);
}

TEST(AllGather_Aborted_ReturnsEarly, AndTheOthersHearIt) {
  const UniqueId id = create_unique_id("");
  std::atomic<bool> aborted{false};
  std::atomic<int> finished{0};
  const auto outcomes = run_threads(3, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, 3, rank, soon(), nullptr);
    if (rank == 0) {  // does not call
      aborted = true;
      for (const Deadline end = soon(); finished < 2 && !end.expired();) sleep_ns(kNsPerMs);
      return;
    }
    const Outcome outcome =
        outcome_of([&] { bootstrap->all_gather({}, soon(), rank == 1 ? &aborted : nullptr); });
    ++finished;
    throw Error(outcome.code, outcome.text);
  });
  EXPECT_EQ(outcomes[1].code, StatusCode::kInvalidUsage) << outcomes[1].text;
  EXPECT_EQ(outcomes[2].code, StatusCode::kRemoteError);
  EXPECT_THAT(outcomes[2].text, HasSubstr("rank 1 (host "));
}

TEST(AllGather_RankLeaves_EveryRankHearsWhich, TwentyRanks) {
  constexpr int kRanks = 20;
  const UniqueId id = create_unique_id("");
  const auto outcomes = run_threads(kRanks, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, kRanks, rank, soon(), nullptr);
    bootstrap->all_gather(pattern(rank, 5), soon());
    if (rank != 7) bootstrap->all_gather(pattern(rank, 5), soon());
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    if (rank == 7) continue;
    EXPECT_EQ(outcomes[static_cast<size_t>(rank)].code, StatusCode::kRemoteError);
    EXPECT_THAT(outcomes[static_cast<size_t>(rank)].text, HasSubstr("rank 7 (host "));
    EXPECT_THAT(outcomes[static_cast<size_t>(rank)].text, HasSubstr("has left the communicator"));
  }
}

TEST(AllGather_RankDoesNotCall_EveryRankHearsWhichAndLaterCallsToo, ThreeRanks) {
  constexpr int kRanks = 3;
  const UniqueId id = create_unique_id("");
  std::atomic<int> finished{0};
  const auto outcomes = run_threads(kRanks, [&](int rank) {
    const auto bootstrap = Bootstrap::join(id, kRanks, rank, soon(), nullptr);
    if (rank == 2) {
      for (const Deadline end = soon(); finished < kRanks - 1 && !end.expired();)
        sleep_ns(kNsPerMs);
      bootstrap->all_gather({}, soon());
      return;
    }
    const Outcome first = outcome_of([&] { bootstrap->all_gather({}, in_ms(300)); });
    EXPECT_EQ(first.code, StatusCode::kRemoteError);
    EXPECT_THAT(first.text, HasSubstr("rank 2 (host "));
    ++finished;
    bootstrap->all_gather({}, soon());
  });
  for (const Outcome& outcome : outcomes)
    EXPECT_EQ(outcome.code, StatusCode::kRemoteError) << outcome.text;
}

}  // namespace
}  // namespace tutti::bootstrap
