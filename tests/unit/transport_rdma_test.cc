// The verbs carrier, two of them in one thread; skipped where there is no device. The guests of
// tests/vm have one.
#include <poll.h>

#include <cstring>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/device/device.h"
#include "tests/unit/rdma_carriers.h"

namespace tutti::transport::rdma {
namespace {

using network::FrameKind;
using network::OutgoingFrame;
using testing::HasSubstr;

OutgoingFrame frame_of(const std::vector<std::byte>& data, uint64_t number, uint64_t token) {
  return {.header = {.payload_bytes = static_cast<uint32_t>(data.size()),
                     .kind = FrameKind::kPut,
                     .number = number},
          .payload = data.data(),
          .token = token};
}

TEST_F(CarrierTest, HeaderOnly_BothWays) {
  auto path = connect();
  ASSERT_EQ(b->paths.size(), 1u);
  EXPECT_EQ(b->sink.frames[0].header.kind, FrameKind::kHello);
  for (uint64_t i = 1; i <= 500; ++i) {
    send(*b->paths[0], {.header = {.sequence = i, .kind = FrameKind::kAck, .word = 9}});
    send(*path, {.header = {.sequence = i, .kind = FrameKind::kAck}});
  }
  ASSERT_TRUE(until([&] { return a->sink.count == 500 && b->sink.count == 501; }));
  for (uint64_t i = 0; i < 500; ++i) EXPECT_EQ(a->sink.frames[i].header.sequence, i + 1);
  EXPECT_EQ(a->sink.frames[0].header.word, 9u);
  EXPECT_THAT(path->describe(), HasSubstr("gid"));
}

TEST_F(CarrierTest, PayloadsWithoutKey_ArriveWhole) {
  auto path = connect();
  b->sink.frames.clear();
  const std::vector<size_t> sizes = {1,    63,   64,   65,   200,    4031,
                                     4032, 4033, 8064, 8065, 300001, 1 << 20};
  std::vector<std::vector<std::byte>> sent;
  for (const size_t bytes : sizes) sent.push_back(pattern(bytes, static_cast<uint32_t>(bytes)));
  for (size_t i = 0; i < sizes.size(); ++i) send(*path, frame_of(sent[i], i, i + 1));
  ASSERT_TRUE(until([&] { return b->sink.frames.size() == sizes.size(); })) << b->sink.why;
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(b->sink.frames[i].header.number, i);
    EXPECT_TRUE(b->sink.frames[i].payload == sent[i]) << sizes[i];
  }
  ASSERT_TRUE(until([&] { return a->sink.sent_tokens.size() == sizes.size(); }));
  for (const auto& [token, times] : a->sink.sent_tokens) EXPECT_EQ(times, 1) << token;
  EXPECT_EQ(b->sink.places, 5);
  EXPECT_TRUE(until([&] { return path->backlog_bytes() == 0; }));
}

TEST_F(CarrierTest, UnwantedPayload_IsThrownAway) {
  auto path = connect();
  b->sink.throw_away = true;
  const auto data = pattern(100000, 3);
  send(*path, frame_of(data, 1, 0));
  send(*path, {.header = {.kind = FrameKind::kAck, .number = 4}});
  ASSERT_TRUE(until([&] { return b->sink.count == 3; }));
  EXPECT_EQ(b->sink.frames[2].header.number, 4u);
}

// Where the sender's bytes lie: in exposed memory, in a region of tuttiMemAlloc, elsewhere.
TEST_F(CarrierTest, PayloadsWithKey_ArePlacedFromAnyMemory) {
  auto path = connect();
  b->sink.frames.clear();
  constexpr size_t kBytes = 1 << 20;
  std::vector<std::byte> target(kBytes), exposed = pattern(kBytes, 1);
  const network::MemoryKey key = b->carrier->expose(target.data(), target.size());
  EXPECT_NE(key, network::MemoryKey{});
  a->carrier->expose(exposed.data(), exposed.size());
  auto* const region = static_cast<std::byte*>(device::allocate_shared(kBytes));
  const auto in_region = pattern(kBytes, 2), plain = pattern(kBytes, 3);
  std::memcpy(region, in_region.data(), kBytes);
  const std::byte* const sources[] = {exposed.data(), region, plain.data()};
  for (uint32_t s = 0; s < 3; ++s) {
    for (const size_t bytes : {size_t{100}, size_t{5000}, kBytes - 64}) {
      std::fill(target.begin(), target.end(), std::byte{0});
      const uint64_t before = b->sink.count;
      send(*path,
           {.header = {.payload_bytes = static_cast<uint32_t>(bytes), .kind = FrameKind::kMessage},
            .payload = sources[s],
            .token = 100 * s + bytes,
            .into = &key,
            .into_offset = 64});
      ASSERT_TRUE(until([&] { return b->sink.count > before; })) << b->sink.why << a->sink.why;
      const Arrived& last = b->sink.frames.back();
      EXPECT_EQ(last.placed_by_path, bytes > 1024);
      if (last.placed_by_path) {
        EXPECT_EQ(std::memcmp(target.data() + 64, sources[s], bytes), 0) << s << " " << bytes;
        EXPECT_EQ(target[63], std::byte{0});
        EXPECT_TRUE(last.payload.empty());
      } else {
        EXPECT_EQ(std::memcmp(last.payload.data(), sources[s], bytes), 0);
      }
      ASSERT_TRUE(until([&] { return a->sink.sent_tokens.count(100 * s + bytes) == 1; }));
    }
  }
  device::free_shared(region);
  path.reset();
  b->paths.clear();
  a.reset();  // before the memory that it exposes
  b.reset();
}

TEST_F(CarrierTest, FreedRegion_IsRegisteredAnew) {
  auto path = connect();
  constexpr size_t kBytes = 64 << 10;
  std::vector<std::byte> target(kBytes);
  const network::MemoryKey key = b->carrier->expose(target.data(), kBytes);
  for (uint32_t round = 0; round < 100; ++round) {
    auto* const region = static_cast<std::byte*>(device::allocate_shared(kBytes));
    const auto data = pattern(kBytes, round);
    std::memcpy(region, data.data(), kBytes);
    send(*path, {.header = {.payload_bytes = kBytes, .kind = FrameKind::kMessage},
                 .payload = region,
                 .token = round + 1,
                 .into = &key});
    ASSERT_TRUE(until(
        [&] { return a->sink.sent_tokens.count(round + 1) == 1 && b->sink.count == round + 2; }));
    ASSERT_EQ(std::memcmp(target.data(), data.data(), kBytes), 0) << round;
    device::free_shared(region);
  }
  path.reset();
  b->paths.clear();
  b.reset();  // before the memory that it exposes
}

// Thousands of frames of random sizes both ways: credits never run dry, order is kept.
TEST_F(CarrierTest, RandomFramesBothWays_KeepOrderAndBytes) {
  auto path = connect();
  b->sink.frames.clear();
  b->sink.count = 0;
  a->sink.keep = b->sink.keep = false;
  std::mt19937 random(11);
  const auto data = pattern(40000, 5);
  const uint64_t frames = foreign_variable("TUTTI_TEST_LONG") ? 20000 : 2000;
  struct Side {
    network::Path* path;
    KeepingSink* out;
    uint64_t sent = 0, seen = 0;
    bool bad = false;
  } sides[2] = {{path.get(), &b->sink}, {b->paths[0].get(), &a->sink}};
  for (Side& side : sides) {
    side.out->on_arrival = [&side](network::Path&, const network::FrameHeader& header) {
      side.bad |= header.sequence != ++side.seen;
    };
  }
  const bool all = until(
      [&] {
        for (Side& side : sides) {
          for (int burst = static_cast<int>(random() % 40); burst > 0 && side.sent < frames;
               --burst) {
            const uint32_t kind = random() % 8;
            const uint32_t bytes = kind < 5 ? 0 : kind < 7 ? random() % 4000 : random() % 40000;
            if (!side.path->send({.header = {.sequence = side.sent + 1,
                                             .payload_bytes = bytes,
                                             .kind = FrameKind::kPut},
                                  .payload = data.data(),
                                  .token = side.sent + 1}))
              break;
            ++side.sent;
          }
        }
        return sides[0].seen == frames && sides[1].seen == frames;
      },
      200);
  EXPECT_TRUE(all) << sides[0].seen << " " << sides[1].seen << a->sink.why << b->sink.why;
  EXPECT_FALSE(sides[0].bad || sides[1].bad);
  EXPECT_TRUE(until([&] { return a->sink.sent_tokens.size() == frames; }));
}

TEST_F(CarrierTest, ErroredQueuePair_BreaksBothEndsByName) {
  auto path = connect();
  auto other = connect(1);
  const int64_t start = now_ns();
  ASSERT_TRUE(path->sabotage());
  ASSERT_TRUE(until([&] { return a->sink.breaks == 1 && b->sink.breaks == 1; }, 3));
  RecordProperty("ms", static_cast<int>((now_ns() - start) / kNsPerMs));
  EXPECT_THAT(a->sink.why, HasSubstr("qp"));
  EXPECT_THAT(a->sink.why, HasSubstr("Flushed"));
  EXPECT_THAT(b->sink.why, HasSubstr("closed"));
  EXPECT_FALSE(path->send({.header = {.kind = FrameKind::kAck}}));
  // The other path goes on.
  const uint64_t before = b->sink.count;
  EXPECT_TRUE(other->send({.header = {.kind = FrameKind::kAck}}));
  EXPECT_TRUE(until([&] { return b->sink.count == before + 1; }));
}

TEST_F(CarrierTest, ClosedPath_DeliversWhatWasSentThenBreaksThePeers) {
  auto path = connect();
  const auto data = pattern(3000, 1);
  send(*path, frame_of(data, 1, 0));
  send(*path, {.header = {.kind = FrameKind::kBye}});
  path.reset();
  ASSERT_TRUE(until([&] { return b->sink.breaks == 1; }));
  ASSERT_EQ(b->sink.frames.size(), 3u);
  EXPECT_EQ(b->sink.frames[2].header.kind, FrameKind::kBye);
  EXPECT_EQ(a->sink.breaks, 0);
}

TEST_F(CarrierTest, OtherSecret_IsRefused) {
  End stranger(2, config, 77);
  std::string why;
  KeepingSink sink;
  auto path = stranger.carrier->dial(b->peer, 0, sink, &why);
  ASSERT_NE(path, nullptr) << why;
  ASSERT_TRUE(until([&] {
    bool moved = false;
    EXPECT_TRUE(stranger.carrier->progress(&moved).ok());
    return sink.breaks == 1;
  }));
  EXPECT_TRUE(b->paths.empty());
  EXPECT_THAT(sink.why, HasSubstr("can't be connected"));
}

TEST_F(CarrierTest, PeerThatIsGone_IsNamed) {
  const Peer gone = b->peer;
  b.reset();
  std::string why;
  auto path = a->carrier->dial(gone, 0, a->sink, &why);
  ASSERT_NE(path, nullptr) << why;
  ASSERT_TRUE(until([&] { return a->sink.breaks == 1; }));
  EXPECT_THAT(a->sink.why, HasSubstr("could not be reached at any"));
  EXPECT_TRUE(path->refused());
}

TEST_F(CarrierTest, Sleeper_IsWokenByArrivals) {
  auto path = connect();
  while (progress()) {
  }
  while (!b->carrier->arm(false)) progress();
  pollfd entry{.fd = b->carrier->event_fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&entry, 1, 50), 0) << "woken although nothing came";
  ASSERT_TRUE(path->send({.header = {.kind = FrameKind::kAck}}));
  ASSERT_EQ(::poll(&entry, 1, 5000), 1) << "not woken";
  const uint64_t before = b->sink.count;
  bool moved = false;
  const Deadline deadline = Deadline::after_ns(kNsPerSecond);
  while (b->sink.count == before && !deadline.expired())
    ASSERT_TRUE(b->carrier->progress(&moved).ok());
  EXPECT_EQ(b->sink.count, before + 1);
  while (!b->carrier->arm(false)) b->carrier->progress(&moved).ok();
  EXPECT_EQ(::poll(&entry, 1, 50), 0) << "its events are not taken";
}

TEST_F(CarrierTest, Paths_AreQueuePairsTimesRails) {
  const int paths = a->carrier->paths_to(b->peer);
  EXPECT_GE(paths, 2);
  EXPECT_TRUE(a->carrier->reach(b->peer).reachable);
  std::vector<std::unique_ptr<network::Path>> all;
  for (int i = 0; i < paths; ++i) all.push_back(connect(i));
  EXPECT_EQ(b->paths.size(), static_cast<size_t>(paths));
  const Reach none = a->carrier->reach({.rank = 3, .address = std::vector<std::byte>(5)});
  EXPECT_FALSE(none.reachable);
  EXPECT_THAT(none.reason, HasSubstr("rank 3"));
}

}  // namespace
}  // namespace tutti::transport::rdma
