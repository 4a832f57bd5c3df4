// SPDX-License-Identifier: Apache-2.0
// Blobs that are none, ranges that leave their region, and the queue of the mover.
#include <atomic>
#include <thread>

#include <gmock/gmock.h>

#include "tests/unit/transfer_support.h"

namespace tutti::transfer::testing {
namespace {

using ::testing::HasSubstr;

Blob example() {
  Blob blob{.agent_id = 7, .process = this_process(), .control_id = 3, .name = "decode-0"};
  blob.carrier = "tcp";
  blob.network = pattern(100, 1);
  blob.regions = {{.id = 1, .slot = 0, .bytes = 4096, .address = 0x10000, .shared_id = 5},
                  {.id = 9, .slot = 1023, .bytes = 1, .address = 0x20000}};
  return blob;
}

TEST(Blob, RoundTrip_KeepsEverything) {
  const Blob blob = example();
  const Blob read = decode_blob(encode(blob));
  EXPECT_EQ(read.agent_id, 7U);
  EXPECT_EQ(read.process, blob.process);
  EXPECT_EQ(read.name, "decode-0");
  EXPECT_EQ(read.carrier, "tcp");
  EXPECT_EQ(read.network, blob.network);
  ASSERT_EQ(read.regions.size(), 2U);
  EXPECT_EQ(read.regions[1].id, 9U);
  EXPECT_EQ(read.regions[1].slot, 1023U);
  EXPECT_EQ(read.regions[0].shared_id, 5U);
}

TEST(Blob, AnyByteChanged_Refused) {
  const auto bytes = encode(example());
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto damaged = bytes;
    damaged[i] ^= std::byte{0x10};
    EXPECT_THAT(refusal([&] { (void)decode_blob(damaged); }), HasSubstr("the blob is not"))
        << "byte " << i;
  }
}

TEST(Blob, AnyOtherLength_Refused) {
  auto bytes = encode(example());
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_THAT(refusal([&] { (void)decode_blob(std::span(bytes).first(n)); }),
                HasSubstr("the blob is not"))
        << n << " bytes";
  }
  bytes.push_back(std::byte{0});
  EXPECT_THAT(refusal([&] { (void)decode_blob(bytes); }), HasSubstr("the blob is not"));
  bytes.resize(kMaxBlobBytes + 1);
  EXPECT_THAT(refusal([&] { (void)decode_blob(bytes); }), HasSubstr("65537 bytes"));
}

// What encode() writes faithfully and decode_blob() must not believe.
TEST(Blob, SenselessContents_RefusedByName) {
  const auto refused = [](auto change) {
    Blob blob = example();
    change(blob);
    return refusal([&] { (void)decode_blob(encode(blob)); });
  };
  EXPECT_THAT(refused([](Blob& b) { b.regions[1].id = 1; }), HasSubstr("region 1"));
  EXPECT_THAT(refused([](Blob& b) { b.regions[0].id = 0; }), HasSubstr("region 0"));
  EXPECT_THAT(refused([](Blob& b) { b.regions[0].slot = kRegionSlots; }), HasSubstr("slot 1024"));
  EXPECT_THAT(refused([](Blob& b) { b.regions[0].bytes = 0; }), HasSubstr("region 1: 0 bytes"));
  EXPECT_THAT(refused([](Blob& b) { b.regions[0].address = UINT64_MAX; }), HasSubstr("region 1"));
  EXPECT_THAT(refused([](Blob& b) { b.regions[0].shared_offset = UINT64_MAX; }),
              HasSubstr("region 1"));
  EXPECT_THAT(refused([](Blob& b) { b.name = "a\nb"; }), HasSubstr("control characters"));
}

TEST(Blob, TooManyRegions_RefusedWhenWritten) {
  Blob blob = example();
  blob.regions.resize(2000);
  EXPECT_THAT(refusal([&] { (void)encode(blob); }, StatusCode::kInvalidUsage),
              HasSubstr("2000 regions"));
}

TEST(Ranges, AtTheEdges_SaidExactly) {
  EXPECT_EQ(range_problem("x", 1, 100, 0, 100), "");
  EXPECT_EQ(range_problem("x", 1, 100, 100, 0), "");
  EXPECT_EQ(range_problem("x", 1, 100, 99, 1), "");
  EXPECT_THAT(range_problem("agent 'a'", 3, 100, 99, 2), HasSubstr("region 3 of agent 'a'"));
  EXPECT_NE(range_problem("x", 1, 100, 101, 0), "");
  EXPECT_NE(range_problem("x", 1, 100, UINT64_MAX, 2), "");
  EXPECT_NE(range_problem("x", 1, 100, 2, UINT64_MAX), "");
  EXPECT_THAT(range_problem("x", 4, 0, 0, 1), HasSubstr("has no region 4"));
}

