// SPDX-License-Identifier: Apache-2.0
// Agents of one process: bytes and counters by every way, refusals, taking memory back.
#include <atomic>
#include <numeric>
#include <thread>

#include <gmock/gmock.h>

#include "tests/unit/transfer_support.h"

namespace tutti::transfer::testing {
namespace {

using ::testing::HasSubstr;

class Transfers : public ::testing::TestWithParam<Way> {
 protected:
  static constexpr size_t kBytes = 9 << 20;

  Transfers() {
    region_ = target_.register_region(memory_.data(), memory_.bytes());
    peer_ = initiator_.import_blob(target_.export_blob());
  }
  Way way() const { return GetParam(); }
  std::shared_ptr<Request> put(std::vector<Descriptor> ranges, Signal signal = {}) {
    return initiator_.start(peer_, Kind::kPut, std::move(ranges), signal);
  }
  std::shared_ptr<Request> get(std::vector<Descriptor> ranges) {
    return initiator_.start(peer_, Kind::kGet, std::move(ranges), {});
  }

  Agent target_{options_for(GetParam(), "target")};
  Agent initiator_{options_for(GetParam(), "initiator")};
  Memory memory_{GetParam(), kBytes};
  uint32_t region_ = 0;
  std::shared_ptr<RemoteAgent> peer_;
};

INSTANTIATE_TEST_SUITE_P(Ways, Transfers, ::testing::Values(Way::kMapped, Way::kPulled, Way::kTcp),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(Transfers, EachWay_IsTheOneMeant) {
  auto data = pattern(100, 1);
  const auto request = put({{data.data(), region_, 0, data.size()}});
  EXPECT_EQ(request->route.load(), way() == Way::kMapped   ? Route::kCopy
                                   : way() == Way::kPulled ? Route::kPull
                                                           : Route::kNetwork);
  EXPECT_EQ(outcome(initiator_, request), "");
}

TEST_P(Transfers, PutsOfManySizes_ArriveWhereTheyBelong) {
  uint64_t signals = 0;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64 << 10},
                             size_t{(64 << 10) + 1}, size_t{(1 << 20) + 3}, size_t{5 << 20}}) {
    SCOPED_TRACE(bytes);
    std::memset(memory_.data(), 0, memory_.bytes());
    auto data = pattern(bytes + 1, static_cast<unsigned>(bytes));
    const size_t offset = 12345;
    const auto request =
        put({{data.data() + 1, region_, offset, bytes}}, {.value = 1, .counter = 3});
    EXPECT_EQ(outcome(initiator_, request), "");
    EXPECT_EQ(target_.counter(3), ++signals);
    EXPECT_EQ(std::memcmp(memory_.data() + offset, data.data() + 1, bytes), 0);
    EXPECT_TRUE(all_are(memory_.data(), offset, std::byte{0}));
    EXPECT_TRUE(all_are(memory_.data() + offset + bytes, 4096, std::byte{0}));
  }
  EXPECT_EQ(target_.counter(2), 0U);
}

TEST_P(Transfers, ManyDescriptors_EachInItsPlace) {
  constexpr size_t kBlocks = 1000, kBlock = 4093;
  auto data = pattern(kBlocks * kBlock, 5);
  std::vector<Descriptor> there, back;
  std::vector<std::byte> returned(data.size());
  for (size_t i = 0; i < kBlocks; ++i) {
    const size_t place = (i * 7 % kBlocks) * 9000;  // scattered, with gaps, none aligned
    const size_t bytes = i % 10 == 0 ? 0 : kBlock;
    there.push_back({data.data() + i * kBlock, region_, place, bytes});
    back.push_back({returned.data() + i * kBlock, region_, place, bytes});
  }
  EXPECT_EQ(outcome(initiator_, put(there, {.value = 5, .counter = 0})), "");
  EXPECT_EQ(target_.counter(0), 5U);
  EXPECT_EQ(outcome(initiator_, get(back)), "");
  for (size_t i = 0; i < kBlocks; ++i) {
    const std::byte* const got = returned.data() + i * kBlock;
    if (i % 10 == 0) {
      EXPECT_TRUE(all_are(got, kBlock, std::byte{0})) << i;
    } else {
      EXPECT_EQ(std::memcmp(got, data.data() + i * kBlock, kBlock), 0) << i;
    }
  }
}

