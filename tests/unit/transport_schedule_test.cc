// SPDX-License-Identifier: Apache-2.0
// Thousands of short jobs over a network that does as it likes: each is drawn from a seed, which is
// printed with what it finds.
//
//   TUTTI_TEST_SCHEDULES=100000 TUTTI_TEST_SEED=1 transport_schedule_test
#include <array>
#include <iostream>
#include <random>

#include <gtest/gtest.h>

#include "src/device/device.h"
#include "tests/unit/transport_flow.h"
#include "tests/unit/transport_virtual_time.h"
#include "tests/unit/transport_world.h"
#include "transport/network/windows.h"

namespace tutti::transport::testing {
namespace {

constexpr int kRanks = 2;
// The slowest of these networks need long for a greeting.
constexpr int64_t kSlowNs = 60 * kNsPerSecond;

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : rng_(seed) {
    draw_network();
    for (int rank = 0; rank < kRanks; ++rank)
      ranks_.push_back(std::make_unique<FakeRank>(net_, rank, kRanks, kSlowNs));
    while_asleep([this] {
      pass_time(static_cast<int64_t>(below(2 * kNsPerMs)));
      for (auto& rank : ranks_) {
        if (rank != nullptr) (void)rank->move();
      }
    });
    draw_flows();
    draw_parts();
    if (below(2) == 0) open_windows();
    wild_ = true;
  }
  ~Schedule() {
    // What goes before the ranks are gone; then they go in any order.
    wild_ = false;
    windows_.clear();
    std::shuffle(ranks_.begin(), ranks_.end(), rng_);
    for (auto& rank : ranks_) rank = nullptr;  // each while the other still answers
    while_asleep(nullptr);
    for (void* memory : memory_) device::free_shared(memory);
  }
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  // What was wrong; "" when nothing.
  std::string run() {
    for (int step = 0; step < kMostSteps; ++step) {
      if (const std::string wrong = take_step(); !wrong.empty()) return wrong;
      if (!is_done()) continue;
      wild_ = false;
      return what_the_windows_say();
    }
    std::string hang = "it hangs after " + std::to_string(breaks_) + " breaks";
    for (auto& flow : flows_) hang += "; " + flow->where();
    return hang;
  }
  int breaks() const { return breaks_; }

 private:
  static constexpr int kMostSteps = 30'000;
  static constexpr size_t kWindowBytes = 4096;
  struct Window {
    std::unique_ptr<RemoteRegion> region;  // of the other rank's memory
    uint64_t* memory = nullptr;            // there
    uint64_t rounds = 0;
  };

  uint64_t below(uint64_t n) { return rng_() % n; }

  void draw_network() {
    net_.n_paths = 1 + static_cast<int>(below(4));
    net_.n_rails = 1 + static_cast<int>(below(static_cast<uint64_t>(net_.n_paths)));
    net_.writes_to_memory = below(3) == 0;
    net_.capacity_bytes = below(2) == 0 ? 300 : 1 << 20;
    likely_ = {10 + below(90), 10 + below(90), 10 + below(90), 5 + below(60)};
    breaks_left_ = static_cast<int>(below(3) == 0 ? below(40) : below(6));
    const uint64_t lends = below(2), keeps = below(2);
    net_.made = [this, lends, keeps](FakeLink& link) {
      link.lends = lends != 0;
      link.keeps_broken_send = keeps != 0;
      if (wild_ && below(3) == 0) break_in_send(link);
    };
    net_.allows = [this](FakeEvent event, FakeLink&, int) {
      return !wild_ || below(100) < likely_[static_cast<size_t>(event)];
    };
    net_.repeats = [this](FakeLink&, int) -> FakeLink* {
      const auto open = net_.open_links();
      return wild_ && !open.empty() && below(10) == 0 ? open[below(open.size())] : nullptr;
    };
  }

  void break_in_send(FakeLink& link) {
    if (breaks_left_ == 0) return;
    --breaks_left_;
    ++breaks_;
    link.break_at[below(2)] = 1 + static_cast<int>(below(30));
  }

  void draw_flows() {
    const uint64_t n = 1 + below(3);
    for (uint64_t i = 0; i < n; ++i) {
      const auto from = static_cast<size_t>(below(kRanks));
      flows_.push_back(std::make_unique<Flow>(
          *ranks_[from], *ranks_[1 - from],
          Flow::Options{.messages = 1 + below(60),
                        .layout = {.n_lines = uint32_t{1} << below(5),
                                   .n_areas = uint32_t{1} << below(3),
                                   .area_bytes = static_cast<uint32_t>(64 * (1 + below(8)))},
                        .seed = static_cast<uint32_t>(rng_()),
                        .channel = static_cast<int>(i)}));
    }
  }

  void draw_parts() {
    for (int rank = 0; rank < kRanks; ++rank) {
      if (below(2) == 0) continue;
      const std::lock_guard lock(ranks_[static_cast<size_t>(rank)]->endpoint->mutex());
      ranks_[static_cast<size_t>(rank)]->with(1 - rank).cut_messages(32 + below(300));
    }
  }

