// The tests of CarrierSuite: two carriers in one process, driven in turns, so that every wait has a
// deadline and every frame is looked at.
#include "tests/unit/carrier_suite.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "src/base/clock.h"

namespace tutti::transport {
namespace {

using network::FrameHeader;
using network::FrameKind;
using network::OutgoingFrame;
using network::Path;

constexpr int64_t kPatienceNs = 20 * kNsPerSecond;
constexpr size_t kLargest = 4u << 20;  // of a slot; frames may be as large

// The byte at `offset` of the payload of frame `number`.
std::byte pattern(uint64_t number, size_t offset) {
  return static_cast<std::byte>(number * 131 + offset * 7 + offset / 251);
}
std::vector<std::byte> payload(uint64_t number, size_t bytes) {
  std::vector<std::byte> made(bytes);
  for (size_t i = 0; i < bytes; ++i) made[i] = pattern(number, i);
  return made;
}

// One end of paths: checks what arrives against the pattern, in order.
class End : public network::FrameSink {
 public:
  std::byte* place(const FrameHeader& header) noexcept override {
    EXPECT_GT(header.payload_bytes, 0u);
    if (throw_away.contains(header.number)) return nullptr;
    auto& room = placed[header.number];
    room.assign(header.payload_bytes, std::byte{0});
    return room.data();
  }
  void arrived(Path& at, const FrameHeader& header, const std::byte* data) noexcept override {
    last_path = &at;
    kinds.push_back(header.kind);
    if (header.kind != FrameKind::kMessage) {
      hello_bytes.assign(data, data == nullptr ? data : data + header.payload_bytes);
      return;
    }
    EXPECT_EQ(header.number, next) << "frames of one path arrive in order";
    next = header.number + 1;
    const bool was_placed = placed.contains(header.number);
    if ((header.flags & network::kPlaced) != 0) {
      EXPECT_EQ(data, nullptr);
      data = exposed + header.place;
      ++puts;
    } else if (was_placed) {
      EXPECT_EQ(data, nullptr);
      data = placed[header.number].data();
    }
    if (throw_away.contains(header.number)) return;
    if (header.payload_bytes > 0) check(header, data);
    placed.erase(header.number);
  }
  void check(const FrameHeader& header, const std::byte* data) noexcept {
    ASSERT_NE(data, nullptr) << "frame " << header.number << " of " << header.payload_bytes;
    for (size_t i = 0; i < header.payload_bytes; ++i) {
      ASSERT_EQ(data[i], pattern(header.number, i))
          << "frame " << header.number << " of " << header.payload_bytes << " byte " << i;
    }
  }
  void sent(Path&, uint64_t token) noexcept override {
    EXPECT_TRUE(tokens.insert(token).second) << "token " << token << " told twice";
  }
  void broken(Path&, const std::string& text) noexcept override {
    EXPECT_TRUE(why.empty()) << "told twice";
    why = text.empty() ? "without a reason" : text;
  }

