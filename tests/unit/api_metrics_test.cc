// SPDX-License-Identifier: Apache-2.0
// What is counted: the ends of a connection agree, whatever carried the bytes.
#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/api_support.h"
#include "tutti/tutti.hpp"

namespace tutti::testing {
namespace {

enum Protocol { kInline, kStaged, kMapped, kPulled };

tuttiPeerStats_t peer_stats(tuttiComm_t comm, int peer) {
  tuttiPeerStats_t stats = TUTTI_PEER_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetPeerStats(comm, peer, &stats));
  return stats;
}
tuttiCallStats_t call_stats(tuttiComm_t comm, const char* call) {
  tuttiCallStats_t stats = TUTTI_CALL_STATS_INITIALIZER;
  EXPECT_TUTTI(tuttiCommGetCallStats(comm, call, &stats));
  return stats;
}
uint64_t sum(const uint64_t (&values)[4]) {
  return std::accumulate(std::begin(values), std::end(values), uint64_t{0});
}

struct Transfer {
  const char* protocol;
  size_t bytes;
  Protocol carries;
  uint64_t messages;
};

// Threads of one process reach each other's memory, so nothing falls back here.
TEST(PeerStats_Transfer, IsCountedAtBothEnds) {
  const Transfer cases[] = {{"inline", 56, kInline, 1},      {"inline", 57, kStaged, 1},
                            {"staged", 8, kStaged, 1},       {"staged", 0, kInline, 1},
                            {"staged", 200'000, kStaged, 7},  // pieces of 32 KiB
                            {"direct", 4096, kMapped, 1}};
  for (const Transfer& c : cases) {
    SCOPED_TRACE(std::string(c.protocol) + " " + std::to_string(c.bytes));
    tuttiComm_t comms[2] = {};
    tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
    config.protocol = c.protocol;
    tuttiUniqueId id;
    EXPECT_TUTTI(tuttiGetUniqueId(&id));
    EXPECT_TUTTI(tuttiGroupStart());
    for (int r = 0; r < 2; ++r) EXPECT_TUTTI(tuttiCommInitRankConfig(&comms[r], 2, id, r, &config));
    EXPECT_TUTTI(tuttiGroupEnd());
    std::vector<char> from(c.bytes + 1), to(c.bytes + 1);
    EXPECT_TUTTI(tuttiGroupStart());
    EXPECT_TUTTI(tuttiSend(from.data(), c.bytes, tuttiChar, 1, comms[0], nullptr));
    EXPECT_TUTTI(tuttiRecv(to.data(), c.bytes, tuttiChar, 0, comms[1], nullptr));
    EXPECT_TUTTI(tuttiGroupEnd());

    const tuttiPeerStats_t sender = peer_stats(comms[0], 1);
    const tuttiPeerStats_t receiver = peer_stats(comms[1], 0);
    EXPECT_EQ(sender.sentMessages[c.carries], c.messages);
    EXPECT_EQ(sender.sentBytes[c.carries], c.bytes);
    EXPECT_EQ(sum(sender.sentMessages), c.messages);
    EXPECT_EQ(
        std::memcmp(sender.sentMessages, receiver.receivedMessages, sizeof sender.sentMessages), 0);
    EXPECT_EQ(std::memcmp(sender.sentBytes, receiver.receivedBytes, sizeof sender.sentBytes), 0);
    EXPECT_EQ(sum(sender.receivedMessages) + sum(receiver.sentMessages), 0u);
    EXPECT_EQ(sender.fallbacks, 0u);
    EXPECT_STREQ(sender.transport, "inproc");
    EXPECT_EQ(call_stats(comms[0], "Send").bytes, c.bytes);
    EXPECT_EQ(call_stats(comms[1], "Recv").begun, 1u);
    const tuttiPeerStats_t self = peer_stats(comms[0], 0);
    EXPECT_EQ(sum(self.sentMessages) + sum(self.receivedMessages), 0u);
    EXPECT_STREQ(self.transport, "");
    for (tuttiComm_t comm : comms) EXPECT_TUTTI(tuttiCommDestroy(comm));
  }
}

// More messages than a connection has lines: the sender has to come back.
TEST(PeerStats_FullConnection, CountsRetriesOncePerMessage) {
  World world(2);
  constexpr int kMessages = 100;
  int data[kMessages] = {};
  EXPECT_TUTTI(tuttiGroupStart());
  for (int i = 0; i < kMessages; ++i)
    EXPECT_TUTTI(tuttiSend(&data[i], 1, tuttiInt32, 1, world[0], nullptr));
  for (int i = 0; i < kMessages; ++i)
    EXPECT_TUTTI(tuttiRecv(&data[i], 1, tuttiInt32, 0, world[1], nullptr));
  EXPECT_TUTTI(tuttiGroupEnd());
  const tuttiPeerStats_t sender = peer_stats(world[0], 1);
  EXPECT_EQ(sender.sentMessages[kInline], uint64_t{kMessages});
  EXPECT_GE(sender.retries, 1u);
  EXPECT_LE(sender.retries, uint64_t{kMessages});
  EXPECT_EQ(call_stats(world[0], "SendRecv").begun, 1u);
}

TEST(CallStats_Collectives, AreCountedByKind) {
  World world(3);
  world.each([](int, tuttiComm_t comm) {
    std::vector<float> data(300);
    for (int k = 0; k < 5; ++k)
      EXPECT_TUTTI(
          tuttiAllReduce(data.data(), data.data(), 100, tuttiFloat, tuttiSum, comm, nullptr));
    EXPECT_TUTTI(tuttiAllGather(data.data() + 100, data.data(), 10, tuttiFloat, comm, nullptr));
    EXPECT_TUTTI(tuttiBcast(data.data(), 7, tuttiFloat, 0, comm, nullptr));
    EXPECT_TUTTI(tuttiBarrier(comm, nullptr));
    EXPECT_EQ(call_stats(comm, "AllReduce").begun, 5u);
    EXPECT_EQ(call_stats(comm, "AllReduce").bytes, 5u * 400);
    EXPECT_EQ(call_stats(comm, "AllGather").bytes, 3u * 40);
    EXPECT_EQ(call_stats(comm, "Broadcast").bytes, 28u);
    EXPECT_EQ(call_stats(comm, "Barrier").begun, 1u);
    EXPECT_EQ(call_stats(comm, "Scatter").begun, 0u);
    EXPECT_EQ(call_stats(comm, "AllReduce").failed, 0u);
  });
}

TEST(CallStats_Mismatch, CountsAsFailure) {
  World world(2);
  world.each([](int r, tuttiComm_t comm) {
    int in[2] = {}, out[2] = {};
    EXPECT_EQ(tuttiAllReduce(in, out, r == 0 ? 1 : 2, tuttiInt32, tuttiSum, comm, nullptr),
              tuttiInvalidUsage);
    EXPECT_EQ(call_stats(comm, "AllReduce").failed, 1u);
    tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
    EXPECT_TUTTI(tuttiCommGetStats(comm, &stats));
    EXPECT_EQ(stats.failures, 1u);
  });
}

TEST(Stats_OlderStruct, GetsItsPartOnly) {
  World world(1);
  tuttiPeerStats_t peer;
  std::memset(&peer, 0x7f, sizeof peer);
  peer.size = offsetof(tuttiPeerStats_t, sentBytes);
  EXPECT_TUTTI(tuttiCommGetPeerStats(world[0], 0, &peer));
  EXPECT_EQ(peer.sentMessages[0], 0u);
  EXPECT_EQ(peer.sentBytes[0], 0x7f7f7f7f7f7f7f7fu);
  EXPECT_EQ(peer.size, offsetof(tuttiPeerStats_t, sentBytes));
}

TEST(Stats_WrongArguments, AreNamed) {
  World world(2);
  tuttiPeerStats_t peer = TUTTI_PEER_STATS_INITIALIZER;
  tuttiCallStats_t call = TUTTI_CALL_STATS_INITIALIZER;
  expect_error(tuttiCommGetPeerStats(world[0], 2, &peer), tuttiInvalidArgument, {"peer is 2"});
  expect_error(tuttiCommGetPeerStats(world[0], 0, nullptr), tuttiInvalidArgument, {"stats"});
  expect_error(tuttiCommGetCallStats(world[0], "AllReduse", &call), tuttiInvalidArgument,
               {"'AllReduse'", "did you mean 'AllReduce'?"});
  expect_error(tuttiCommGetCallStats(world[0], nullptr, &call), tuttiInvalidArgument, {"call"});
  call.size = 0;
  expect_error(tuttiCommGetCallStats(world[0], "Send", &call), tuttiInvalidArgument,
               {"TUTTI_CALL_STATS_INITIALIZER"});
}

TEST(MetricsText, HasAllCommunicatorsAndOnlyLiveOnes) {
  const auto count = [](const std::string& text, const std::string& what) {
    size_t found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
      ++found;
    return found;
  };
  {
    World one(2);
    World other(3);
    one.grouped([](int, tuttiComm_t comm) {
      static int data[2];
      EXPECT_TUTTI(tuttiAllReduce(data, data + 1, 1, tuttiInt32, tuttiSum, comm, nullptr));
    });
    const std::string text = cpp::metrics_text();
    EXPECT_EQ(count(text, "tutti_communicator_info{"), 5u) << text;
    EXPECT_EQ(count(text, "tutti_operations_total{"), 2u);
    EXPECT_EQ(count(text, "collective=\"AllReduce\"} 1\n"), 2u);
    EXPECT_EQ(count(text, "protocol=\"inline\",direction=\"sent\"} 1\n"), 2u);
  }
  EXPECT_EQ(count(cpp::metrics_text(), "tutti_communicator_info{"), 0u);
}

TEST(MetricsText, BufferTooSmall_SaysHowMuchIsNeeded) {
  World world(1);
  size_t needed = 0;
  EXPECT_TUTTI(tuttiMetricsText(nullptr, 0, &needed));
  std::string buffer(needed, 'x');
  expect_error(tuttiMetricsText(buffer.data(), needed - 1, nullptr), tuttiInvalidArgument,
               {std::to_string(needed - 1), std::to_string(needed)});
  EXPECT_EQ(buffer, std::string(needed, 'x'));
  EXPECT_TUTTI(tuttiMetricsText(buffer.data(), needed, &needed));
  EXPECT_EQ(std::strlen(buffer.c_str()) + 1, needed);
}

}  // namespace
}  // namespace tutti::testing
