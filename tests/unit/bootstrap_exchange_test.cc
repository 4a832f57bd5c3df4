// SPDX-License-Identifier: Apache-2.0
// What a launcher's key-value space carries, PMI against a launcher of the test's own, and the
// directory of a launch.
#include <atomic>
#include <cstdlib>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "src/bootstrap/directory.h"
#include "src/bootstrap/key_value.h"
#include "src/bootstrap/pmi_wire.h"
#include "tests/unit/bootstrap_test_support.h"

namespace tutti::bootstrap {
namespace {

using testing::HasSubstr;

TEST(ParsePmi_LinesOfLaunchers, AreUnderstood) {
  const PmiMessage got =
      parse_pmi("cmd=get_result  rc=-1 msg=no such key value=1;ab;10.0.0.1:1,[::1]:2 ");
  EXPECT_EQ(got.command, "get_result");
  EXPECT_EQ(got.find("rc"), "-1");
  EXPECT_EQ(got.find("msg"), "no such key");
  EXPECT_EQ(got.find("value"), "1;ab;10.0.0.1:1,[::1]:2");
  EXPECT_EQ(got.find("key"), std::nullopt);
  EXPECT_EQ(format_pmi({.command = "put", .fields = {{"key", "a"}, {"value", "b=c"}}}),
            "cmd=put key=a value=b=c\n");
}

TEST(ParsePmi_OtherLines, AreQuotedInTheRefusal) {
  struct Case {
    std::string line, message;
  };
  const Case table[] = {{"", "names no command"},
                        {"rc=0", "'rc=0' is not understood: it names no command"},
                        {"hello", "'hello' is not understood: a part is no key=value"},
                        {"cmd=a =b", "no key=value"},
                        {"cmd=a x=1 x=2", "a key comes twice"},
                        {"cmd=a cmd=b", "a key comes twice"},
                        {std::string("cmd=a\x01"), "''"},
                        {std::string(5000, 'a'), "too long"}};
  for (const Case& row : table) {
    const Outcome outcome = outcome_of([&] { parse_pmi(row.line); });
    if (row.message == "''") continue;  // accepted: only quoting replaces such bytes
    EXPECT_EQ(outcome.code, StatusCode::kInvalidArgument) << row.line;
    EXPECT_THAT(outcome.text, HasSubstr(row.message));
  }
}

TEST(FormatPmi_WhatWouldBreakTheLine, IsRefused) {
  for (const char* value : {"a b", "a\nb", ""}) {
    EXPECT_EQ(outcome_of([&] {
                format_pmi({.command = "put", .fields = {{"v", value}}});
              }).code,
              StatusCode::kInvalidArgument);
  }
}

// Answers each request as told, on a thread, until it has no answer left.
class FakeLauncher {
 public:
  explicit FakeLauncher(std::vector<std::string> answers) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    client_ = FileDescriptor(ends[0]);
    ::setenv("PMI_FD", std::to_string(ends[0]).c_str(), 1);
    thread_ = std::thread(
        [this, answers = std::move(answers), socket = Socket(FileDescriptor(ends[1]))]() mutable {
          for (const std::string& answer : answers) {
            if (!receive_line(socket)) return;
            socket.send_all(std::as_bytes(std::span(answer)), soon());
          }
          // Silent until the client has gone, or the test lets it go.
          while (!over_.load(std::memory_order_acquire)) {  // pairs with the destructor
            if (!receive_line(socket)) return;
          }
        });
  }
  ~FakeLauncher() {
    over_.store(true, std::memory_order_release);  // pairs with the thread's load
    client_.reset();
    thread_.join();
    ::unsetenv("PMI_FD");
  }
  FakeLauncher(const FakeLauncher&) = delete;
  FakeLauncher& operator=(const FakeLauncher&) = delete;
  std::vector<std::string> requests;  // read after destruction only

