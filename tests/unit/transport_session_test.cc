// SPDX-License-Identifier: Apache-2.0
// Sessions whose paths break in the middle of something.
#include <algorithm>

#include <gmock/gmock.h>

#include "src/device/device.h"
#include "tests/unit/transport_session_support.h"
#include "transport/network/ledger.h"

namespace tutti::transport::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(SessionTest, PathBreaksInsideOfSend_FrameGoesByAnotherOnce) {
  Flow flow(*zero_, *one_, {.messages = 400, .seed = 3});
  open_paths(flow);
  // In every frame that the greeting and the flow need, with and without its arriving anyway.
  for (int at = 1; at <= 20; ++at) {
    for (const bool arrives : {false, true}) {
      ASSERT_TRUE(move_until([&] { return net_.open_links().size() == 2; })) << flow.where();
      FakeLink& broken = link(at % 2);
      broken.keeps_broken_send = arrives;
      broken.break_at[0] = at;
      ASSERT_TRUE(move_until([&] {
        flow.send_one();
        flow.take_one();
        flow.release_one();
        return flow.done() || std::ranges::none_of(net_.open_links(), [&](const FakeLink* open) {
                 return open == &broken;
               });
      })) << at;
    }
  }
  finish(flow);
}

TEST_F(SessionTest, BreakWhileHalfIsAcknowledged_TheOtherHalfGoesAgain) {
  Flow flow(*zero_, *one_, {.messages = 40, .layout = {64, 8, 256}, .seed = 5});
  open_paths(flow);
  // Everything by link 0; of that, some arrive and are acknowledged by link 1.
  link(1).path[0]->sabotage();
  ASSERT_TRUE(move_until([&] { return net_.open_links().size() == 2; }));
  int arrivals = 0;
  net_.allows = [&](FakeEvent event, FakeLink& on, int end) {
    return event != FakeEvent::kDeliver || end != 1 || on.index != 0 || ++arrivals <= 5;
  };
  (void)send_all_that_goes(flow);
  for (int i = 0; i < 30; ++i) {
    pass_time(kNsPerMs);
    move_all();
  }
  EXPECT_GT(link(0).frames[0].size(), 0U) << "some are under way";
  // The sender finds it broken, the receiver does not yet, and takes what still comes.
  FakeLink& broken = link(0);
  hold(FakeEvent::kNotice, [&](FakeLink& on, int end) { return &on == &broken && end == 1; });
  FakeNet::cut(broken);
  finish(flow);
}

TEST_F(SessionTest, GivenUpWhileLost_NoneFrameTakesItsPlaceAndTheNewsFollow) {
  Flow flow(*zero_, *one_, {.messages = 30, .layout = {64, 8, 256}, .seed = 8});
  open_paths(flow);
  hold(FakeEvent::kDeliver, [](FakeLink&, int end) { return end == 1; });
  (void)send_all_that_goes(flow);
  move_all();
  for (FakeLink* open : net_.open_links()) {
    open->frames[0].clear();
    FakeNet::cut(*open);
  }
  flow.send_view().own_failure->announce(17, 1);
  let_go();
  uint32_t code = 0;
  int32_t about = -1;
  ASSERT_TRUE(move_until([&] { return flow.receive_view().peer_failure->read(&code, &about); }));
  EXPECT_EQ(code, 17U);
  EXPECT_EQ(about, 1);
  EXPECT_FALSE(flow.send_view().peer_reads()) << "nobody reads the sender's memory any more";
  EXPECT_TRUE(zero_->with(1).status().ok());
  // What is sent afterwards on another connection is not held up.
  Flow next(*zero_, *one_, {.messages = 20, .seed = 9, .channel = 1});
  finish(next);
}

TEST_F(SessionTest, SecondPathBreaksWhileItTakesOverFromTheFirst_ThirdCarriesAll) {
  net_.n_paths = 3;
  for (int at = 1; at <= 12; ++at) {
    Flow flow(*zero_, *one_, {.messages = 60, .layout = {64, 16, 256}, .seed = 31, .channel = at});
    open_paths(flow);
    hold(FakeEvent::kDeliver, [](FakeLink& on, int end) { return on.index == 0 && end == 1; });
    (void)send_all_that_goes(flow);
    move_all();
    FakeLink& first = link(0);
    link(1).break_at[0] = at;
    first.frames[0].clear();
    FakeNet::cut(first);
    let_go();
    finish(flow);
  }
}

TEST_F(SessionTest, EveryPathBreaksAtOnce_DiallingAgainCarriesOn) {
  net_.n_paths = 4;
  Flow flow(*zero_, *one_, {.messages = 200, .layout = {64, 16, 256}, .seed = 41});
  Flow back(*one_, *zero_, {.messages = 200, .layout = {64, 16, 256}, .seed = 42});
  open_paths(flow);
  for (int round = 0; round < 10; ++round) {
    (void)send_all_that_goes(flow);
    (void)send_all_that_goes(back);
    move_all();
    for (FakeLink* open : net_.open_links()) {
      open->frames[static_cast<size_t>(round % 2)].clear();
      FakeNet::cut(*open);
    }
    for (int i = 0; i < 40; ++i) {
      pass_time(kNsPerMs);
      move_all();
      while (flow.take_one()) flow.release_one();
      while (back.take_one()) back.release_one();
    }
  }
  finish(flow);
  finish(back);
}