  uint64_t next = 1;  // number of the next kMessage
  int puts = 0;
  std::vector<FrameKind> kinds;
  std::vector<std::byte> hello_bytes;
  std::map<uint64_t, std::vector<std::byte>> placed;
  std::set<uint64_t> throw_away;
  std::set<uint64_t> tokens;
  std::string why;
  Path* last_path = nullptr;
  std::byte* exposed = nullptr;
};

// One rank: a carrier, and the end of the path to the other.
class Node : public network::PathAcceptor {
 public:
  Node(const CarrierMaker& maker, int rank) {
    TransportOptions options;
    options.rank = rank;
    options.n_ranks = 3;
    options.config = &config;
    carrier = maker.make(options);
    carrier->listen(*this);
  }
  // Paths go before their carrier.
  ~Node() override { end_carrier(); }
  void end_carrier() {
    ending = true;
    path.reset(), accepted_path.reset(), carrier.reset();
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  network::FrameSink& stranger_sink() noexcept override {
    EXPECT_FALSE(ending) << "who destroys a carrier is not called by it any more";
    return stranger;
  }
  void accepted(std::unique_ptr<Path> made) noexcept override {
    EXPECT_FALSE(ending);
    accepted_path = std::move(made);
  }
  bool turn() {
    bool moved = false;
    EXPECT_TRUE(carrier->progress(&moved).ok());
    return moved;
  }

  LocalConfig config;
  End end;       // of the path that it dialled
  End stranger;  // of the path that was dialled to it
  bool ending = false;
  std::unique_ptr<network::Carrier> carrier;
  std::unique_ptr<Path> path, accepted_path;
};

struct World {
  explicit World(const CarrierMaker& maker) : a(maker, 0), b(maker, 1) {}
  template <typename Ready>
  bool until(Ready ready, int64_t patience_ns = kPatienceNs) {
    const Deadline deadline = Deadline::after_ns(patience_ns);
    while (!ready()) {
      if (deadline.expired()) return false;
      a.turn(), b.turn();
      if (testing::Test::HasFatalFailure()) return false;
    }
    return true;
  }
  bool send(Path& path, const OutgoingFrame& frame) {
    return until([&] { return path.send(frame); });
  }
  static Peer peer(const Node& of, int rank) {
    Peer made;
    made.rank = rank;
    made.address = of.carrier->address();
    return made;
  }
  // a dials b; both have said hello.
  void connect() {
    std::string why;
    ASSERT_TRUE(a.carrier->reach(peer(b, 1)).reachable) << a.carrier->reach(peer(b, 1)).reason;
    a.path = a.carrier->dial(peer(b, 1), 0, a.end, &why);
    ASSERT_NE(a.path, nullptr) << why;
    const std::vector<std::byte> hello = payload(7, 40);
    ASSERT_TRUE(send(*a.path, {.header = {.payload_bytes = 40, .kind = FrameKind::kHello},
                               .payload = hello.data()}));
    ASSERT_TRUE(until([&] { return b.accepted_path && !b.stranger.kinds.empty(); })) << a.end.why;
    EXPECT_EQ(b.stranger.kinds.front(), FrameKind::kHello);
    EXPECT_EQ(b.stranger.hello_bytes, hello);
    EXPECT_EQ(b.stranger.last_path, b.accepted_path.get());
    ASSERT_TRUE(send(*b.accepted_path, {.header = {.kind = FrameKind::kWelcome}}));
    ASSERT_TRUE(until([&] { return !a.end.kinds.empty(); })) << a.end.why << b.stranger.why;
    EXPECT_EQ(a.end.kinds.front(), FrameKind::kWelcome);
  }
  void disconnect() {
    a.path.reset(), b.accepted_path.reset();
    a.end = End(), b.stranger = End();
  }

