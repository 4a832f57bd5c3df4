// SPDX-License-Identifier: Apache-2.0
// Two ranks over a network that does what each case needs.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "tests/unit/transport_flow.h"
#include "tests/unit/transport_virtual_time.h"
#include "tests/unit/transport_world.h"
#include "transport/network/windows.h"

namespace tutti::transport::testing {

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    while_asleep([this] { move_all(); });
  }
  ~SessionTest() override {
    let_go();
    net_.answers = true;
    one_is_stopped_ = false;
    zero_.reset();
    one_.reset();
    while_asleep(nullptr);
  }

  void move_all() {
    if (zero_) (void)zero_->move();
    if (one_ && !one_is_stopped_) (void)one_->move();
  }
  // Moves both until `done`, or for a minute of their time.
  bool move_until(const std::function<bool()>& done, int64_t step_ns = kNsPerMs) {
    const Deadline deadline = Deadline::after_ns(60 * kNsPerSecond);
    while (!done()) {
      if (deadline.expired()) return false;
      pass_time(step_ns);
      move_all();
    }
    return true;
  }
  // Sends, takes and releases all that is left of the flow.
  void finish(Flow& flow) {
    EXPECT_TRUE(move_until([&] {
      flow.send_one();
      flow.take_one();
      flow.release_one();
      return !flow.wrong().empty() || flow.done();
    })) << "hangs: "
        << flow.where();
    EXPECT_EQ(flow.wrong(), "");
  }
  // All paths are open at both ends.
  void open_paths(Flow& flow) {
    ASSERT_TRUE(move_until([&] {
      return net_.open_links().size() == static_cast<size_t>(net_.n_paths) && flow.accepted() &&
             flow.sender().accepted.load();
    }));
    for (int i = 0; i < 20; ++i) move_all();  // greetings and what follows them
  }
  size_t send_all_that_goes(Flow& flow) {
    size_t n = 0;
    while (flow.send_one()) ++n;
    return n;
  }
  FakeLink& link(int index) {
    for (FakeLink* open : net_.open_links()) {
      if (open->index == index) return *open;
    }
    throw Error(StatusCode::kInternalError, "that link is not open");
  }
  void hold(FakeEvent what, std::function<bool(FakeLink&, int end)> whose) {
    net_.allows = [=](FakeEvent event, FakeLink& on, int end) {
      return event != what || !whose(on, end);
    };
  }
  void let_go() {
    net_.allows = [](FakeEvent, FakeLink&, int) { return true; };
    net_.repeats = [](FakeLink&, int) { return nullptr; };
  }
  std::unique_ptr<RemoteRegion> window_of_one(uint64_t* memory, size_t bytes) {
    const network::WindowToken token{.comm_id = FakeRank::kCommId,
                                     .bytes = bytes,
                                     .rank = 1,
                                     .number = one_->endpoint->exports().add(memory, bytes)};
    return network::import_window(zero_->endpoint, zero_->peer(1),
                                  std::as_bytes(std::span(&token, 1)),
                                  Deadline::after_ns(kPatienceNs));
  }

  FakeNet net_;
  bool one_is_stopped_ = false;
  std::unique_ptr<FakeRank> zero_ = std::make_unique<FakeRank>(net_, 0, 2);
  std::unique_ptr<FakeRank> one_ = std::make_unique<FakeRank>(net_, 1, 2);
};

}  // namespace tutti::transport::testing
