// SPDX-License-Identifier: Apache-2.0
// The flight recorder and its reader: what is written is read, torn or damaged recordings are not.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "src/base/clock.h"
#include "src/base/wait.h"
#include "src/kernels/dtypes.h"
#include "src/trace/reader.h"
#include "src/trace/recorder.h"
#include "tests/unit/base_test_support.h"

namespace tutti::trace {
namespace {

using testing::HasSubstr;

constexpr auto kAllReduce = static_cast<uint8_t>(plan::Collective::kAllReduce);
constexpr auto kFloat = static_cast<uint8_t>(DType::kFloat32);

Call all_reduce(uint64_t count) {
  return {.name = "AllReduce", .kind = kAllReduce, .dtype = kFloat, .root = 0, .count = count};
}

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() {
    std::string name = testing::TempDir() + "tutti-trace-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~RecorderTest() override { std::filesystem::remove_all(folder_); }
  RecorderOptions options(uint32_t entries = 16) const {
    return {.comm_id = 0x77,
            .rank = 1,
            .n_ranks = 4,
            .comm_name = "dp",
            .folder = folder_,
            .entries = entries};
  }
  Recording only() const {
    std::vector<std::string> warnings;
    auto all = read_folder(folder_, &warnings);
    EXPECT_EQ(all.size(), 1u);
    EXPECT_TRUE(warnings.empty()) << warnings.front();
    return all.empty() ? Recording{} : std::move(all.front());
  }
  std::string only_path() const {
    return std::filesystem::directory_iterator(folder_)->path().string();
  }
  std::string folder_;
};

TEST_F(RecorderTest, Operations_AreReadAsTheyWereWritten) {
  const int64_t before_ns = now_ns();
  Recorder recorder(options());
  sleep_ns(kNsPerMs);
  const auto described = recorder.describe(all_reduce(100), "ring");
  const uint64_t first = recorder.begin(described, 7, 0);
  recorder.end(first, 2);
  Call send{.name = "Send",
            .kind = static_cast<uint8_t>(Kind::kSend),
            .dtype = kFloat,
            .root = 3,
            .transfers = 1,
            .count = 5};
  const uint64_t second = recorder.begin(recorder.describe(send, ""), 8, 0);
  recorder.waiting(second, 3);
  const Recorder::Queued queued = recorder.queue(all_reduce(9));
  const uint64_t third = recorder.begin(recorder.describe(all_reduce(1), "tree"), 8, queued.issued);
  recorder.change(third, State::kConnecting);

  const Recording r = only();
  EXPECT_EQ(r.comm_id, 0x77u);
  EXPECT_EQ(r.rank, 1);
  EXPECT_EQ(r.n_ranks, 4);
  EXPECT_EQ(r.pid, ::getpid());
  EXPECT_EQ(r.comm_name, "dp");
  EXPECT_EQ(r.comm_state, CommState::kOpen);
  EXPECT_EQ(r.operations, 3u);
  ASSERT_EQ(r.ring.size(), 3u);
  EXPECT_EQ(describe(r.ring[0]), "AllReduce #7 float x 100 sum");
  EXPECT_EQ(r.ring[0].state, State::kDone);
  EXPECT_EQ(r.ring[0].algorithm, "ring");
  EXPECT_STREQ(protocol_name(r.ring[0].protocol), "staged");
  EXPECT_EQ(describe(r.ring[1]), "Send #1 float x 5 to rank 3");
  EXPECT_EQ(r.ring[1].waiting_for, 3);
  EXPECT_EQ(r.ring[1].state, State::kRunning);
  EXPECT_EQ(r.ring[2].state, State::kConnecting);
  EXPECT_LE(r.ring[2].issued_ns, r.ring[2].begun_ns);
  ASSERT_EQ(r.queue.size(), 1u);
  EXPECT_EQ(r.queue[0].count, 9u);
  for (const Operation& o : r.ring) {
    EXPECT_GE(o.begun_ns, before_ns);
    EXPECT_LE(o.begun_ns, now_ns() + kNsPerMs);
  }
}

TEST_F(RecorderTest, MoreOperationsThanEntries_LastOnesStay) {
  Recorder recorder(options());
  const auto described = recorder.describe(all_reduce(1), "ring");
  for (uint64_t k = 0; k < 1000; ++k) recorder.end(recorder.begin(described, k, 0), 1);
  const Recording r = only();
  ASSERT_EQ(r.ring.size(), 16u);
  EXPECT_EQ(r.ring.front().number, 984u);
  EXPECT_EQ(r.ring.back().number, 999u);
  EXPECT_EQ(r.operations, 1000u);
}

TEST_F(RecorderTest, FailureAndEnd_AreKept) {
  {
    Recorder recorder(options());
    const auto described = recorder.describe(all_reduce(1), "ring");
    recorder.fail(recorder.begin(described, 0, 0), 2, 6);
    recorder.failed("rank 2 has died");
    recorder.failed("a consequence");
  }
  const Recording r = only();
  EXPECT_EQ(r.comm_state, CommState::kFailed);
  EXPECT_EQ(r.failure, "rank 2 has died");
  EXPECT_EQ(r.ring.at(0).state, State::kFailed);
  EXPECT_EQ(r.ring.at(0).waiting_for, 2);
  EXPECT_EQ(r.ring.at(0).result, 6);
  { Recorder second(options()); }
  std::vector<std::string> warnings;
  EXPECT_EQ(read_folder(folder_, &warnings).size(), 2u) << "file names are unique";
}

TEST_F(RecorderTest, FileMode_IsForTheOwnerOnly) {
  Recorder recorder(options());
  struct stat status {};
  ASSERT_EQ(::stat(only_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(RecorderTest, FolderThatDoesNotExist_IsNamedInTheError) {
  RecorderOptions wrong = options();
  wrong.folder = folder_ + "/nowhere";
  const auto error = error_of([&] { Recorder recorder(wrong); });
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->what(), testing::AllOf(HasSubstr("nowhere"), HasSubstr("TUTTI_TRACE_DIR")));
}

TEST_F(RecorderTest, KilledProcess_LeavesItsRecording) {
  const pid_t child = fork_child([&] {
    Recorder recorder(options());
    const auto described = recorder.describe(all_reduce(3), "ring");
    recorder.end(recorder.begin(described, 0, 0), 1);
    recorder.begin(described, 1, 0);
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  EXPECT_EQ(exit_status(child), 1000 + SIGKILL);
  const Recording r = only();
  ASSERT_EQ(r.ring.size(), 2u);
  EXPECT_EQ(r.ring[0].state, State::kDone);
  EXPECT_EQ(r.ring[1].state, State::kRunning);
  EXPECT_EQ(r.pid, child);
}

TEST_F(RecorderTest, QueueFull_CountsWhatIsLost) {
  Recorder recorder(options());
  std::vector<Recorder::Queued> all;
  for (int i = 0; i < 70; ++i) all.push_back(recorder.queue(all_reduce(1)));
  EXPECT_EQ(only().queue.size(), kQueueEntries);
  EXPECT_EQ(only().queue_lost, 70 - kQueueEntries);
  for (auto& queued : all) recorder.dequeue(queued);
  EXPECT_TRUE(only().queue.empty());
}

TEST_F(RecorderTest, Counters_AreReadByPeer) {
  Recorder recorder(options());
  recorder.set_transport(2, "shm");
  add(recorder.peer(2).protocols[1].sent_bytes, 640);
  add(recorder.peer(2).protocols[1].sent_messages, 10);
  add(recorder.peer(2).waited_ns, 5);
  const Recording r = only();
  ASSERT_EQ(r.counters.size(), 1u);
  EXPECT_EQ(r.counters[0].peer, 2);
  EXPECT_EQ(r.counters[0].transport, "shm");
  EXPECT_EQ(r.counters[0].sent_bytes[1], 640u);
  EXPECT_EQ(r.counters[0].waited_ns, 5u);
}

// Every field of every record read while it is being overwritten must belong together.
TEST_F(RecorderTest, ReadWhileWritten_NoTornRecordIsTaken) {
  for (const bool in_memory : {true, false}) {
    RecorderOptions how = options();
    if (in_memory) how.folder.clear();
    Recorder recorder(how);
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      for (uint64_t k = 0; !stop.load(std::memory_order_relaxed); ++k) {
        Recorder::Described call = recorder.describe(all_reduce(k * 3), "ring");
        call.ranks = make_ranks(static_cast<int32_t>(k % 4), -1);
        recorder.end(recorder.begin(call, k, 0), static_cast<int>(k % 5));
      }
    });
    constexpr size_t kEnough = 100;
    const Deadline end = Deadline::after_ns(kNsPerSecond / 2);
    const Deadline patience = Deadline::after_ns(30 * kNsPerSecond);
    size_t checked = 0;
    std::vector<std::string> warnings;
    while (!end.expired() || (checked <= kEnough && !patience.expired())) {
      const auto all = in_memory ? read_processes(&warnings) : read_folder(folder_, &warnings);
      for (const Recording& r : all) {
        if (r.pid != ::getpid()) continue;
        for (const Operation& o : r.ring) {
          ++checked;
          ASSERT_EQ(o.number, o.sequence);
          ASSERT_EQ(o.count, o.number * 3);
          if (o.state == State::kDone) {
            ASSERT_EQ(o.protocol, o.number % 5);
          }
        }
      }
    }
    stop = true;
    writer.join();
    EXPECT_GT(checked, kEnough);
  }
}

TEST_F(RecorderTest, ForeignAndShortFiles_AreNamedAndSkipped) {
  { Recorder recorder(options()); }
  const std::string good = only_path();
  std::ofstream(folder_ + "/notes.txt") << "hello";
  std::ofstream(folder_ + "/tutti-empty.ring") << "";
  std::ofstream(folder_ + "/tutti-text.ring") << std::string(20000, 'x');
  std::filesystem::copy(good, folder_ + "/tutti-cut.ring");
  std::filesystem::resize_file(folder_ + "/tutti-cut.ring", 17000);
  std::filesystem::create_directory(folder_ + "/tutti-folder.ring");
  ASSERT_EQ(::mkfifo((folder_ + "/tutti-fifo.ring").c_str(), 0600), 0);
  std::vector<std::string> warnings;
  EXPECT_EQ(read_folder(folder_, &warnings).size(), 1u);
  EXPECT_EQ(warnings.size(), 6u) << testing::PrintToString(warnings);
}

TEST_F(RecorderTest, DamagedFiles_NeverCrash) {
  {
    Recorder recorder(options());
    for (uint64_t k = 0; k < 20; ++k)
      recorder.end(recorder.begin(recorder.describe(all_reduce(k), "ring"), k, 0), 1);
  }
  std::ifstream in(only_path(), std::ios::binary);
  const std::string whole(std::istreambuf_iterator<char>(in), {});
  std::mt19937_64 random(1);
  size_t accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 1 + round % 8; ++i) {
      // Half of them in the header.
      const size_t at = random() % (i % 2 == 0 ? 512 : damaged.size());
      damaged[at] = static_cast<char>(random());
    }
    Image image(damaged.size() / 8);
    std::memcpy(image.data(), damaged.data(), image.size() * 8);
    try {
      const Recording r = parse(image, "damaged");
      for (const Operation& o : r.ring) describe(o);
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100u) << "damage must get past the header now and then";
}

}  // namespace
}  // namespace tutti::trace
