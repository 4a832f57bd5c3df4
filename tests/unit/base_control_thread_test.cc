// SPDX-License-Identifier: Apache-2.0
// The control thread: watches, timers, removal races, its end, and fork.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "src/base/control_thread.h"
#include "src/base/file.h"
#include "src/base/wait.h"
#include "tests/unit/base_test_support.h"

// A child of a process with threads starts a control thread of its own, which thread sanitizer
// refuses by default.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace tutti {
namespace {

constexpr int64_t kTestNs = 20 * kNsPerSecond;

// Counts calls; waits for a number of them.
class Counter {
 public:
  void add() {
    count_.fetch_add(1, std::memory_order_release);  // pairs with wait_for
    futex_wake_all(count_);
  }
  uint32_t get() const { return count_.load(std::memory_order_acquire); }
  bool wait_for(uint32_t least) const {
    const Deadline deadline = Deadline::after_ns(kTestNs);
    for (uint32_t now = get(); now < least; now = get()) {
      if (deadline.expired()) return false;
      futex_wait(count_, now, deadline);
    }
    return true;
  }

 private:
  std::atomic<uint32_t> count_{0};
};

FileDescriptor make_event() { return FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
void signal(const FileDescriptor& event) { EXPECT_EQ(::eventfd_write(event.get(), 1), 0); }
void drain(const FileDescriptor& event) {
  eventfd_t ignored = 0;
  ::eventfd_read(event.get(), &ignored);
}

TEST(ControlThread, SharedTwice_IsTheSameUntilTheLastGoes) {
  auto a = ControlThread::shared();
  auto b = ControlThread::shared();
  EXPECT_EQ(a, b);
  const std::weak_ptr<ControlThread> weak = a;
  a.reset();
  EXPECT_FALSE(weak.expired());
  b.reset();
  EXPECT_TRUE(weak.expired());
  EXPECT_NE(ControlThread::shared(), nullptr);
}

TEST(ControlThread, Watch_CallsWhileReadable) {
  const auto control = ControlThread::shared();
  const FileDescriptor event = make_event();
  Counter calls;
  const auto id = control->watch(event.get(), [&] {
    EXPECT_TRUE(control->is_current());
    if (calls.get() == 2) drain(event);  // level-triggered: called until drained
    calls.add();
  });
  EXPECT_FALSE(control->is_current());
  EXPECT_EQ(calls.get(), 0u);
  signal(event);
  EXPECT_TRUE(calls.wait_for(3));
  signal(event);
  EXPECT_TRUE(calls.wait_for(4));
  control->remove(id);
  const uint32_t before = calls.get();
  signal(event);
  Counter later;
  control->at(Deadline::after_ns(kNsPerMs), [&] { later.add(); });
  EXPECT_TRUE(later.wait_for(1));
  EXPECT_EQ(calls.get(), before);
}

TEST(ControlThread, WatchOfAHangUp_Calls) {
  const auto control = ControlThread::shared();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const FileDescriptor read_end{ends[0]};
  FileDescriptor write_end{ends[1]};
  Counter calls;
  const auto id = control->watch(read_end.get(), [&] { calls.add(); });
  write_end.reset();
  EXPECT_TRUE(calls.wait_for(1));
  control->remove(id);
}

TEST(ControlThread, WatchOfABadOrWatchedDescriptor_ThrowsSystemError) {
  const auto control = ControlThread::shared();
  const FileDescriptor event = make_event();
  const auto bad = error_of([&] { control->watch(-1, [] {}); });
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->code(), StatusCode::kSystemError);
  const auto id = control->watch(event.get(), [] {});
  EXPECT_TRUE(error_of([&] { control->watch(event.get(), [] {}); }).has_value());
  control->remove(id);
  control->remove(control->watch(event.get(), [] {}));
}

TEST(ControlThread, At_CallsOnceInOrderAndNotBefore) {
  const auto control = ControlThread::shared();
  const int64_t start = now_ns();
  std::vector<int> order;  // written on the control thread, read after `calls` says so
  Counter calls;
  for (const int ms : {9, 3, 6}) {
    control->at(Deadline::at_ns(start + ms * kNsPerMs), [&, ms] {
      EXPECT_GE(now_ns(), start + ms * kNsPerMs);
      order.push_back(ms);
      calls.add();
    });
  }
  ASSERT_TRUE(calls.wait_for(3));
  EXPECT_EQ(order, (std::vector<int>{3, 6, 9}));
  Counter past;
  control->at(Deadline::at_ns(0), [&] { past.add(); });
  EXPECT_TRUE(past.wait_for(1));
  EXPECT_EQ(calls.get(), 3u);
}

TEST(ControlThread, AtNever_IsRemovable) {
  const auto control = ControlThread::shared();
  const auto id = control->at(Deadline::never(), [] { ADD_FAILURE(); });
  control->remove(id);
  control->remove(id);
  control->remove(123456789);
}

TEST(ControlThread, CallbackRemovesItselfAndOthers_RunsToItsEnd) {
  const auto control = ControlThread::shared();
  const FileDescriptor a = make_event();
  const FileDescriptor b = make_event();
  Counter calls;
  std::atomic<ControlThread::Id> id_a{0},
      id_b{0};  // release below pairs with acquire in the callbacks
  const auto callback = [&, guard = std::make_shared<std::string>("still here")] {
    control->remove(id_a.load(std::memory_order_acquire));
    control->remove(id_b.load(std::memory_order_acquire));
    EXPECT_EQ(*guard, "still here");
    calls.add();
  };
  id_a.store(control->watch(a.get(), callback), std::memory_order_release);
  id_b.store(control->watch(b.get(), callback), std::memory_order_release);
  control->at(Deadline::at_ns(0), [&] { signal(a), signal(b); });  // both ready in one round
  EXPECT_TRUE(calls.wait_for(1));
  Counter later;
  control->at(Deadline::after_ns(2 * kNsPerMs), [&] { later.add(); });
  EXPECT_TRUE(later.wait_for(1));
  EXPECT_EQ(calls.get(), 1u);
}

TEST(ControlThread, RemoveWhileTheCallbackRuns_WaitsForItsEnd) {
  const auto control = ControlThread::shared();
  for (int round = 0; round < 300; ++round) {
    const FileDescriptor event = make_event();
    auto alive = std::make_unique<int>(1);  // plain: the sanitizers see a use after remove()
    Counter calls;
    const auto id = control->watch(event.get(), [&event, &calls, data = alive.get()] {
      drain(event);
      *data += 1;
      calls.add();
      *data += 1;
    });
    signal(event);
    ASSERT_TRUE(round % 2 == 0 || calls.wait_for(1));
    control->remove(id);
    EXPECT_EQ(*alive % 2, 1);
    alive.reset();
  }
}

TEST(ControlThread, RemovedTimersFromManyThreads_NeverRunAfterwards) {
  const auto control = ControlThread::shared();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        auto value = std::make_unique<int>(0);
        const auto id = control->at(Deadline::after_ns(i % 5 * 100 * kNsPerUs),
                                    [data = value.get()] { *data += 1; });
        if (i % 3 == 0) std::this_thread::yield();
        control->remove(id);
        EXPECT_LE(*value, 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ControlThread, CallbackThrows_TheThreadGoesOn) {
  const auto control = ControlThread::shared();
  control->at(Deadline::at_ns(0), [] { throw Error(StatusCode::kInternalError, "for the test"); });
  Counter later;
  control->at(Deadline::after_ns(kNsPerMs), [&] { later.add(); });
  EXPECT_TRUE(later.wait_for(1));
}

TEST(ControlThread, CallbackHoldsTheLastOwner_EndsByItself) {
  auto control = ControlThread::shared();
  const std::weak_ptr<ControlThread> weak = control;
  Counter ran;
  const FileDescriptor event = make_event();
  control->watch(event.get(), [] {});
  control->at(Deadline::after_ns(5 * kNsPerMs), [last = control, &ran]() mutable {
    ran.add();
    (void)last;
  });
  control.reset();
  EXPECT_TRUE(ran.wait_for(1));
  const Deadline deadline = Deadline::after_ns(kTestNs);
  while (!weak.expired() && !deadline.expired()) sleep_ns(kNsPerMs / 10);
  EXPECT_TRUE(weak.expired());
}

TEST(ControlThread, EndedWithTimersPending_DoesNotWaitForThem) {
  const int64_t start = now_ns();
  auto control = ControlThread::shared();
  control->at(Deadline::after_ns(100 * kNsPerSecond), [] { ADD_FAILURE(); });
  control.reset();
  EXPECT_LT(now_ns() - start, kTestNs);
}

TEST(ControlThread, ItsThread_HasItsNameAndBlocksSignals) {
  const auto control = ControlThread::shared();
  Counter ran;
  control->at(Deadline::after_ns(kNsPerMs), [&] {
    char name[16] = {};
    EXPECT_EQ(::pthread_getname_np(::pthread_self(), name, sizeof name), 0);
    EXPECT_STREQ(name, "tutti-control");
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    for (const int number : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1}) {
      EXPECT_TRUE(::sigismember(&blocked, number));
    }
    ran.add();
  });
  EXPECT_TRUE(ran.wait_for(1));
  sigset_t mine;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_FALSE(::sigismember(&mine, SIGINT));
}

// glibc would give the child's thread the stack, hence the id, of the parent's thread, and thread
// sanitizer would take it for a duplicate: larger stacks are new ones.
void use_new_stacks() {
  pthread_attr_t attributes;
  size_t bytes = 0;
  ASSERT_EQ(::pthread_getattr_default_np(&attributes), 0);
  ASSERT_EQ(::pthread_attr_getstacksize(&attributes, &bytes), 0);
  ASSERT_EQ(::pthread_attr_setstacksize(&attributes, 2 * bytes), 0);
  ASSERT_EQ(::pthread_setattr_default_np(&attributes), 0);
  ::pthread_attr_destroy(&attributes);
}

TEST(ControlThread, AfterFork_TheChildHasAFreshOne) {
  auto control = ControlThread::shared();
  const FileDescriptor event = make_event();
  Counter calls;
  const auto id = control->watch(event.get(), [&] {
    drain(event);
    calls.add();
  });
  const pid_t child = fork_child([&] {
    use_new_stacks();
    control->remove(id);  // must not touch the parent's epoll set
    const auto refused = error_of([&] { control->at(Deadline::never(), [] {}); });
    if (!refused.has_value() || refused->code() != StatusCode::kInvalidUsage) return 1;
    const auto fresh = ControlThread::shared();
    if (fresh == control) return 2;
    Counter ran;
    fresh->at(Deadline::at_ns(0), [&] { ran.add(); });
    if (!ran.wait_for(1)) return 3;
    control.reset();
    return 0;
  });
  EXPECT_EQ(exit_status(child), 0);
  signal(event);
  EXPECT_TRUE(calls.wait_for(1));
  control->remove(id);
}

}  // namespace
}  // namespace tutti
