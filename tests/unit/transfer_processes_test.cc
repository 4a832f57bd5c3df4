// SPDX-License-Identifier: Apache-2.0
// Agents of several processes: who dies is named and others go on, who is stopped holds nobody up,
// and what may not be read is sent.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <functional>

#include <gmock/gmock.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/unit/transfer_support.h"

// For sanitizers: a forked child has no threads of its parent's, so what only their stacks point to
// looks leaked there; and it starts threads of its own, which thread sanitizer refuses by default.
static bool is_child = false;
extern "C" [[gnu::visibility("default")]] int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() { return is_child ? 1 : 0; }
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace tutti::transfer::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

// A pipe that carries blobs and words; a read waits at most as long as a test may.
class Channel {
 public:
  Channel() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~Channel() {
    for (const int fd : ends_) ::close(fd);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  void send(const std::vector<std::byte>& bytes) {
    const auto n = static_cast<uint32_t>(bytes.size());
    EXPECT_EQ(::write(ends_[1], &n, sizeof n), static_cast<ssize_t>(sizeof n));
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t wrote = ::write(ends_[1], bytes.data() + done, bytes.size() - done);
      ASSERT_GT(wrote, 0);
      done += static_cast<size_t>(wrote);
    }
  }
  void send_word(uint32_t word) {
    std::vector<std::byte> bytes(sizeof word);
    std::memcpy(bytes.data(), &word, sizeof word);
    send(bytes);
  }
  std::vector<std::byte> receive() {
    uint32_t n = 0;
    read_all(&n, sizeof n);
    std::vector<std::byte> bytes(n);
    read_all(bytes.data(), n);
    return bytes;
  }
  uint32_t receive_word() {
    const auto bytes = receive();
    uint32_t word = UINT32_MAX;
    if (bytes.size() == sizeof word) std::memcpy(&word, bytes.data(), sizeof word);
    return word;
  }