// More paths than the session has places for its own frames break while the window is full.
TEST_F(SessionTest, ManyBreaksWhileTheWindowIsFull_NothingWaitsForItself) {
  net_.n_paths = 2;
  auto* memory = static_cast<uint64_t*>(device::allocate_shared(4096));
  auto region = window_of_one(memory, 4096);
  hold(FakeEvent::kDeliver, [](FakeLink&, int end) { return end == 1; });
  constexpr uint64_t kSignals = network::kWindow;
  for (uint64_t k = 0; k < kSignals; ++k) ASSERT_TRUE(region->add_signal(0, 1).ok());
  // Each path carries the greeting and breaks then, with what the session itself has to say.
  for (uint64_t broken = 0; broken < 3 * network::kWindowReserve; ++broken) {
    for (FakeLink* open : net_.open_links()) {
      open->frames[0].clear();
      FakeNet::cut(*open);
    }
    let_go();
    size_t opened = 0;
    net_.allows = [&](FakeEvent event, FakeLink& on, int end) {
      const bool greeting = on.frames[0].empty() || on.frames[0].front().header.sequence == 0;
      opened += greeting ? 0 : 1;
      return event != FakeEvent::kDeliver || end != 1 || greeting;
    };
    ASSERT_TRUE(move_until([&] { return opened != 0; })) << broken;
  }
  let_go();
  EXPECT_TRUE(move_until([&] { return memory[0] >= kSignals; }))
      << memory[0] << " of " << kSignals << " signals";
  EXPECT_EQ(memory[0], kSignals);
  region.reset();
  device::free_shared(memory);
}

TEST_F(SessionTest, TotalLoss_NobodyAnswers_NamedErrorAfterThePatience) {
  Flow flow(*zero_, *one_, {.messages = 100, .seed = 51});
  open_paths(flow);
  (void)send_all_that_goes(flow);
  net_.answers = false;
  for (FakeLink* open : net_.open_links()) FakeNet::cut(*open);
  const int64_t start = now_ns();
  ASSERT_TRUE(move_until([&] { return !zero_->with(1).status().ok(); }));
  const int64_t took = now_ns() - start;
  EXPECT_GE(took, FakeRank::kPatienceNs);
  EXPECT_LE(took, FakeRank::kPatienceNs + kNsPerSecond);
  const Status status = zero_->with(1).status();
  EXPECT_EQ(status.code, StatusCode::kRemoteError);
  EXPECT_EQ(status.rank, 1);
  EXPECT_THAT(status.reason, HasSubstr("rank 1 can't be reached"));
  EXPECT_THAT(status.reason, HasSubstr("fake link"));
  EXPECT_EQ(zero_->endpoint->peer_failure(1).code, StatusCode::kRemoteError);
}

TEST_F(SessionTest, TotalLoss_DialsAreRefused_PeerIsGoneAtOnce) {
  Flow flow(*zero_, *one_, {.messages = 100, .seed = 52});
  open_paths(flow);
  (void)send_all_that_goes(flow);
  net_.answers = false;
  net_.refuses = true;
  for (FakeLink* open : net_.open_links()) FakeNet::cut(*open);
  const int64_t start = now_ns();
  ASSERT_TRUE(move_until([&] { return !zero_->with(1).status().ok(); }));
  EXPECT_LE(now_ns() - start, kNsPerSecond / 2);
  EXPECT_THAT(zero_->with(1).status().reason, HasSubstr("rank 1 is gone"));
}

TEST_F(SessionTest, End_WaitsForAStoppedPeer_UnlessItWasGivenUp) {
  for (const bool given_up : {false, true}) {
    FakeRank zero(net_, 2, 4), one(net_, 3, 4);
    Flow flow(zero, one, {.messages = 10, .seed = 91});
    for (int i = 0; i < 3000 && !flow.accepted(); ++i) {
      pass_time(kNsPerMs);
      (void)zero.move();
      (void)one.move();
    }
    ASSERT_TRUE(flow.accepted());
    (void)send_all_that_goes(flow);  // and from here on nobody moves rank 3
    (void)zero.move();
    if (given_up) zero.with(3).give_up();
    const int64_t start = now_ns();
    zero.endpoint->close();
    const int64_t waited = now_ns() - start;
    if (given_up) {
      EXPECT_LT(waited, 10 * kNsPerMs);
    } else {
      EXPECT_GE(waited, FakeRank::kPatienceNs);
    }
  }
}

// Both have dialled at first, so one of them has been told to leave dialling to the other.
TEST_F(SessionTest, BothDialled_OneIsGoneSoonAfter_TheOtherFindsOutAtOnce) {
  for (const bool zero_goes : {false, true}) {
    FakeRank zero(net_, 0, 2), one(net_, 1, 2);
    Flow forth(zero, one, {.messages = 10, .seed = 81});
    Flow back(one, zero, {.messages = 10, .seed = 82});
    zero_.reset();
    one_.reset();
    const auto move_until = [&](const std::function<bool()>& done) {
      for (int i = 0; i < 3000 && !done(); ++i) {
        pass_time(kNsPerMs);
        (void)zero.move();
        (void)one.move();
      }
      return done();
    };
    ASSERT_TRUE(move_until([&] { return forth.accepted() && back.accepted(); }));
    net_.answers = false;
    net_.refuses = true;
    for (FakeLink* open : net_.open_links()) FakeNet::cut(*open);
    network::Session& survivor = zero_goes ? one.with(0) : zero.with(1);
    const int64_t start = now_ns();
    ASSERT_TRUE(move_until([&] { return !survivor.status().ok(); })) << zero_goes;
    EXPECT_LE(now_ns() - start, kNsPerSecond / 2) << zero_goes;
    EXPECT_THAT(survivor.status().reason, HasSubstr("is gone"));
    net_.answers = true;
  }
}

}  // namespace
}  // namespace tutti::transport::testing
