// SPDX-License-Identifier: Apache-2.0
// Ranks as processes: joining, and what the others hear when one is killed. The test's own process
// makes no thread, so that it may fork.
#include <unistd.h>

#include <csignal>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "src/base/wait.h"
#include "src/bootstrap/auth.h"
#include "src/bootstrap/root.h"
#include "tests/unit/bootstrap_test_support.h"

namespace tutti::bootstrap {
namespace {

using testing::HasSubstr;

// A child process; its body's outcome comes back over a pipe.
class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      const Outcome outcome = outcome_of(body);
      const std::string text = std::to_string(static_cast<int>(outcome.code)) + " " + outcome.text;
      const ssize_t written = ::write(ends[1], text.data(), text.size());
      ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    ::close(ends[1]);
    read_end_ = FileDescriptor(ends[0]);
  }
  ~Child() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    join();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill() const { ::kill(pid_, SIGKILL); }
  std::string join() {
    if (pid_ <= 0) return text_;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 0; (n = ::read(read_end_.get(), buffer.data(), buffer.size())) > 0;) {
      text_.append(buffer.data(), static_cast<size_t>(n));
    }
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    return text_;
  }

 private:
  pid_t pid_ = -1;
  FileDescriptor read_end_;
  std::string text_;
};

const std::string kSuccess = "0 ";
const std::string kRemoteError = "6 ";

// An id that every process can make before any root exists.
UniqueId test_id(const char* name) {
  const std::string text = std::string(name) + "-" + std::to_string(::getpid());
  return pack(
      {.address = SocketAddress::parse("@tutti-test-" + text), .key = derive_key("test", text)});
}

void start_root(const UniqueId& id) {
  const UniqueIdFields fields = unpack(id);
  Root::start(fields.address, fields.key);
}

std::vector<std::unique_ptr<Child>> start_ranks(
    int count, const UniqueId& id, const std::function<void(int rank, Bootstrap&)>& body) {
  std::vector<std::unique_ptr<Child>> ranks;
  for (int rank = 0; rank < count; ++rank) {
    ranks.push_back(std::make_unique<Child>([=] {
      if (rank == 0) start_root(id);
      const auto bootstrap = Bootstrap::join(id, count, rank, soon(), nullptr);
      body(rank, *bootstrap);
    }));
  }
  return ranks;
}

TEST(Join_Processes, ThenAllGather_GivesEverybodysBytes) {
  const UniqueId id = test_id("join");
  auto ranks = start_ranks(12, id, [](int rank, Bootstrap& bootstrap) {
    const auto all = bootstrap.all_gather(pattern(rank, 1000), soon());
    for (int from = 0; from < 12; ++from) {
      if (all[static_cast<size_t>(from)] != pattern(from, 1000)) {
        throw Error(StatusCode::kInternalError, "wrong bytes from rank " + std::to_string(from));
      }
    }
    bootstrap.all_gather({}, soon());  // nobody leaves before all have compared
  });
  for (auto& rank : ranks) EXPECT_EQ(rank->join(), kSuccess);
}

TEST(AllGather_RankIsKilled_EveryRankHearsWhich, TwelveProcesses) {
  const UniqueId id = test_id("killed");
  const int64_t start_ns = now_ns();
  auto ranks = start_ranks(12, id, [](int rank, Bootstrap& bootstrap) {
    bootstrap.all_gather({}, soon());
    if (rank == 5) ::raise(SIGKILL);
    bootstrap.all_gather({}, soon());
  });
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const std::string text = ranks[rank]->join();
    if (rank == 5) continue;
    EXPECT_TRUE(text.starts_with(kRemoteError)) << text;
    EXPECT_THAT(text, HasSubstr("rank 5 (host "));
    EXPECT_THAT(text, HasSubstr("ended or lost its connection"));
  }
  EXPECT_LT(now_ns() - start_ns, 30 * kNsPerSecond);
}

TEST(Join_RootIsKilled_WaitingRanksHearItSoon, ThreeProcesses) {
  const UniqueId id = test_id("root");
  const int64_t start_ns = now_ns();
  Child root([id] {
    start_root(id);
    sleep_ns(60 * kNsPerSecond);
  });
  std::vector<std::unique_ptr<Child>> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<Child>(
        [=] { Bootstrap::join(id, 4, rank, Deadline::after_ns(20 * kNsPerSecond), nullptr); }));
  }
  sleep_ns(500 * kNsPerMs);  // most have registered; those that have not get no answer
  root.kill();
  for (auto& rank : ranks) {
    const std::string text = rank->join();
    EXPECT_TRUE(text.starts_with(kRemoteError)) << text;
    EXPECT_THAT(text, HasSubstr("root"));
  }
  EXPECT_LT(now_ns() - start_ns, 50 * kNsPerSecond);
}

TEST(Join_WaitingRankIsKilled_TheOthersHearWhich, ThreeProcesses) {
  const UniqueId id = test_id("waiting");
  auto ranks = start_ranks(1, id, [](int, Bootstrap&) {});
  EXPECT_EQ(ranks[0]->join(), kSuccess);  // a job of one rank is complete at once

  const UniqueId of_four = test_id("waiting-four");
  std::vector<std::unique_ptr<Child>> waiting;
  for (int rank = 0; rank < 3; ++rank) {
    waiting.push_back(std::make_unique<Child>([=] {
      if (rank == 0) start_root(of_four);
      if (rank == 2) ::alarm(1);  // its default action ends the process
      Bootstrap::join(of_four, 4, rank, soon(), nullptr);
    }));
  }
  EXPECT_EQ(waiting[2]->join(), "");
  for (const size_t other : {size_t{0}, size_t{1}}) {
    const std::string text = waiting[other]->join();
    EXPECT_TRUE(text.starts_with(kRemoteError)) << text;
    EXPECT_THAT(text, HasSubstr("rank 2 (host "));
  }
}

}  // namespace
}  // namespace tutti::bootstrap