  Node a, b;
};

FrameHeader message(uint64_t number, size_t bytes) {
  return {.payload_bytes = static_cast<uint32_t>(bytes),
          .kind = FrameKind::kMessage,
          .stream = 5,
          .number = number};
}

size_t open_files() {
  const auto entries = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

void CarrierSuite::SetUp() {
  if (const std::string why = GetParam().skip(); !why.empty()) GTEST_SKIP() << why;
}

TEST_P(CarrierSuite, Dial_SaysHelloAndIsWelcomed) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  EXPECT_FALSE(world.a.path->describe().empty());
  EXPECT_FALSE(world.a.carrier->describe().empty());
  EXPECT_GE(world.a.carrier->paths_to(World::peer(world.b, 1)), 1);
}

TEST_P(CarrierSuite, Reach_OfAnAddressOfSomethingElse_IsDeniedWithAReason) {
  World world(GetParam());
  Peer peer;
  peer.rank = 1;
  EXPECT_FALSE(world.a.carrier->reach(peer).reachable);
  EXPECT_FALSE(world.a.carrier->reach(peer).reason.empty());
  peer.address.assign(300, std::byte{0x5a});
  EXPECT_FALSE(world.a.carrier->reach(peer).reachable);
  std::string why;
  EXPECT_EQ(world.a.carrier->dial(peer, 0, world.a.end, &why), nullptr);
  EXPECT_FALSE(why.empty());
}

TEST_P(CarrierSuite, Frames_OfEverySize_ArriveBothWaysUnchanged) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const size_t most = std::min(kLargest, world.a.path->max_payload_bytes());
  uint64_t number = 1;
  uint64_t sum = 0;
  for (const size_t bytes :
       {0ul, 1ul, 8ul, 100ul, 4096ul, 8193ul, 65536ul, 300001ul, 1ul << 20, most}) {
    if (bytes > most) continue;
    const std::vector<std::byte> data = payload(number, bytes);
    const OutgoingFrame frame{
        .header = message(number, bytes), .payload = data.data(), .token = number};
    ASSERT_TRUE(world.send(*world.a.path, frame));
    ASSERT_TRUE(world.send(*world.b.accepted_path, frame));
    ++number;
    ASSERT_TRUE(world.until([&] {
      return world.a.end.next == number && world.b.stranger.next == number &&
             world.a.end.tokens.contains(number - 1) &&
             world.b.stranger.tokens.contains(number - 1);
    })) << bytes
        << " bytes; " << world.a.end.why << world.b.stranger.why;
    EXPECT_EQ(world.a.path->backlog_bytes(), 0u);
    sum += bytes;
    EXPECT_GE(world.a.path->delivered_bytes(), sum);
  }
}

TEST_P(CarrierSuite, Frames_ManyOfMixedSizes_ArriveInOrderAndEachTokenOnce) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  constexpr uint64_t kFrames = 1500;
  std::vector<std::vector<std::byte>> payloads;
  size_t seed = 1;
  for (uint64_t n = 1; n <= kFrames; ++n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const size_t limit = n % 50 == 0 ? 400000 : n % 7 == 0 ? 20000 : 300;
    payloads.push_back(
        payload(n, (seed >> 33) % std::min(limit, world.a.path->max_payload_bytes())));
  }
  const auto push = [&](Path& path, uint64_t* next) {
    while (*next <= kFrames) {
      const auto& data = payloads[*next - 1];
      if (!path.send(
              {.header = message(*next, data.size()), .payload = data.data(), .token = *next}))
        return;
      ++*next;
    }
  };
  uint64_t from_a = 1, from_b = 1;
  ASSERT_TRUE(world.until([&] {
    push(*world.a.path, &from_a);
    push(*world.b.accepted_path, &from_b);
    return world.b.stranger.next > kFrames && world.a.end.next > kFrames &&
           world.a.end.tokens.size() == kFrames && world.b.stranger.tokens.size() == kFrames;
  })) << world.a.end.next
      << " " << world.b.stranger.next << world.a.end.why;
}

TEST_P(CarrierSuite, Place_NowhereForAFrame_ThrowsItAwayAndCarriesTheRest) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  world.b.stranger.throw_away = {2, 3};
  std::vector<std::vector<std::byte>> payloads;
  for (uint64_t n = 1; n <= 5; ++n) payloads.push_back(payload(n, 200000));
  for (uint64_t n = 1; n <= 5; ++n) {
    ASSERT_TRUE(
        world.send(*world.a.path,
                   {.header = message(n, 200000), .payload = payloads[n - 1].data(), .token = n}));
  }
  ASSERT_TRUE(
      world.until([&] { return world.b.stranger.next == 6 && world.a.end.tokens.size() == 5; }));
}

TEST_P(CarrierSuite, Close_ByOneOwner_BreaksTheOthersPathWithAReason) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  world.a.path.reset();
  ASSERT_TRUE(world.until([&] { return !world.b.stranger.why.empty(); }));
  EXPECT_NE(world.b.stranger.why, "without a reason");
  EXPECT_FALSE(world.b.accepted_path->send({.header = message(1, 0)}));
}

TEST_P(CarrierSuite, Close_AfterTheLastFrame_StillDeliversIt) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const std::vector<std::byte> data = payload(1, 3000);
  ASSERT_TRUE(
      world.send(*world.a.path, {.header = message(1, 3000), .payload = data.data(), .token = 1}));
  ASSERT_TRUE(world.until([&] { return world.a.end.tokens.contains(1); }));
  world.a.path.reset();
  ASSERT_TRUE(world.until([&] { return !world.b.stranger.why.empty(); }));
  EXPECT_EQ(world.b.stranger.next, 2u);
}

TEST_P(CarrierSuite, Destroy_WhileLargePayloadsLeave_IsQuickAndReadsThemNoMore) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const size_t bytes = std::min(kLargest, world.a.path->max_payload_bytes());
  {
    std::vector<std::byte> data(bytes);
    for (uint64_t n = 1; n <= 3; ++n) {
      if (!world.a.path->send({.header = message(n, bytes), .payload = data.data(), .token = n}))
        break;
    }
    const int64_t begin = now_ns();
    world.a.path.reset();
    EXPECT_LT(now_ns() - begin, 3 * kNsPerSecond);
  }  // a sanitizer tells when the payload is read after this
  world.b.stranger.throw_away = {1, 2, 3};
  ASSERT_TRUE(world.until([&] { return !world.b.stranger.why.empty(); }));
}

