// SPDX-License-Identifier: Apache-2.0
// Process identities and pidfds, against real children.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/liveness.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::HasSubstr;

struct Pipe {
  FileDescriptor read_end, write_end;
  Pipe() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_end = FileDescriptor(ends[0]);
    write_end = FileDescriptor(ends[1]);
  }
};

// A child that reports its identity and lives until its standing order, the end of a pipe, comes.
struct Child {
  Pipe report, order;
  pid_t pid = -1;
  ProcessIdentity identity;
  Child() {
    pid = fork_child([this] {
      order.write_end.reset();
      const ProcessIdentity self = this_process();
      char byte = 0;
      if (::write(report.write_end.get(), &self, sizeof self) != sizeof self) return 1;
      return ::read(order.read_end.get(), &byte, 1) == 0 ? 0 : 2;
    });
    EXPECT_EQ(::read(report.read_end.get(), &identity, sizeof identity), ssize_t{sizeof identity});
  }
  void let_go() { order.write_end.reset(); }
};

bool wait_readable(int fd, Deadline deadline) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, deadline.left_ms()) == 1;
}

TEST(ThisProcess, Asked_IsCompleteAndStable) {
  const ProcessIdentity& self = this_process();
  EXPECT_NE(self.host_id, 0u);
  EXPECT_NE(self.process_uid, 0u);
  EXPECT_EQ(self.pid, ::getpid());
  EXPECT_EQ(self.uid, ::getuid());
  EXPECT_NE(self.start_ticks, 0u);
  EXPECT_EQ(&this_process(), &self);
}

TEST(ThisProcess, AfterFork_IsAnother) {
  const ProcessIdentity parent = this_process();
  Child child;
  EXPECT_EQ(child.identity.host_id, parent.host_id);
  EXPECT_EQ(child.identity.uid, parent.uid);
  EXPECT_EQ(child.identity.pid, child.pid);
  EXPECT_NE(child.identity.process_uid, parent.process_uid);
  EXPECT_GE(child.identity.start_ticks, parent.start_ticks);
  EXPECT_EQ(this_process(), parent);
  child.let_go();
  EXPECT_EQ(exit_status(child.pid), 0);
}

// Processes that look alike are told apart where somebody says so.
TEST(ThisProcess, HostIdOfTheEnvironment_MakesAnotherHost) {
  const uint64_t here = this_process().host_id;
  uint64_t seen[3] = {};
  const char* const ids[] = {"a", "b", "a"};
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(::setenv("TUTTI_HOST_ID", ids[i], 1), 0);
    Child child;
    ASSERT_EQ(::unsetenv("TUTTI_HOST_ID"), 0);
    seen[i] = child.identity.host_id;
    child.let_go();
    EXPECT_EQ(exit_status(child.pid), 0);
  }
  EXPECT_NE(seen[0], here);
  EXPECT_NE(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
}

TEST(OwnPid, InThisProcessAndItsChildren_IsWhatTheSystemSays) {
  EXPECT_EQ(own_pid(), ::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    const bool here = own_pid() == ::getpid();
    const pid_t grandchild = ::fork();
    if (grandchild == 0) ::_exit(own_pid() == ::getpid() ? 0 : 1);
    int status = -1;
    ::waitpid(grandchild, &status, 0);
    ::_exit(here && status == 0 ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(own_pid(), ::getpid());
}

TEST(HostName, Asked_IsNotEmpty) { EXPECT_FALSE(host_name().empty()); }

class ProcessWatchTest : public testing::TestWithParam<ProcessWatch::Means> {};
INSTANTIATE_TEST_SUITE_P(Means, ProcessWatchTest,
                         testing::Values(ProcessWatch::Means::kBest,
                                         ProcessWatch::Means::kStartTime),
                         [](const auto& info) {
                           return info.param == ProcessWatch::Means::kBest ? "Best" : "StartTime";
                         });

bool exits_before(const ProcessWatch& watch, Deadline deadline) {
  while (!watch.exited()) {
    if (!wait_readable(watch.fd(), deadline)) return false;
  }
  return true;
}

TEST_P(ProcessWatchTest, OfAChild_NoticesItsEnd) {
  Child child;
  const ProcessWatch watch(child.identity, GetParam());
  EXPECT_FALSE(watch.exited());
  EXPECT_FALSE(exits_before(watch, Deadline::after_ns(250 * kNsPerMs)));
  child.let_go();
  EXPECT_TRUE(exits_before(watch, Deadline::after_ns(10 * kNsPerSecond)));
  EXPECT_EQ(exit_status(child.pid), 0);
  EXPECT_TRUE(watch.exited());
}

TEST_P(ProcessWatchTest, OfAReapedChild_ThrowsRemoteError) {
  Child child;
  child.let_go();
  EXPECT_EQ(exit_status(child.pid), 0);
  const auto error = error_of([&] { ProcessWatch(child.identity, GetParam()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(), HasSubstr(std::to_string(child.pid)));
}

TEST_P(ProcessWatchTest, OfARecycledPid_ThrowsRemoteError) {
  ProcessIdentity other = this_process();
  other.start_ticks -= 1;
  const auto error = error_of([&] { ProcessWatch(other, GetParam()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kRemoteError);
  EXPECT_THAT(error->what(), HasSubstr("another one has its pid"));
}

TEST_P(ProcessWatchTest, OfAnotherHost_ThrowsInvalidArgument) {
  ProcessIdentity other = this_process();
  other.host_id += 1;
  const auto error = error_of([&] { ProcessWatch(other, GetParam()); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kInvalidArgument);
}

TEST(ProcessWatch, OfNobody_NeverEnds) { EXPECT_FALSE(ProcessWatch().exited()); }

}  // namespace
}  // namespace tutti