 private:
  void read_all(void* into, size_t n) {
    for (size_t done = 0; done < n;) {
      pollfd ready{.fd = ends_[0], .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&ready, 1, 60'000), 1) << "the other process says nothing";
      const ssize_t got = ::read(ends_[0], static_cast<char*>(into) + done, n - done);
      ASSERT_GT(got, 0);
      done += static_cast<size_t>(got);
    }
  }
  int ends_[2] = {-1, -1};
};

// Another process, that runs `body` with a channel each way.
class Process {
 public:
  using Body = std::function<void(Channel& in, Channel& out)>;
  explicit Process(const Body& body) {
    pid_ = ::fork();
    EXPECT_GE(pid_, 0);
    if (pid_ != 0) return;
    is_child = true;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    body(to_, from_);
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Channel& to() { return to_; }
  Channel& from() { return from_; }
  // Never of pid -1, which would be everybody.
  void signal(int number) {
    ASSERT_GT(pid_, 0) << "the process has been waited for";
    ASSERT_EQ(::kill(pid_, number), 0);
    if (number != SIGSTOP) return;
    int status = 0;  // until all of its threads have stopped
    ASSERT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    if (!WIFSTOPPED(status)) pid_ = -1;
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  int exit_code() {
    if (pid_ <= 0) return -1;
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  Channel to_, from_;
  pid_t pid_ = -1;
};

constexpr size_t kRegionBytes = 8 << 20;

Descriptor whole(std::vector<std::byte>& data) { return {data.data(), 1, 0, data.size()}; }

// A target: exports, and stays until it is told to go.
Process::Body target(Way way, const std::string& name) {
  return [way, name](Channel& in, Channel& out) {
    Memory memory(way, kRegionBytes);
    Agent agent(options_for(way, name));
    (void)agent.register_region(memory.data(), memory.bytes());
    out.send(agent.export_blob());
    // The word says how many signals to wait for, and which byte is everywhere then; 0 ends.
    while (const uint32_t word = in.receive_word()) {
      const bool there = agent.wait_counter(0, word >> 8, soon());
      const bool right = all_are(memory.data(), memory.bytes(), static_cast<std::byte>(word & 255));
      out.send_word(there && right ? 1 : 0);
    }
  };
}

class ProcessTransfers : public ::testing::TestWithParam<Way> {
 protected:
  Way way() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Ways, ProcessTransfers,
                         ::testing::Values(Way::kMapped, Way::kPulled, Way::kTcp),
                         [](const auto& info) { return name_of(info.param); });

TEST_P(ProcessTransfers, TwoProcesses_PutGetAndCounter) {
  Process other(target(way(), "decode"));
  Agent agent(options_for(way(), "prefill"));
  const auto peer = agent.import_blob(other.from().receive());
  for (uint32_t i = 1; i <= 5; ++i) {
    std::vector<std::byte> data(kRegionBytes, static_cast<std::byte>(i));
    std::vector<Descriptor> ranges;  // blocks of 64 KiB and what is left
    for (size_t at = 0; at < data.size(); at += 64 << 10)
      ranges.push_back({data.data() + at, 1, at, 64 << 10});
    EXPECT_EQ(outcome(agent, agent.start(peer, Kind::kPut, ranges, {.value = 1, .counter = 0})),
              "");
    other.to().send_word(i << 8 | i);
    EXPECT_EQ(other.from().receive_word(), 1U);
    std::vector<std::byte> back(kRegionBytes);
    EXPECT_EQ(outcome(agent, agent.start(peer, Kind::kGet, {whole(back)}, {})), "");
    EXPECT_EQ(back, data);
  }
  other.to().send_word(0);
  EXPECT_EQ(other.exit_code(), 0);
}

TEST_P(ProcessTransfers, ThreeProcesses_TwoFillOne) {
  Process to(target(way(), "decode"));
  const auto blob = to.from().receive();
  const auto filler = [&](size_t from, size_t until) -> Process::Body {
    return [=, way = way()](Channel&, Channel&) {
      Agent agent(options_for(way, "prefill"));
      const auto peer = agent.import_blob(blob);
      std::vector<std::byte> data(until - from, std::byte{6});
      const auto put = agent.start(peer, Kind::kPut, {{data.data(), 1, from, data.size()}},
                                   {.value = 1, .counter = 0});
      EXPECT_EQ(outcome(agent, put), "");
    };
  };
  Process a(filler(0, 3'000'001)), b(filler(3'000'001, kRegionBytes));
  to.to().send_word(2 << 8 | 6);
  EXPECT_EQ(to.from().receive_word(), 1U);
  EXPECT_EQ(a.exit_code(), 0);
  EXPECT_EQ(b.exit_code(), 0);
}

// The peer dies before, between and during operations.
TEST_P(ProcessTransfers, PeerIsKilled_NamedAndOthersGoOn) {
  for (int step = 0; step < 4; ++step) {
    SCOPED_TRACE(step);
    auto victim = std::make_unique<Process>(target(way(), "victim"));
    Process other(target(way(), "survivor"));
    Agent agent(options_for(way(), "prefill"));
    const auto blob = victim->from().receive();
    const auto good = agent.import_blob(other.from().receive());
    std::vector<std::byte> data(kRegionBytes, std::byte{5});
    std::string end;
    std::shared_ptr<RemoteAgent> bad;
    if (step == 0) victim->kill();  // before it is imported
    try {
      bad = agent.import_blob(blob);
      if (step >= 2) {
        EXPECT_EQ(outcome(agent, agent.start(bad, Kind::kPut, {whole(data)}, {})), "");
      }
      if (step <= 2) victim->kill();
      if (step == 3) victim->signal(SIGSTOP);
      std::vector<std::shared_ptr<Request>> requests;
      for (const Kind kind : {Kind::kPut, Kind::kGet, Kind::kPut})
        requests.push_back(agent.start(bad, kind, {whole(data)}, {}));
      if (step == 3) victim->kill();  // in the middle of what needs it
      for (const auto& request : requests) {
        const std::string one = outcome(agent, request);
        if (!one.empty()) end = one;
      }
      if (end.empty()) throw agent.failure_of(*bad);  // what was mapped may have been finished
    } catch (const Error& e) {
      end = std::to_string(static_cast<int>(e.code())) + ": " + e.what();
    }
    EXPECT_THAT(end, HasSubstr("6: "));
    EXPECT_THAT(end, HasSubstr("agent 'victim'"));
    if (bad != nullptr) {
      EXPECT_EQ(agent.failure_of(*bad).code(), StatusCode::kRemoteError);
    }
    EXPECT_EQ(
        outcome(agent, agent.start(good, Kind::kPut, {whole(data)}, {.value = 1, .counter = 0})),
        "");
    other.to().send_word(1 << 8 | 5);
    EXPECT_EQ(other.from().receive_word(), 1U);
  }
}

TEST_P(ProcessTransfers, InitiatorIsKilled_TargetGoesOn) {
  Memory memory(way(), kRegionBytes);
  Agent agent(options_for(way(), "decode"));
  const uint32_t region = agent.register_region(memory.data(), memory.bytes());
  const auto blob = agent.export_blob();
  const Process::Body body = [&](Channel&, Channel& out) {
    Agent mine(options_for(way(), "prefill"));
    const auto peer = mine.import_blob(blob);
    std::vector<std::byte> data(kRegionBytes, std::byte{1});
    out.send_word(1);
    // As long as it lives.
    const Deadline deadline = soon();
    for (size_t i = 1; !deadline.expired(); ++i) {
      const auto request = mine.start(peer, i % 3 == 0 ? Kind::kGet : Kind::kPut,
                                      {{data.data(), region, 0, data.size()}}, {});
      if (i % 4 == 0 && !outcome(mine, request).empty()) break;
    }
  };
  for (int round = 0; round < 3; ++round) {
    Process initiator(body);
    EXPECT_EQ(initiator.from().receive_word(), 1U);
    sleep_ns((20 + 10 * round) * kNsPerMs);
    initiator.kill();
  }
  const int64_t before = now_ns();
  agent.deregister_region(region);
  EXPECT_LT(now_ns() - before, 10 * kNsPerSecond);
  std::memset(memory.data(), 7, memory.bytes());
  sleep_ns(20 * kNsPerMs);
  EXPECT_TRUE(all_are(memory.data(), memory.bytes(), std::byte{7}));
  const uint32_t next = agent.register_region(memory.data(), memory.bytes());
  EXPECT_NE(next, region);
  const auto fresh = agent.export_blob();
  Process last([&](Channel&, Channel&) {
    Agent mine(options_for(way(), "prefill"));
    std::vector<std::byte> data(kRegionBytes, std::byte{8});
    EXPECT_EQ(outcome(mine, mine.start(mine.import_blob(fresh), Kind::kPut,
                                       {{data.data(), next, 0, data.size()}}, {})),
              "");
  });
  EXPECT_EQ(last.exit_code(), 0);
  EXPECT_TRUE(all_are(memory.data(), memory.bytes(), std::byte{8}));
}

// What needs the target's own threads does not end; the caller has its memory back all the same.
TEST(StoppedTransfers, Cancel_ReturnsWithinSeconds) {
  for (const Way way : {Way::kPulled, Way::kTcp}) {
    Process other(target(way, "stopped"));
    Agent agent(options_for(way, "prefill"));
    const auto peer = agent.import_blob(other.from().receive());
    std::vector<std::byte> data(kRegionBytes, std::byte{1});
    EXPECT_EQ(outcome(agent, agent.start(peer, Kind::kPut, {whole(data)}, {})), "");
    other.signal(SIGSTOP);
    const auto request = agent.start(peer, Kind::kPut, {whole(data)}, {.value = 1, .counter = 0});
    EXPECT_FALSE(agent.wait(*request, Deadline::after_ns(300 * kNsPerMs))) << name_of(way);
    const int64_t before = now_ns();
    agent.cancel(request);
    EXPECT_LT(now_ns() - before, 4 * kNsPerSecond);
    ASSERT_TRUE(request->has_ended());
    EXPECT_EQ(request->code, StatusCode::kInvalidUsage);
    std::memset(data.data(), 9, data.size());  // nobody may see it
    other.signal(SIGCONT);
    if (way == Way::kPulled) {
      // The peer is well: it finds that what it was offered has been taken back.
      std::fill(data.begin(), data.end(), std::byte{2});
      EXPECT_EQ(
          outcome(agent, agent.start(peer, Kind::kPut, {whole(data)}, {.value = 1, .counter = 0})),
          "");
      other.to().send_word(1 << 8 | 2);
      EXPECT_EQ(other.from().receive_word(), 1U);
    }
  }
}

// A stopped initiator must not hold up the owner of the memory, nor write to it later.
TEST(StoppedTransfers, Deregister_TakesTheMemoryBack) {
  for (const Way way : {Way::kMapped, Way::kTcp}) {
    Memory memory(way, kRegionBytes);
    Agent agent(options_for(way, "decode"));
    const uint32_t region = agent.register_region(memory.data(), memory.bytes());
    const auto blob = agent.export_blob();
    Process initiator([&](Channel&, Channel& out) {
      Agent mine(options_for(way, "prefill"));
      const auto peer = mine.import_blob(blob);
      std::vector<std::byte> data(kRegionBytes, std::byte{1});
      out.send_word(1);
      for (int i = 0; i < 100'000; ++i) {
        const auto request = mine.start(peer, Kind::kPut, {whole(data)}, {});
        if (!outcome(mine, request).empty()) break;
      }
      out.send_word(2);
      sleep_ns(kPatienceNs);
    });
    EXPECT_EQ(initiator.from().receive_word(), 1U);
    sleep_ns(50 * kNsPerMs);
    initiator.signal(SIGSTOP);
    sleep_ns(20 * kNsPerMs);
    const int64_t before = now_ns();
    agent.deregister_region(region);
    EXPECT_LT(now_ns() - before, 5 * kNsPerSecond);
    std::memset(memory.data(), 7, memory.bytes());
    initiator.signal(SIGCONT);
    EXPECT_EQ(initiator.from().receive_word(), 2U);  // its put was refused
    EXPECT_TRUE(all_are(memory.data(), memory.bytes(), std::byte{7})) << name_of(way);
  }
}

// Both run as nobody, and the initiator's memory is nobody's to read.
TEST(Pulls, KernelForbidsReading_BytesGoByTheNetwork) {
  if (::getuid() != 0) GTEST_SKIP() << "becomes another user, which needs root";
  const auto become_nobody = [] {
    EXPECT_EQ(::setresgid(65534, 65534, 65534), 0);
    EXPECT_EQ(::setresuid(65534, 65534, 65534), 0);
  };
  Process other([&](Channel& in, Channel& out) {
    become_nobody();
    ::prctl(PR_SET_DUMPABLE, 1);
    target(Way::kPulled, "decode")(in, out);
  });
  const auto blob = other.from().receive();
  Process initiator([&](Channel&, Channel&) {
    become_nobody();
    ::prctl(PR_SET_DUMPABLE, 0);
    Agent mine(options_for(Way::kPulled, "prefill"));
    const auto peer = mine.import_blob(blob);
    ASSERT_NE(peer->neighbour, nullptr) << peer->why_not_near;
    std::vector<std::byte> data(kRegionBytes, std::byte{3});
    const auto request = mine.start(peer, Kind::kPut, {whole(data)}, {.value = 1, .counter = 0});
    EXPECT_EQ(outcome(mine, request), "");
    EXPECT_EQ(request->route.load(), Route::kNetwork);
    EXPECT_TRUE(peer->refuses_pulls);  // so it was asked to
  });
  EXPECT_EQ(initiator.exit_code(), 0);
  other.to().send_word(1 << 8 | 3);
  EXPECT_EQ(other.from().receive_word(), 1U);
}

}  // namespace
}  // namespace tutti::transfer::testing
