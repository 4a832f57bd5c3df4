// SPDX-License-Identifier: Apache-2.0
// What a session carries: windows of slots and frames, frames that come twice or late, rails that
// are slow.
#include <algorithm>
#include <array>
#include <random>

#include "src/device/device.h"
#include "tests/unit/transport_session_support.h"
#include "transport/network/ledger.h"

namespace tutti::transport::testing {
namespace {

TEST_F(SessionTest, NoPayload_EveryKind_Arrives) {
  for (const bool lends : {false, true}) {
    net_.made = [lends](FakeLink& link) { link.lends = lends; };
    Flow flow(*zero_, *one_,
              {.messages = 64, .layout = {4, 1, 64}, .seed = 21, .channel = lends ? 1 : 0});
    finish(flow);
  }
}

TEST_F(SessionTest, SlotsAllInUse_EachReleaseLetsOneMoreThrough) {
  constexpr uint32_t kAreas = 4;
  Flow flow(*zero_, *one_,
            {.messages = 40,
             .layout = {.n_lines = 16, .n_areas = kAreas, .area_bytes = 256},
             .seed = 2,
             .only_staged = true});
  open_paths(flow);
  const auto settle = [&] {
    for (int i = 0; i < 5; ++i) {
      pass_time(kNsPerMs);
      move_all();
      while (flow.take_one()) {
      }
    }
  };
  for (uint64_t released = 0; flow.sent() < 40; ++released) {
    (void)send_all_that_goes(flow);
    settle();
    ASSERT_EQ(flow.sent(), std::min<uint64_t>(released + kAreas, 40));
    ASSERT_EQ(flow.taken(), flow.sent());
    ASSERT_TRUE(flow.release_one());
    settle();
  }
  finish(flow);
}

TEST_F(SessionTest, FrameWindowFull_ReopensAtEachAcknowledgement) {
  net_.n_paths = 1;
  auto* memory = static_cast<uint64_t*>(device::allocate_shared(4096));
  auto region = window_of_one(memory, 4096);
  uint64_t allowed = 0, arrived = 0;
  net_.allows = [&](FakeEvent event, FakeLink& on, int end) {
    // Links are rank 0's own: end 1 is rank 1.
    if (event != FakeEvent::kDeliver || end != 1 ||
        on.frames[0].front().header.kind != network::FrameKind::kSignal) {
      return true;
    }
    if (arrived == allowed) return false;
    ++arrived;
    return true;
  };
  constexpr uint64_t kSignals = 2 * network::kWindow;
  for (uint64_t k = 0; k < kSignals; ++k) ASSERT_TRUE(region->add_signal(0, 1).ok());
  EXPECT_TRUE(zero_->with(1).is_blocked()) << "the window is full";
  const auto under_way = [&] {
    size_t n = 0;
    for (FakeLink* open : net_.open_links()) n += open->frames[0].size();
    return n;
  };
  EXPECT_LE(under_way(), network::kWindow);
  // One at a time around the window's edge, then whole batches.
  for (int i = 0; i < 100; ++i) {
    ++allowed;
    for (int j = 0; j < 4; ++j) move_all();
    ASSERT_EQ(memory[0], arrived);
    ASSERT_LE(under_way(), network::kWindow);
  }
  let_go();
  EXPECT_TRUE(move_until([&] { return memory[0] >= kSignals; })) << memory[0];
  move_all();
  EXPECT_EQ(memory[0], kSignals);
  region.reset();
  device::free_shared(memory);
}

TEST_F(SessionTest, FramesTwiceAndOutOfOrderAcrossPaths_CountOnce) {
  net_.n_paths = 3;
  auto* memory = static_cast<uint64_t*>(device::allocate_shared(4096));
  auto region = window_of_one(memory, 4096);
  Flow flow(*zero_, *one_, {.messages = 300, .layout = {64, 16, 256}, .seed = 61});
  open_paths(flow);
  std::mt19937 rng(61);
  uint64_t puts = 0;
  int twice = 0;
  // The links deliver in turn, one half of a frame at a time.
  int turn = 0;
  net_.allows = [&](FakeEvent event, FakeLink& on, int end) {
    return event != FakeEvent::kDeliver || end != 1 || (on.index == turn && rng() % 3 == 0);
  };
  net_.repeats = [&](FakeLink&, int) -> FakeLink* {
    const auto open = net_.open_links();
    if (rng() % 2 == 0) return nullptr;
    ++twice;
    return open[rng() % open.size()];
  };
  for (int step = 0; step < 6000; ++step) {
    turn = static_cast<int>(rng() % 3);
    if (step % 16 == 0 && puts < 200) {
      ++puts;
      ASSERT_TRUE(region->put(64, &puts, sizeof puts).ok());
      ASSERT_TRUE(region->add_signal(0, 1).ok());
    }
    flow.send_one();
    move_all();
    flow.take_one();
    flow.release_one();
    ASSERT_EQ(flow.wrong(), "");
  }
  let_go();
  finish(flow);
  EXPECT_TRUE(move_until([&] { return memory[0] >= puts; }));
  EXPECT_EQ(memory[0], puts);
  EXPECT_EQ(memory[8], puts);
  EXPECT_GT(twice, 200);
  region.reset();
  device::free_shared(memory);
}

// Two rails, of which one carries ten times as much.
TEST_F(SessionTest, SlowRail_GetsLess) {
  net_.n_rails = 2;
  net_.capacity_bytes = 64 << 10;
  Flow flow(*zero_, *one_,
            {.messages = 4000,
             .layout = {.n_lines = 64, .n_areas = 64, .area_bytes = 16 << 10},
             .seed = 71,
             .only_staged = true});
  open_paths(flow);
  const std::array<double, 2> bytes_per_ns{0.1, 0.01};
  std::array<double, 2> credit{};
  std::array<uint64_t, 2> carried{};
  int64_t before = now_ns();
  net_.allows = [&](FakeEvent event, FakeLink& on, int end) {
    if (event != FakeEvent::kDeliver || end != 1) return true;
    const auto rail = static_cast<size_t>(on.index);
    const auto bytes = static_cast<double>(sizeof(network::FrameHeader) +
                                           on.frames[0].front().header.payload_bytes) /
                       2;  // a half
    if (credit[rail] < bytes) return false;
    credit[rail] -= bytes;
    carried[rail] += static_cast<uint64_t>(bytes);
    return true;
  };
  ASSERT_TRUE(move_until(
      [&] {
        const int64_t now = now_ns();
        for (size_t rail = 0; rail < 2; ++rail) {
          credit[rail] = std::min(
              credit[rail] + static_cast<double>(now - before) * bytes_per_ns[rail], 200'000.0);
        }
        before = now;
        (void)send_all_that_goes(flow);
        while (flow.take_one()) flow.release_one();
        return flow.done() || !flow.wrong().empty();
      },
      kNsPerMs / 10))
      << flow.where();
  EXPECT_EQ(flow.wrong(), "");
  EXPECT_GT(carried[1], 0U);
  EXPECT_GT(carried[0], 5 * carried[1]) << carried[0] << " and " << carried[1];
}

TEST_F(SessionTest, ReadOfAStoppedPeer_EndsAtTheDeadline_AndLaterIsAnswered) {
  auto* memory = static_cast<uint64_t*>(device::allocate_shared(4096));
  memory[1] = 5;
  const auto region = window_of_one(memory, 4096);
  uint64_t word = 0;
  one_is_stopped_ = true;
  const int64_t start = now_ns();
  const Status status = region->read(8, {&word, 1}, Deadline::after_ns(50 * kNsPerMs));
  EXPECT_LE(now_ns() - start, 60 * kNsPerMs);
  EXPECT_EQ(status.code, StatusCode::kRemoteError);
  EXPECT_EQ(status.rank, 1);
  one_is_stopped_ = false;
  EXPECT_TRUE(region->read(8, {&word, 1}, Deadline::after_ns(kPatienceNs)).ok());
  EXPECT_EQ(word, 5U);
  device::free_shared(memory);
}

}  // namespace
}  // namespace tutti::transport::testing
