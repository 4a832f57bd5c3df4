// SPDX-License-Identifier: Apache-2.0
// `tutti run --hosts`: lists of hosts, and what launcher and agents say to each other, as bytes.
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "perf/hosts/agent.h"
#include "perf/hosts/host_list.h"
#include "perf/hosts/rendezvous.h"
#include "perf/hosts/wire.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string text_of(const std::vector<HostShare>& shares) {
  std::string text;
  for (const HostShare& host : shares) text += host.name + " " + ranks_text(host) + "; ";
  return text;
}

TEST(HostList_EachForm, GivesNamesAndRanks) {
  EXPECT_EQ(text_of(share_ranks("a:4,b:4", 0)), "a ranks 0-3; b ranks 4-7; ");
  EXPECT_EQ(text_of(share_ranks("a,user@b:2,c", 0)), "a rank 0; user@b ranks 1-2; c rank 3; ");
  EXPECT_EQ(text_of(share_ranks("[fd00::1]:2,u@[fd00::2]", 0)),
            "fd00::1 ranks 0-1; u@fd00::2 rank 2; ");
  EXPECT_EQ(text_of(share_ranks("a:2,b:2,c:2", 3)), "a ranks 0-1; b rank 2; ");
  EXPECT_EQ(text_of(share_ranks("a:2,b,a:1", 0)), "a ranks 0-2; b rank 3; ");
}

TEST(HostList_Wrong, IsExplained) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "an empty entry"},       {"a,", "an empty entry"},     {":4", "no name of a host"},
      {"-oX", "no name of a host"}, {"a:", "is no number"},       {"a:-1", "is no number"},
      {"a:4x", "is no number"},     {"a:5000", "from 1 to 4096"}, {"[a", "] is missing"},
      {"[a]b", "not :SLOTS"},       {"a:4096,b", "more than"},    {"fd00::1", "in brackets"},
  };
  for (const auto& [list, reason] : cases) {
    try {
      share_ranks(list, 0);
      ADD_FAILURE() << list;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason)) << list;
    }
  }
  EXPECT_THROW(share_ranks("a:4", 5), Error);
}

TEST(Frames_CutAnywhere_ComeWhole, AfterTheGreeting) {
  const std::string bytes = "Welcome!\n" + std::string(kAgentGreeting) +
                            encode(FrameKind::kOut, 3, std::string("a\0b", 3)) +
                            encode(FrameKind::kPong) + encode(FrameKind::kExited, -1, "{}");
  for (size_t step : {size_t{1}, size_t{7}, bytes.size()}) {
    FrameReader reader;
    std::vector<Frame> frames;
    bool greeted = false;
    for (size_t at = 0; at < bytes.size(); at += step) {
      reader.add(std::string_view(bytes).substr(at, step));
      greeted = greeted || reader.skip_to_greeting();
      while (greeted) {
        std::optional<Frame> frame = reader.next();
        if (!frame) break;
        frames.push_back(*frame);
      }
    }
    ASSERT_EQ(frames.size(), 3U) << step;
    EXPECT_EQ(frames[0].payload, std::string("a\0b", 3));
    EXPECT_EQ(frames[0].rank, 3);
    EXPECT_EQ(frames[1].kind, FrameKind::kPong);
    EXPECT_EQ(frames[2].rank, -1);
  }
}

TEST(Frames_Nonsense_IsRefused, LengthAndNoise) {
  FrameReader tiny, huge, noise;
  tiny.add(std::string(4, '\0'));
  EXPECT_THROW(tiny.next(), Error);
  huge.add("yyyyyyyy");
  EXPECT_THROW(huge.next(), Error);
  noise.add(std::string(2 << 20, 'y'));
  EXPECT_THROW(noise.skip_to_greeting(), Error);
}

TEST(AgentOrders_AnyBytes_ComeBack, Same) {
  const AgentOrders orders{.first_rank = 2,
                           .ranks = 3,
                           .size = 9,
                           .meets = true,
                           .folder = "/tmp/\xff",
                           .pinning = Pinning::kNone,
                           .interface_prefix = "eth",
                           .port = 7,
                           .command = {"p", "", "a b\n\xfe"},
                           .variables = {"A=b\"'"}};
  const AgentOrders back = decode_orders(encode(orders));
  EXPECT_EQ(back.first_rank, 2);
  EXPECT_EQ(back.ranks, 3);
  EXPECT_EQ(back.size, 9);
  EXPECT_TRUE(back.meets);
  EXPECT_EQ(back.folder, orders.folder);
  EXPECT_EQ(back.pinning, Pinning::kNone);
  EXPECT_EQ(back.interface_prefix, "eth");
  EXPECT_EQ(back.port, 7);
  EXPECT_EQ(back.command, orders.command);
  EXPECT_EQ(back.variables, orders.variables);
  EXPECT_ANY_THROW(decode_orders("no orders"));
}

TEST(MeetingPlace_LoopbackOnly_IsRefused, WithTheInterface) {
  try {
    const MeetingPlace place("lo", 0);
    ADD_FAILURE() << "the loopback is no place to meet";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("begins with 'lo'"));
  }
}

TEST(Visit_AnotherProgramOrNobody_IsNotThePlace, EachSaid) {
  const Deadline soon = Deadline::after_ns(kNsPerSecond / 5);
  Listener silent = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream);
  const uint16_t port = silent.address().port;
  EXPECT_THAT(visit("127.0.0.1", port, "token", soon), Not(IsEmpty()));
  std::optional<Socket> guest = silent.accept(soon);
  ASSERT_TRUE(guest.has_value());
  // The next one gets another token.
  std::string got;
  std::thread visitor(
      [&] { got = visit("127.0.0.1", port, "token", Deadline::after_ns(5 * kNsPerSecond)); });
  std::optional<Socket> second = silent.accept(Deadline::after_ns(5 * kNsPerSecond));
  ASSERT_TRUE(second.has_value());
  second->send_all(std::as_bytes(std::span("other", 5)), Deadline::after_ns(kNsPerSecond));
  visitor.join();
  EXPECT_EQ(got, "another program answered there");
  EXPECT_THAT(visit("no-such-host.invalid", port, "token", soon), HasSubstr("no-such-host"));
}

}  // namespace
}  // namespace tutti::command