TEST_P(CarrierSuite, Redial_AfterClose_CarriesAgain) {
  World world(GetParam());
  for (int i = 0; i < 5; ++i) {
    ASSERT_NO_FATAL_FAILURE(world.connect()) << "round " << i;
    const std::vector<std::byte> data = payload(1, 5000);
    ASSERT_TRUE(world.send(*world.a.path,
                           {.header = message(1, 5000), .payload = data.data(), .token = 1}));
    ASSERT_TRUE(world.until([&] { return world.b.stranger.next == 2; }));
    world.disconnect();
  }
}

TEST_P(CarrierSuite, Sabotage_BreaksThePath_AndAnotherCanBeDialled) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  if (!world.a.path->sabotage()) GTEST_SKIP() << "paths of this carrier can't be broken on purpose";
  ASSERT_TRUE(world.until([&] { return !world.a.end.why.empty(); }));
  EXPECT_NE(world.a.end.why, "without a reason");
  if (GetParam().breaks_both_ends) {
    ASSERT_TRUE(world.until([&] { return !world.b.stranger.why.empty(); }));
  }
  world.disconnect();
  ASSERT_NO_FATAL_FAILURE(world.connect());
}

TEST_P(CarrierSuite, Sabotage_OfManyFramesUnderWay_IsToldOnceOnEachSide) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const std::vector<std::byte> data = payload(1, 100000);
  for (uint64_t n = 1; n <= 30; ++n) {
    if (!world.a.path->send({.header = message(n, 100000), .payload = data.data(), .token = n}))
      break;
  }
  for (uint64_t n = 2; n <= 30; ++n) world.b.stranger.throw_away.insert(n);  // one pattern for all
  if (!world.a.path->sabotage()) GTEST_SKIP() << "paths of this carrier can't be broken on purpose";
  ASSERT_TRUE(world.until([&] { return !world.a.end.why.empty(); }));
  EXPECT_FALSE(world.a.path->send({.header = message(31, 0)}));
}

TEST_P(CarrierSuite, Dial_FromBothSidesAtOnce_MakesTwoPaths) {
  World world(GetParam());
  std::string why;
  world.a.path = world.a.carrier->dial(World::peer(world.b, 1), 0, world.a.end, &why);
  world.b.path = world.b.carrier->dial(World::peer(world.a, 0), 0, world.b.end, &why);
  ASSERT_TRUE(world.a.path && world.b.path) << why;
  ASSERT_TRUE(world.send(*world.a.path, {.header = {.kind = FrameKind::kHello}}));
  ASSERT_TRUE(world.send(*world.b.path, {.header = {.kind = FrameKind::kHello}}));
  ASSERT_TRUE(world.until(
      [&] { return !world.a.stranger.kinds.empty() && !world.b.stranger.kinds.empty(); }));
  // One of the two is closed, as sessions do; the other goes on.
  world.b.path.reset();
  ASSERT_TRUE(world.until([&] { return !world.a.stranger.why.empty(); }));
  ASSERT_TRUE(world.send(*world.b.accepted_path, {.header = {.kind = FrameKind::kWelcome}}));
  ASSERT_TRUE(world.until([&] { return !world.a.end.kinds.empty(); }));
  const std::vector<std::byte> data = payload(1, 70000);
  ASSERT_TRUE(
      world.send(*world.a.path, {.header = message(1, 70000), .payload = data.data(), .token = 1}));
  ASSERT_TRUE(world.until([&] { return world.b.stranger.next == 2; })) << world.a.end.why;
}

TEST_P(CarrierSuite, End_OfAWholeRank_IsNoticedByTheOther) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  world.b.accepted_path.reset();
  world.b.carrier.reset();
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  while (world.a.end.why.empty() && !deadline.expired()) world.a.turn();
  EXPECT_FALSE(world.a.end.why.empty());
}