 private:
  bool receive_line(Socket& socket) {
    std::string line;
    try {
      for (std::array<std::byte, 1> c{}; c[0] != std::byte{'\n'};) {
        socket.receive_all(c, soon());
        line += static_cast<char>(c[0]);
      }
    } catch (const Error&) {
      return false;
    }
    return true;
  }
  FileDescriptor client_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

const std::vector<std::string> kGoodAnswers = {
    "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n",
    "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024\n",
    "cmd=my_kvsname kvsname=kvs_1\n",
    "cmd=barrier_out\n",
    "cmd=get_result rc=0 msg=success value=text\n",
    "cmd=finalize_ack\n"};

std::vector<std::string> good_until(size_t count, const std::string& then) {
  std::vector<std::string> answers(kGoodAnswers.begin(),
                                   kGoodAnswers.begin() + static_cast<ptrdiff_t>(count));
  if (!then.empty()) answers.push_back(then);
  return answers;
}

Sharing of_rank_1(Deadline deadline) {
  return {.rank = 1, .size = 2, .mine = "", .deadline = deadline};
}

TEST(ShareByPmi_GoodLauncher_GivesRankZerosText, Descriptor) {
  const FakeLauncher launcher(kGoodAnswers);
  EXPECT_EQ(share_by_pmi(of_rank_1(soon())), "text");
}

TEST(ShareByPmi_Trouble, IsNamedWithTheRequest) {
  struct Case {
    std::vector<std::string> answers;
    std::string message;
  };
  const Case table[] = {
      {good_until(0, "cmd=response_to_init rc=-1 msg=no more\n"),
       "PMI request init failed: the launcher refused: rc=-1 no more"},
      {good_until(0, "garbage\n"), "'garbage' is not understood"},
      {good_until(0, std::string(5000, 'x') + "\n"), "too long"},
      {good_until(1, "cmd=maxes\n"), "maxes has no vallen_max"},
      {good_until(2, "cmd=barrier_out\n"), "expected the answer my_kvsname, got barrier_out"},
      {good_until(4, "cmd=get_result rc=0 msg=success\n"), "get_result has no value"},
      {good_until(3, ""), "PMI request barrier_in failed: gave up waiting"}};
  for (const Case& row : table) {
    const FakeLauncher launcher(row.answers);
    const Outcome outcome =
        outcome_of([] { share_by_pmi(of_rank_1(Deadline::after_ns(kNsPerSecond / 2))); });
    EXPECT_EQ(outcome.code, StatusCode::kRemoteError) << row.message;
    EXPECT_THAT(outcome.text, HasSubstr(row.message));
    EXPECT_THAT(outcome.text, HasSubstr("TUTTI_KEY")) << "what to do";
  }
}

TEST(ShareByPmi_NoDescriptor, SaysSo) {
  ::setenv("PMI_FD", "9999", 1);
  const Outcome outcome = outcome_of([] { share_by_pmi(of_rank_1(soon())); });
  ::unsetenv("PMI_FD");
  EXPECT_EQ(outcome.code, StatusCode::kSystemError);
  EXPECT_THAT(outcome.text, HasSubstr("PMI_FD=9999 is no descriptor"));
}

TEST(WhyNoSpace_EachReason, NamesTheVariable) {
  EXPECT_THAT(why_no_pmix(0).value_or(""), HasSubstr("PMIX_NAMESPACE and PMIX_RANK are not set"));
  EXPECT_THAT(why_no_pmi(0).value_or(""), HasSubstr("PMI_FD is not set"));
  ::setenv("PMI_PORT", "host:1", 1);
  EXPECT_THAT(why_no_pmi(0).value_or(""), HasSubstr("PMI_PORT"));
  ::unsetenv("PMI_PORT");
  ::setenv("PMI_FD", "x", 1);
  EXPECT_THAT(why_no_pmi(0).value_or(""), HasSubstr("PMI_FD='x'"));
  ::setenv("PMI_FD", "7", 1);
  ::setenv("PMI_RANK", "2", 1);
  EXPECT_THAT(why_no_pmi(0).value_or(""), HasSubstr("PMI_RANK='2' is of another job"));
  EXPECT_FALSE(why_no_pmi(2).has_value());
  ::unsetenv("PMI_FD");
  ::unsetenv("PMI_RANK");
}

TEST(DirectoryPlace_OtherTexts, AreRefused) {
  const std::string key(64, 'a');
  EXPECT_EQ(DirectoryPlace::parse("1;" + key + ";10.0.0.1:5,[::1]:5").to_text(),
            "1;" + key + ";10.0.0.1:5,[::1]:5");
  const std::string table[] = {"",
                               "1",
                               "1;" + key,
                               "2;" + key + ";10.0.0.1:5",
                               "1;" + key + ";",
                               "1;" + key.substr(1) + ";10.0.0.1:5",
                               "1;" + key.substr(1) + "g;10.0.0.1:5",
                               "1;" + key + ";10.0.0.1",
                               "1;" + key + ";@name",
                               "1;" + key + ";1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1," +
                                   "1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1"};
  for (const std::string& text : table) {
    const Outcome outcome = outcome_of([&] { DirectoryPlace::parse(text); });
    EXPECT_EQ(outcome.code, StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(outcome.text, HasSubstr("no directory of a launch"));
  }
}

TEST(Directory_AskedBeforeAndAfterRankZero_GivesOneIdPerSequence, Threads) {
  Directory directory("");
  std::vector<UniqueIdFields> got(8);
  const auto outcomes = run_threads(8, [&](int i) {
    DirectoryPlace place = DirectoryPlace::parse(directory.place().to_text());
    got[static_cast<size_t>(i)] =
        unpack(look_up(place, static_cast<uint64_t>(i % 2), {.deadline = soon()}));
  });
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.text, "");
  for (size_t i = 0; i < got.size(); ++i) {
    const UniqueIdFields own = unpack(directory.id(i % 2));
    EXPECT_EQ(got[i].key, own.key);
    EXPECT_EQ(got[i].address.port, own.address.port);
  }
  EXPECT_NE(got[0].key, got[1].key);
}

TEST(LookUp_FirstAddressDead_TakesTheNext, AndKeepsIt) {
  Directory directory("");
  DirectoryPlace place = directory.place();
  SocketAddress dead = place.addresses.front();
  dead.port =
      Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream).address().port;
  place.addresses.insert(place.addresses.begin(), dead);
  look_up(place, 0, {.deadline = soon()});
  EXPECT_EQ(place.addresses.front().to_string(), directory.place().addresses.front().to_string());
}

TEST(LookUp_NobodyThere_NamesAddressesAndReason, Deadline) {
  DirectoryPlace place{.key = {}, .addresses = {SocketAddress::parse("127.0.0.1:1")}};
  const Outcome outcome =
      outcome_of([&] { look_up(place, 0, {.deadline = Deadline::after_ns(kNsPerSecond / 5)}); });
  EXPECT_EQ(outcome.code, StatusCode::kRemoteError);
  EXPECT_THAT(outcome.text, HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(outcome.text, HasSubstr("TUTTI_SOCKET_IFNAME"));
}

TEST(LookUp_WrongKey_IsNotAnswered, Deadline) {
  Directory directory("");
  DirectoryPlace place = directory.place();
  place.key[0] ^= std::byte{1};
  EXPECT_EQ(outcome_of([&] {
              look_up(place, 0, {.deadline = Deadline::after_ns(kNsPerSecond / 5)});
            }).code,
            StatusCode::kRemoteError);
}

}  // namespace
}  // namespace tutti::bootstrap