TEST(Regions, SlotsOfWritersThatEnded_NotUsedAgain) {
  const auto page = std::make_unique<ControlPage>();
  Regions regions(*page);
  std::byte memory[8];
  const uint32_t first = regions.add(memory, 8, 0, 0);
  page->regions[0].writers = 1;  // a neighbour that was killed there
  regions.close(first);
  EXPECT_EQ(regions.find(first), nullptr);
  EXPECT_TRUE(regions.has_writers(first));
  regions.erase(first);
  const uint32_t second = regions.add(memory, 8, 0, 0);
  EXPECT_NE(second, first);
  EXPECT_EQ(regions.find(second)->entry.slot, 1U);
  regions.close(second);
  regions.erase(second);
  EXPECT_EQ(regions.find(regions.add(memory, 8, 0, 0))->entry.slot, 1U);
}

TEST(Regions, NoSlotLeft_SaysSo) {
  const auto page = std::make_unique<ControlPage>();
  Regions regions(*page);
  std::byte memory[8];
  for (uint32_t i = 0; i < kRegionSlots; ++i) (void)regions.add(memory, 8, 0, 0);
  EXPECT_THAT(refusal([&] { (void)regions.add(memory, 8, 0, 0); }, StatusCode::kInvalidUsage),
              HasSubstr("1024 regions"));
}

class CountingWork final : public LocalWork {
 public:
  explicit CountingWork(std::vector<size_t> spans, size_t fail_at = SIZE_MAX) : fail_at_(fail_at) {
    span_bytes_ = std::move(spans);
  }
  std::atomic<size_t> moved{0};
  std::atomic<int> ends{0};
  std::atomic<StatusCode> end{StatusCode::kInProgress};
  std::atomic<bool> hold{false};

 private:
  Status move(std::span<const Part> parts) noexcept override {
    size_t bytes = 0;
    for (const Part& part : parts) bytes += part.bytes;
    while (hold.load()) yield_core();
    if (moved.fetch_add(bytes) + bytes > fail_at_) return {StatusCode::kRemoteError, -1, "lost"};
    return kOkStatus;
  }
  void finished(const Status& status) noexcept override {
    end = status.code;
    ++ends;
  }
  size_t fail_at_;
};

void await(const CountingWork& work) {
  const Deadline deadline = soon();
  while (work.ends.load() == 0 && !deadline.expired()) sleep_ns(kNsPerMs);
  EXPECT_EQ(work.ends.load(), 1);
}

TEST(Mover, ManyThreads_EachByteOnceAndOneEnd) {
  Mover mover;
  for (int round = 0; round < 20; ++round) {
    const std::vector<size_t> spans{0, 1, Mover::kPieceBytes, 0, 5 * Mover::kPieceBytes + 3, 0};
    const auto work = std::make_shared<CountingWork>(spans);
    mover.start(work);
    std::thread helper([&] {
      while (mover.help()) {
      }
    });
    while (mover.help()) {
    }
    helper.join();
    await(*work);
    EXPECT_EQ(work->moved.load(), 6 * Mover::kPieceBytes + 4);
    EXPECT_EQ(work->end.load(), StatusCode::kOk);
  }
}

TEST(Mover, NothingToMove_EndsAtOnce) {
  Mover mover;
  const auto work = std::make_shared<CountingWork>(std::vector<size_t>{0, 0});
  mover.run(work);
  EXPECT_EQ(work->ends.load(), 1);
  EXPECT_EQ(work->end.load(), StatusCode::kOk);
}

TEST(Mover, PieceFails_TheRestIsLeft) {
  Mover mover;
  const auto work = std::make_shared<CountingWork>(std::vector<size_t>{50 * Mover::kPieceBytes},
                                                   Mover::kPieceBytes);
  mover.start(work);
  await(*work);
  EXPECT_EQ(work->end.load(), StatusCode::kRemoteError);
  EXPECT_LT(work->moved.load(), 50 * Mover::kPieceBytes);
}

TEST(Mover, Cancel_WaitsForThePieceThatRuns) {
  Mover mover;
  const auto work = std::make_shared<CountingWork>(std::vector<size_t>{50 * Mover::kPieceBytes});
  work->hold = true;
  mover.start(work);
  std::thread releaser([&] {
    sleep_ns(20 * kNsPerMs);
    EXPECT_EQ(work->ends.load(), 0);
    work->hold = false;
  });
  sleep_ns(5 * kNsPerMs);  // whether a piece runs by then or not, nothing does afterwards
  mover.cancel(work, {StatusCode::kInvalidUsage, -1, "cancelled"});
  const size_t moved = work->moved.load();
  EXPECT_LE(moved, 2 * Mover::kPieceBytes);
  releaser.join();
  EXPECT_EQ(work->moved.load(), moved);
  EXPECT_EQ(work->ends.load(), 1);
  EXPECT_EQ(work->end.load(), StatusCode::kInvalidUsage);
}

TEST(Mover, Stop_EndsWhatIsQueued) {
  const auto work = std::make_shared<CountingWork>(std::vector<size_t>{1 << 30});
  {
    Mover mover;
    mover.start(work);
  }
  EXPECT_EQ(work->ends.load(), 1);
}

}  // namespace
}  // namespace tutti::transfer::testing
