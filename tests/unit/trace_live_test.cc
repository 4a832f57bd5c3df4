// SPDX-License-Identifier: Apache-2.0
// What `tutti top` makes of recordings, and the text for Prometheus.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/kernels/dtypes.h"
#include "src/trace/kinds.h"
#include "src/trace/live.h"
#include "src/trace/prometheus.h"

namespace tutti::trace {
namespace {

using testing::HasSubstr;

constexpr int64_t kNow = 1000 * kNsPerSecond;

Recording recording(int rank, int n_ranks) {
  Recording r;
  r.comm_id = 0xabc;
  r.rank = rank;
  r.n_ranks = n_ranks;
  r.host_id = 1;
  r.process_uid = 100 + static_cast<uint64_t>(rank);
  r.pid = 4700 + rank;
  r.comm_name = "dp";
  r.read_ns = kNow;
  return r;
}

Operation& add(Recording& r, State state, int waiting_for = -1) {
  Operation o;
  o.sequence = o.number = r.operations++;
  o.state = state;
  o.name = "AllReduce";
  o.dtype = static_cast<uint8_t>(DType::kFloat32);
  o.count = 1000;
  o.waiting_for = waiting_for;
  o.begun_ns = o.issued_ns = kNow - 3 * kNsPerSecond;
  if (o.ended()) o.ended_ns = o.begun_ns + kNsPerMs;
  r.ring.push_back(o);
  return r.ring.back();
}

struct Waiting {
  const char* waits_for;  // by rank: a digit, '.' for inside and waiting for none, 'i' for idle
  const char* states;     // by rank: letters of processes; '-' for no recording, '0' for gone
  std::vector<std::vector<int>> causes;
  std::vector<std::vector<int>> waiting;
  std::vector<bool> stuck;
  const char* text;
};

std::vector<Recording> recordings_of(const Waiting& c) {
  const std::string waits_for = c.waits_for;
  std::vector<Recording> all;
  for (size_t rank = 0; rank < waits_for.size(); ++rank) {
    const char what = waits_for[rank];
    if (c.states[rank] == '-') continue;
    all.push_back(recording(static_cast<int>(rank), static_cast<int>(waits_for.size())));
    add(all.back(), what == 'i' ? State::kDone : State::kRunning,
        what >= '0' && what <= '9' ? what - '0' : -1);
  }
  return all;
}

TEST(LiveView_Waits, AreFollowedToTheirEnd) {
  const Waiting cases[] = {
      {"333.", "RRRT", {{3}}, {{0, 1, 2}}, {true}, "ranks 0-2 wait for rank 3, which is stopped"},
      // A stopped rank's own wait is no cause.
      {"3330", "RRRT", {{3}}, {{0, 1, 2}}, {true}, "which is stopped"},
      {"301.", "RRRR", {{3}}, {{0, 1, 2}}, {false}, "which is in AllReduce #0"},
      {"12.", "RR0", {{2}}, {{0, 1}}, {true}, "whose process 4702 is gone"},
      {"1i", "RR", {{1}}, {{0}}, {false}, "rank 0 waits for rank 1, which is idle"},
      {"1.", "R-", {{1}}, {{0}}, {false}, "no recording here"},
      {"10", "RR", {{0, 1}}, {{}}, {false}, "ranks 0-1 wait for each other"},
      {"101", "RRR", {{0, 1}}, {{2}}, {false}, "and rank 2 for them"},
      {"1.3.", "RRRT", {{1}, {3}}, {{0}, {2}}, {false, true}, "rank 2 waits for rank 3"},
      {"...", "RRR", {}, {}, {}, ""},
  };
  for (const Waiting& c : cases) {
    SCOPED_TRACE(c.waits_for);
    const std::vector<Recording> all = recordings_of(c);
    const Timeline timeline(all);
    const auto view = live_view(timeline, nullptr, [&](const Recording& r) {
      return c.states[r.rank] == '0' ? '\0' : c.states[r.rank];
    });
    ASSERT_EQ(view.size(), 1u);
    ASSERT_EQ(view[0].waits.size(), c.causes.size());
    std::string texts;
    for (size_t i = 0; i < c.causes.size(); ++i) {
      EXPECT_EQ(view[0].waits[i].causes, c.causes[i]);
      EXPECT_EQ(view[0].waits[i].waiting, c.waiting[i]);
      EXPECT_EQ(view[0].waits[i].stuck, c.stuck[i]);
      texts += view[0].waits[i].text + "\n";
    }
    EXPECT_THAT(texts, HasSubstr(c.text));
  }
}

TEST(LiveView_Death, IsNamedUnlessTheRankHadFinalized) {
  std::vector<Recording> all = {recording(0, 3), recording(1, 3), recording(2, 3)};
  all[1].comm_state = CommState::kFinalized;
  const Timeline timeline(all);
  const auto fate = [](const Recording& r) { return r.rank == 0 ? 'R' : '\0'; };
  EXPECT_THAT(live_view(timeline, nullptr, fate)[0].failure,
              HasSubstr("rank 2 is gone without having finalized"));
  all[2].comm_state = CommState::kFinalized;
  EXPECT_EQ(live_view(timeline, nullptr, fate)[0].failure, "");
}

TEST(LiveView_Rates, AreOfTheTimeBetweenTheLooks) {
  std::vector<Recording> before = {recording(0, 1)};
  add(before[0], State::kDone);
  std::vector<Recording> now = before;
  before[0].read_ns = kNow - 2 * kNsPerSecond;
  for (int i = 0; i < 10; ++i) {
    Operation& o = add(now[0], State::kDone);
    o.begun_ns = kNow - kNsPerSecond;
    o.ended_ns = o.begun_ns + 2 * kNsPerUs;
  }
  const Timeline timeline(now);
  const auto alive = [](const Recording&) { return 'R'; };
  const auto view = live_view(timeline, &before, alive);
  EXPECT_DOUBLE_EQ(view[0].ranks[0].operations_per_second, 5);
  EXPECT_DOUBLE_EQ(view[0].ranks[0].algbw, 4000 / 2e-6);
  EXPECT_LT(live_view(timeline, nullptr, alive)[0].ranks[0].operations_per_second, 0);
  before[0].serial = 7;  // another communicator of that process
  EXPECT_LT(live_view(timeline, &before, alive)[0].ranks[0].operations_per_second, 0);
}

TEST(LiveView_Doing, SaysOperationAndHowLong) {
  std::vector<Recording> all = {recording(0, 2), recording(1, 2)};
  add(all[0], State::kRunning);
  add(all[1], State::kDone).ended_ns = kNow - 5 * kNsPerMs;
  all[1].comm_state = CommState::kFinalized;
  const Timeline timeline(all);
  const auto view = live_view(timeline, nullptr, [](const Recording&) { return 'S'; });
  EXPECT_EQ(view[0].ranks[0].for_ns, 3 * kNsPerSecond);
  EXPECT_TRUE(view[0].ranks[0].inside);
  EXPECT_THAT(view[0].ranks[0].doing, HasSubstr("AllReduce #0 float x 1000"));
  EXPECT_EQ(view[0].ranks[1].for_ns, 5 * kNsPerMs);
  EXPECT_THAT(view[0].ranks[1].doing, HasSubstr("finalized, last AllReduce #0"));
}

TEST(PrometheusText, NamesOfUsers_AreEscaped) {
  Counters c;
  c.comm_name = "a\"b\\c\nd\xff";
  const std::string text = prometheus_text({&c, 1});
  EXPECT_THAT(text, HasSubstr(R"(name="a\"b\\c?d?")"));
}

TEST(PrometheusText, EveryFamily_IsWrittenOnceWithItsSamples) {
  std::vector<Counters> all(2);
  for (int rank = 0; rank < 2; ++rank) {
    Counters& c = all[static_cast<size_t>(rank)];
    c.comm_id = 0xbeef;
    c.rank = rank;
    c.calls[0] = {7, 700, 1};
    PeerCounters peer{.peer = 1 - rank, .transport = "shm"};
    peer.sent_messages[1] = 5;
    peer.waits = 2;
    peer.waited_ns = 1'500'000'000;
    c.peers.push_back(peer);
  }
  const std::string text = prometheus_text(all);
  EXPECT_THAT(text,
              HasSubstr("# TYPE tutti_operations_total counter\n"
                        R"(tutti_operations_total{comm="beef",rank="0",collective="AllReduce"} 7)"
                        "\n"
                        R"(tutti_operations_total{comm="beef",rank="1",collective="AllReduce"} 7)"
                        "\n"));
  EXPECT_THAT(text, HasSubstr(R"(tutti_wait_seconds_total{comm="beef",rank="0",peer="1"} 1.5)"
                              "\n"));
  EXPECT_THAT(text, HasSubstr(R"(protocol="staged",direction="sent"} 5)"
                              "\n"));
}

TEST(Kinds, NamesAreFoundAgain) {
  for (size_t i = 0; i < kCallKinds; ++i) {
    const char* name = kind_name(static_cast<uint8_t>(i));
    EXPECT_EQ(kind_of_name(name), *name == '?' ? -1 : static_cast<int>(i)) << name;
  }
  EXPECT_EQ(kind_of_name("?"), -1);
  EXPECT_EQ(kind_of_name("allreduce"), -1);
}

}  // namespace
}  // namespace tutti::trace