TEST_P(Transfers, MoreDescriptorsThanANoteHolds_Arrive) {
  constexpr size_t kBlocks = kRangesPerNote * 2 + 5;
  std::vector<uint32_t> words(kBlocks), returned(kBlocks);
  std::iota(words.begin(), words.end(), 1U);
  std::vector<Descriptor> there, back;
  for (size_t i = 0; i < kBlocks; ++i) {
    there.push_back({reinterpret_cast<std::byte*>(&words[i]), region_, 8 * i, 4});
    back.push_back({reinterpret_cast<std::byte*>(&returned[i]), region_, 8 * i, 4});
  }
  EXPECT_EQ(outcome(initiator_, put(there)), "");
  EXPECT_EQ(outcome(initiator_, get(back)), "");
  EXPECT_EQ(returned, words);
}

TEST_P(Transfers, NoDescriptors_OnlyASignal) {
  EXPECT_EQ(outcome(initiator_, put({}, {.value = UINT64_C(1) << 40, .counter = 255})), "");
  EXPECT_EQ(target_.counter(255), UINT64_C(1) << 40);
  EXPECT_EQ(outcome(initiator_, get({})), "");
}

TEST_P(Transfers, CounterIsSeen_DataIsThere) {
  constexpr unsigned kPuts = 60;
  constexpr size_t kBlock = 200'000;
  std::atomic<unsigned> wrong{0}, seen{0};
  std::thread reader([&] {
    for (unsigned i = 1; i <= kPuts; ++i) {
      if (!target_.wait_counter(1, i, soon())) return;
      const auto value = static_cast<std::byte>(i);
      if (!all_are(memory_.data() + i % 2 * kBlock, kBlock, value)) ++wrong;
      seen = i;
    }
  });
  for (unsigned i = 1; i <= kPuts; ++i) {
    std::vector<std::byte> block(kBlock, static_cast<std::byte>(i));
    std::vector<Descriptor> ranges;
    for (size_t at = 0; at < kBlock; at += 50'000)
      ranges.push_back({block.data() + at, region_, i % 2 * kBlock + at, 50'000});
    EXPECT_EQ(outcome(initiator_, put(ranges, {.value = 1, .counter = 1})), "");
    while (seen.load() < i) sleep_ns(10 * kNsPerUs);  // before it is overwritten
  }
  reader.join();
  EXPECT_EQ(wrong.load(), 0U);
}

TEST_P(Transfers, ManyInFlightBothDirections_AllEnd) {
  const auto back = target_.import_blob(initiator_.export_blob());
  Memory other(way(), 4 << 20);
  const uint32_t region = initiator_.register_region(other.data(), other.bytes());
  const auto again = target_.import_blob(initiator_.export_blob());
  auto data = pattern(4 << 20, 9);
  std::vector<std::shared_ptr<Request>> forth, hence;
  for (size_t i = 0; i < 16; ++i) {
    const size_t at = i * (256 << 10);
    forth.push_back(put({{data.data() + at, region_, at, 256 << 10}}, {.value = 1, .counter = 7}));
    hence.push_back(target_.start(again, Kind::kPut, {{data.data() + at, region, at, 256 << 10}},
                                  {.value = 1, .counter = 8}));
  }
  for (const auto& request : forth) EXPECT_EQ(outcome(initiator_, request), "");
  for (const auto& request : hence) EXPECT_EQ(outcome(target_, request), "");
  EXPECT_TRUE(target_.wait_counter(7, 16, soon()));
  EXPECT_TRUE(initiator_.wait_counter(8, 16, soon()));
  EXPECT_EQ(std::memcmp(memory_.data(), data.data(), data.size()), 0);
  EXPECT_EQ(std::memcmp(other.data(), data.data(), data.size()), 0);
  EXPECT_THAT(refusal([&] {
                std::byte b{};
                (void)target_.start(back, Kind::kPut, {{&b, region, 0, 1}}, {});
              }),
              HasSubstr("has no region"));  // that blob is older than the region
}

TEST_P(Transfers, NobodyCalls_TheTargetIsServed) {
  auto data = pattern(3 << 20, 4);
  const auto request = put({{data.data(), region_, 0, data.size()}}, {.value = 1, .counter = 0});
  const Deadline deadline = soon();
  while (target_.counter(0) == 0 && !deadline.expired()) sleep_ns(kNsPerMs);
  EXPECT_EQ(target_.counter(0), 1U);
  EXPECT_EQ(std::memcmp(memory_.data(), data.data(), data.size()), 0);
  EXPECT_EQ(outcome(initiator_, request), "");
}

TEST_P(Transfers, BadDescriptors_RefusedByName) {
  std::byte b{};
  const auto refused = [&](std::vector<Descriptor> ranges, Signal signal = {}) {
    return refusal([&] { (void)put(ranges, signal); });
  };
  const auto bytes = std::to_string(kBytes);
  EXPECT_THAT(
      refused({{&b, region_, 0, 1}, {&b, region_, kBytes, 1}}),
      HasSubstr("descriptor 1: 1 bytes at offset " + bytes + " leave region 1 of agent 'target'"));
  EXPECT_THAT(refused({{&b, region_, 1, UINT64_MAX}}), HasSubstr("descriptor 0"));
  EXPECT_THAT(refused({{&b, region_, UINT64_MAX, 2}}), HasSubstr("descriptor 0"));
  EXPECT_THAT(refused({{&b, 77, 0, 1}}), HasSubstr("has no region 77"));
  EXPECT_THAT(refused({{nullptr, region_, 0, 1}}), HasSubstr("local is NULL"));
  EXPECT_THAT(refused({}, {.value = 1, .counter = 256}), HasSubstr("counter 256"));
  EXPECT_THAT(refused(std::vector<Descriptor>(kMostDescriptors + 1)), HasSubstr("1048577"));
  EXPECT_EQ(outcome(initiator_, put({{nullptr, region_, kBytes, 0}})), "");
}

// The blob still has the region: who knows better is the target.
TEST_P(Transfers, DeregisteredRegion_RefusedByTheTargetByName) {
  target_.deregister_region(region_);
  std::memset(memory_.data(), 7, memory_.bytes());
  std::vector<std::byte> data(2 << 20);
  const std::string put_end = outcome(
      initiator_, put({{data.data(), region_, 0, data.size()}}, {.value = 1, .counter = 0}));
  EXPECT_THAT(put_end, HasSubstr("agent 'target'"));
  EXPECT_THAT(put_end, ::testing::AnyOf(HasSubstr("deregistered"), HasSubstr("has no region 1")));
  EXPECT_THAT(outcome(initiator_, get({{data.data(), region_, 0, data.size()}})),
              HasSubstr("agent 'target'"));
  EXPECT_TRUE(all_are(memory_.data(), memory_.bytes(), std::byte{7}));
  EXPECT_EQ(target_.counter(0), 0U);
  EXPECT_THAT(refusal([&] { target_.deregister_region(region_); }), HasSubstr("no region 1"));
  // The peer itself is well.
  const uint32_t next = target_.register_region(memory_.data(), memory_.bytes());
  const auto fresh = initiator_.import_blob(target_.export_blob());
  EXPECT_EQ(outcome(initiator_,
                    initiator_.start(fresh, Kind::kPut, {{data.data(), next, 0, data.size()}}, {})),
            "");
}

TEST_P(Transfers, DeregisterWhilePutsRun_NothingIsWrittenAfterwards) {
  std::vector<std::byte> data(8 << 20, std::byte{1});
  for (int round = 0; round < 5; ++round) {
    const uint32_t region = target_.register_region(memory_.data(), memory_.bytes());
    const auto peer = initiator_.import_blob(target_.export_blob());
    std::vector<std::shared_ptr<Request>> requests;
    for (int i = 0; i < 3; ++i) {
      requests.push_back(initiator_.start(peer, i == 1 ? Kind::kGet : Kind::kPut,
                                          {{data.data(), region, 0, data.size()}}, {}));
    }
    sleep_ns(round * 300 * kNsPerUs);
    target_.deregister_region(region);
    std::memset(memory_.data(), 7, memory_.bytes());
    for (const auto& request : requests) (void)outcome(initiator_, request);
    for (const auto& request : requests) {
      EXPECT_TRUE(request->has_ended())
          << "kind " << static_cast<int>(request->kind) << " at " << request->range << "+"
          << request->offset << " arrived " << request->arrived_bytes;
    }
    EXPECT_TRUE(all_are(memory_.data(), memory_.bytes(), std::byte{7})) << "round " << round;
    initiator_.release(peer);
  }
}

TEST_P(Transfers, CancelInFlight_MemoryIsTheCallersAgain) {
  std::vector<std::byte> data(8 << 20, std::byte{1});
  for (int round = 0; round < 6; ++round) {
    const bool putting = round % 2 == 0;
    const uint64_t signals = target_.counter(0);
    const auto request =
        putting ? put({{data.data(), region_, 0, data.size()}}, {.value = 1, .counter = 0})
                : get({{data.data(), region_, 0, data.size()}});
    sleep_ns(round * 200 * kNsPerUs);
    initiator_.cancel(request);
    ASSERT_TRUE(request->has_ended());
    std::memset(data.data(), 9, data.size());
    sleep_ns(10 * kNsPerMs);
    EXPECT_TRUE(all_are(data.data(), data.size(), std::byte{9})) << "round " << round;
    if (request->code == StatusCode::kOk) {
      EXPECT_EQ(target_.counter(0), signals + (putting ? 1 : 0));
    } else {
      EXPECT_EQ(request->code, StatusCode::kInvalidUsage);
      EXPECT_THAT(request->why, HasSubstr("cancelled"));
    }
    // What was put is of the put's bytes or the memory's, never what came after the cancel.
    if (putting) {
      target_.deregister_region(region_);  // what is still under way is thrown away from here on
      EXPECT_EQ(std::memchr(memory_.data(), 9, memory_.bytes()), nullptr) << "round " << round;
      region_ = target_.register_region(memory_.data(), memory_.bytes());
      initiator_.release(peer_);
      peer_ = initiator_.import_blob(target_.export_blob());
    }
    std::memset(data.data(), 1, data.size());
  }
  EXPECT_EQ(outcome(initiator_, put({{data.data(), region_, 0, data.size()}})), "");
}

TEST_P(Transfers, WaitWithoutTime_SaysNotYet) {
  std::vector<std::byte> data(8 << 20);
  const auto request = put({{data.data(), region_, 0, data.size()}});
  const int64_t before = now_ns();
  (void)initiator_.wait(*request, Deadline::after_ns(0));
  (void)initiator_.wait_counter(9, 1, Deadline::after_ns(20 * kNsPerMs));
  EXPECT_LT(now_ns() - before, 5 * kNsPerSecond);
  EXPECT_FALSE(initiator_.wait_counter(9, 1, Deadline::after_ns(0)));
  const Deadline deadline = soon();
  while (!initiator_.test(*request) && !deadline.expired()) {
  }
  EXPECT_EQ(outcome(initiator_, request), "");
}

TEST_P(Transfers, AgentLeavesAndComesBack_NewBlobWorks) {
  auto gone = std::make_unique<Agent>(options_for(way(), "comes and goes"));
  Memory memory(way(), 1 << 20);
  uint32_t region = gone->register_region(memory.data(), memory.bytes());
  const auto old = initiator_.import_blob(gone->export_blob());
  std::vector<std::byte> data(1 << 20, std::byte{3});
  const auto put_to = [&](const std::shared_ptr<RemoteAgent>& peer) {
    return outcome(initiator_,
                   initiator_.start(peer, Kind::kPut, {{data.data(), region, 0, data.size()}},
                                    {.value = 1, .counter = 0}));
  };
  EXPECT_EQ(put_to(old), "");
  gone.reset();
  std::string end;
  try {
    end = put_to(old);
  } catch (const Error& e) {
    end = std::to_string(static_cast<int>(e.code())) + ": " + e.what();
  }
  EXPECT_THAT(end, HasSubstr("agent 'comes and goes'"));
  EXPECT_EQ(end.substr(0, 2), "6:") << end;
  EXPECT_EQ(initiator_.failure_of(*old).code(), StatusCode::kRemoteError);
  EXPECT_EQ(initiator_.failure_of(*peer_).code(), StatusCode::kOk);  // others go on
  gone = std::make_unique<Agent>(options_for(way(), "comes and goes"));
  region = gone->register_region(memory.data(), memory.bytes());
  EXPECT_EQ(put_to(initiator_.import_blob(gone->export_blob())), "");
}

TEST_P(Transfers, AgentDestroyedWithTransfersInFlight_BothEndsEnd) {
  std::vector<std::byte> data(8 << 20);
  for (const bool initiator_goes : {true, false}) {
    auto from = std::make_unique<Agent>(options_for(way(), "from"));
    auto to = std::make_unique<Agent>(options_for(way(), "to"));
    Memory memory(way(), 8 << 20);
    const uint32_t region = to->register_region(memory.data(), memory.bytes());
    const auto peer = from->import_blob(to->export_blob());
    std::vector<std::shared_ptr<Request>> requests;
    for (int i = 0; i < 4; ++i) {
      requests.push_back(from->start(peer, i % 2 == 0 ? Kind::kPut : Kind::kGet,
                                     {{data.data(), region, 0, data.size()}}, {}));
    }
    (initiator_goes ? from : to).reset();
    for (const auto& request : requests) {
      if (!initiator_goes) (void)outcome(*from, request);
      EXPECT_TRUE(request->has_ended());
    }
  }
}

TEST_P(Transfers, OwnBlob_IsAPeerToo) {
  const auto self = target_.import_blob(target_.export_blob());
  auto data = pattern(300'000, 2);
  const auto request = target_.start(self, Kind::kPut, {{data.data(), region_, 5, data.size()}},
                                     {.value = 2, .counter = 4});
  EXPECT_EQ(outcome(target_, request), "");
  EXPECT_EQ(target_.counter(4), 2U);
  EXPECT_EQ(std::memcmp(memory_.data() + 5, data.data(), data.size()), 0);
}

TEST(TcpTransfers, PathsBreakInTheMiddle_BytesArriveOnce) {
  Agent target(options_for(Way::kTcp, "target"));
  Agent initiator(options_for(Way::kTcp, "initiator"));
  Memory memory(Way::kTcp, 16 << 20);
  const uint32_t region = target.register_region(memory.data(), memory.bytes());
  const auto peer = initiator.import_blob(target.export_blob());
  auto data = pattern(memory.bytes(), 3);
  std::vector<std::byte> back(memory.bytes());
  uint64_t broken = 0;
  for (unsigned round = 0; round < 6; ++round) {
    (void)target.export_blob();  // takes its lock: sanitizers don't see that sockets order threads
    std::memset(memory.data(), 0, memory.bytes());
    std::fill(back.begin(), back.end(), std::byte{0});
    const auto request = initiator.start(peer, Kind::kPut, {{data.data(), region, 0, data.size()}},
                                         {.value = 1, .counter = 0});
    (void)initiator.wait(*request, Deadline::after_ns(round * kNsPerMs));
    broken += initiator.sabotage(*peer, round % 2) ? 1 : 0;
    ASSERT_EQ(outcome(initiator, request), "");
    EXPECT_EQ(target.counter(0), round + 1);
    EXPECT_EQ(std::memcmp(memory.data(), data.data(), data.size()), 0);
    const auto get = initiator.start(peer, Kind::kGet, {{back.data(), region, 0, back.size()}}, {});
    (void)initiator.wait(*get, Deadline::after_ns(round * kNsPerMs));
    broken += initiator.sabotage(*peer, 0) ? 1 : 0;
    ASSERT_EQ(outcome(initiator, get), "");
    EXPECT_EQ(std::memcmp(back.data(), data.data(), data.size()), 0);
  }
  EXPECT_GT(broken, 3U);
}

TEST(TcpTransfers, WrongSecret_Refused) {
  Agent target(options_for(Way::kTcp, "target"));
  AgentOptions options = options_for(Way::kTcp, "thief");
  Agent thief(options);
  Memory memory(Way::kTcp, 4096);
  const uint32_t region = target.register_region(memory.data(), memory.bytes());
  Blob blob = decode_blob(target.export_blob());
  blob.secret[0] ^= std::byte{1};
  const auto peer = thief.import_blob(encode(blob));
  std::byte b{1};
  const auto request = thief.start(peer, Kind::kPut, {{&b, region, 0, 1}}, {});
  EXPECT_THAT(outcome(thief, request), HasSubstr("secret"));
  EXPECT_EQ(memory.data()[0], std::byte{0});
}

TEST(TcpTransfers, OneEncrypts_RefusedWithWhatToDo) {
  Agent target(options_for(Way::kTcp, "target"));
  AgentOptions options = options_for(Way::kTcp, "other");
  options.config.local.encrypt = true;
  Agent other(options);
  const auto peer = other.import_blob(target.export_blob());
  EXPECT_THAT(outcome(other, other.start(peer, Kind::kPut, {}, {.value = 1, .counter = 0})),
              HasSubstr("TUTTI_ENCRYPT"));
}

TEST(TcpTransfers, BothEncrypt_BytesArrive) {
  AgentOptions options = options_for(Way::kTcp, "sealed");
  options.config.local.encrypt = true;
  Agent target(options), other(options);
  Memory memory(Way::kTcp, 3 << 20);
  const uint32_t region = target.register_region(memory.data(), memory.bytes());
  const auto peer = other.import_blob(target.export_blob());
  auto data = pattern(memory.bytes(), 8);
  EXPECT_EQ(
      outcome(other, other.start(peer, Kind::kPut, {{data.data(), region, 0, data.size()}}, {})),
      "");
  EXPECT_EQ(std::memcmp(memory.data(), data.data(), data.size()), 0);
}

// Who can't map the target's control page must not have it read memory for him: the offer is
// refused, and the bytes go by frames.
TEST(Pulls, WrongToken_BytesAreSentInstead) {
  Agent target(options_for(Way::kPulled, "target"));
  Agent initiator(options_for(Way::kPulled, "initiator"));
  Memory memory(Way::kPulled, 1 << 20);
  const uint32_t region = target.register_region(memory.data(), memory.bytes());
  const auto peer = initiator.import_blob(target.export_blob());
  target.forget_pull_token();
  auto data = pattern(memory.bytes(), 3);
  const auto request = initiator.start(peer, Kind::kPut, {{data.data(), region, 0, data.size()}},
                                       {.value = 1, .counter = 0});
  EXPECT_EQ(outcome(initiator, request), "");
  EXPECT_EQ(request->route.load(), Route::kNetwork);
  EXPECT_TRUE(peer->refuses_pulls);
  EXPECT_EQ(target.counter(0), 1U);
  EXPECT_EQ(std::memcmp(memory.data(), data.data(), data.size()), 0);
}

TEST(Agents, TransportThatCarriesNone_Refused) {
  AgentOptions options = options_for(Way::kTcp, "x");
  std::strcpy(options.config.agreed.transport, "inproc");
  EXPECT_THAT(refusal([&] { Agent agent(options); }, StatusCode::kInvalidUsage),
              HasSubstr("shm, tcp and rdma"));
}

}  // namespace
}  // namespace tutti::transfer::testing