  void open_windows() {
    for (size_t i = 0; i < kRanks; ++i) {
      FakeRank& owner = *ranks_[i];
      auto* memory = static_cast<uint64_t*>(device::allocate_shared(kWindowBytes));
      memory_.push_back(memory);
      const network::WindowToken token{
          .comm_id = FakeRank::kCommId,
          .bytes = kWindowBytes,
          .rank = owner.rank,
          .number = owner.endpoint->exports().add(memory, kWindowBytes)};
      FakeRank& user = *ranks_[1 - i];
      windows_.push_back({network::import_window(user.endpoint, user.peer(owner.rank),
                                                 std::as_bytes(std::span(&token, 1)),
                                                 Deadline::after_ns(kPatienceNs)),
                          memory, 0});
    }
  }

  std::string take_step() {
    pass_time(static_cast<int64_t>(below(40) == 0 ? below(60 * kNsPerMs) : below(kNsPerMs)));
    FakeRank& rank = *ranks_[below(kRanks)];
    (void)rank.move(below(2) == 0);
    for (int other = 0; other < kRanks; ++other) {
      if (other == rank.rank) continue;
      if (const Status status = rank.with(other).status(); !status.ok())
        return std::string("a session has failed: ") + status.reason;
    }
    for (auto& flow : flows_) {
      if (below(2) == 0) flow->send_one();
      if (below(2) == 0) flow->take_one();
      if (below(3) == 0) flow->release_one();
      if (!flow->wrong().empty()) return flow->wrong();
    }
    if (!windows_.empty() && below(10) == 0) {
      Window& window = windows_[below(windows_.size())];
      if (window.rounds < kRounds && !use(window)) return "a put or signal was refused";
    }
    interfere();
    return "";
  }

  static constexpr uint64_t kRounds = 12;
  // Puts to one place, of which the last counts, and a signal.
  bool use(Window& window) {
    ++window.rounds;
    for (uint64_t value : {uint64_t{0}, window.rounds}) {
      if (!window.region->put(64, &value, sizeof value).ok()) return false;
    }
    return window.region->add_signal(0, 1).ok();
  }

  void interfere() {
    const auto open = net_.open_links();
    if (open.empty()) return;
    FakeLink& link = *open[below(open.size())];
    if (breaks_left_ > 0 && below(60) == 0) {
      --breaks_left_;
      ++breaks_;
      for (auto& frames : link.frames) {
        // Any of those under way may be lost, from some on.
        if (below(2) == 0 && !frames.empty()) {
          const auto kept = static_cast<std::ptrdiff_t>(1 + below(frames.size()));
          frames.erase(frames.begin() + kept, frames.end());
        }
      }
      FakeNet::cut(link);
    } else if (below(60) == 0) {
      break_in_send(link);
    }
  }

  bool is_done() {
    for (auto& flow : flows_) {
      if (!flow->done()) return false;
    }
    for (const Window& window : windows_) {
      if (window.rounds < kRounds || window.memory[0] < window.rounds) return false;
    }
    return true;
  }

  std::string what_the_windows_say() {
    for (const Window& window : windows_) {
      std::array<uint64_t, 9> words{};
      if (!window.region->read(0, words, Deadline::after_ns(kPatienceNs)).ok())
        return "a window can't be read";
      if (words[0] != kRounds) return "signals were counted twice";
      if (words[8] != kRounds) return "an earlier put has overwritten a later one";
    }
    return "";
  }

  std::mt19937_64 rng_;
  FakeNet net_;
  std::array<uint64_t, 4> likely_{};  // per cent, by FakeEvent
  bool wild_ = false;                 // from when the windows are open
  int breaks_left_ = 0;
  int breaks_ = 0;
  std::vector<std::unique_ptr<FakeRank>> ranks_;
  std::vector<std::unique_ptr<Flow>> flows_;
  std::vector<Window> windows_;
  std::vector<void*> memory_;
};

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr const char* kSchedules = "300";
#else
constexpr const char* kSchedules = "3000";
#endif

TEST(Schedule, RandomNetworks_EverythingArrivesOnceIntactInOrder) {
  const uint64_t first = std::stoull(foreign_variable("TUTTI_TEST_SEED").value_or("1"));
  const uint64_t n = std::stoull(foreign_variable("TUTTI_TEST_SCHEDULES").value_or(kSchedules));
  int64_t breaks = 0;
  for (uint64_t seed = first; seed < first + n; ++seed) {
    Schedule schedule(seed);
    const std::string wrong = schedule.run();
    breaks += schedule.breaks();
    ASSERT_EQ(wrong, "") << "again: TUTTI_TEST_SCHEDULES=1 TUTTI_TEST_SEED=" << seed;
  }
  std::cout << n << " schedules, " << breaks << " paths were broken\n";
  if (n > 100) {
    EXPECT_GT(breaks, static_cast<int64_t>(n));
  }
}

}  // namespace
}  // namespace tutti::transport::testing