TEST_P(CarrierSuite, End_WhileAnotherRankDials_DoesNotCallTheAcceptor) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  Node late(GetParam(), 2);
  std::string why;
  late.path = late.carrier->dial(World::peer(world.b, 1), 0, late.end, &why);
  ASSERT_NE(late.path, nullptr) << why;
  // The dialler goes on in a thread of its own: its hello comes while the other is being destroyed.
  std::atomic<bool> over{false};  // relaxed: joined before anything depends on it
  std::jthread dialler([&] {
    bool said = false;
    while (!over.load(std::memory_order_relaxed)) {
      said = said || late.path->send({.header = {.kind = FrameKind::kHello}});
      late.turn();
    }
  });
  // Something that is still to be said keeps the end waiting.
  const std::vector<std::byte> data = payload(1, 60000);
  for (uint64_t n = 1; n <= 8; ++n) {
    if (!world.b.accepted_path->send(
            {.header = message(n, data.size()), .payload = data.data(), .token = n}))
      break;
  }
  world.b.end_carrier();
  over.store(true, std::memory_order_relaxed);
}

TEST_P(CarrierSuite, Event_OfAnArrival_WakesWhoIsArmed) {
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const int fd = world.b.carrier->event_fd();
  if (fd < 0) GTEST_SKIP() << "this carrier is polled";
  for (uint64_t n = 1; n <= 20; ++n) {
    const Deadline deadline = Deadline::after_ns(kPatienceNs);
    while (!world.b.carrier->arm(false) && !deadline.expired()) world.b.turn();
    ASSERT_FALSE(deadline.expired()) << "it never comes to rest";
    std::atomic<bool> woken{false};  // relaxed: joined before anything depends on it
    std::jthread sleeper([&] {
      pollfd ready{fd, POLLIN, 0};
      woken.store(::poll(&ready, 1, 10000) == 1, std::memory_order_relaxed);
    });
    const std::vector<std::byte> data = payload(n, 100);
    ASSERT_TRUE(
        world.a.path->send({.header = message(n, 100), .payload = data.data(), .token = n}));
    while (!world.a.end.tokens.contains(n) && !deadline.expired()) world.a.turn();
    while (!woken.load(std::memory_order_relaxed) && !deadline.expired()) world.a.turn();
    sleeper.join();
    ASSERT_TRUE(woken.load(std::memory_order_relaxed));
    ASSERT_TRUE(world.until([&] { return world.b.stranger.next == n + 1; }));
  }
}

TEST_P(CarrierSuite, Put_IntoExposedMemory_LiesThereWhenTheFrameArrives) {
  std::vector<std::byte> slots(1 << 20);  // exposed until the carrier's end
  World world(GetParam());
  ASSERT_NO_FATAL_FAILURE(world.connect());
  const network::MemoryKey key = world.b.carrier->expose(slots.data(), slots.size());
  if (key == network::MemoryKey{}) GTEST_SKIP() << "no puts here: " << world.b.carrier->describe();
  world.b.stranger.exposed = slots.data();
  std::vector<std::vector<std::byte>> payloads;
  for (uint64_t n = 1; n <= 40; ++n) payloads.push_back(payload(n, n % 5 == 0 ? 10 : 20000));
  for (uint64_t n = 1; n <= 40; ++n) {
    FrameHeader header = message(n, payloads[n - 1].size());
    header.place = (n - 1) * 20000;
    const bool put = n % 3 != 0;
    ASSERT_TRUE(world.send(*world.a.path, {.header = header,
                                           .payload = payloads[n - 1].data(),
                                           .token = n,
                                           .into = put ? &key : nullptr,
                                           .into_offset = header.place}));
  }
  ASSERT_TRUE(world.until([&] {
    return world.b.stranger.next == 41 && world.a.end.tokens.size() == 40;
  })) << world.b.stranger.next
      << world.a.end.why;
  EXPECT_GT(world.b.stranger.puts, 0);
}

TEST_P(CarrierSuite, Worlds_ManyOfThem_LeaveNoFileOpen) {
  { World warm_up(GetParam()); }
  const size_t before = open_files();
  for (int i = 0; i < 5; ++i) {
    World world(GetParam());
    ASSERT_NO_FATAL_FAILURE(world.connect());
  }
  EXPECT_LE(open_files(), before + 1);
}

}  // namespace tutti::transport
