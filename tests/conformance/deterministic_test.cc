// SPDX-License-Identifier: Apache-2.0
// Deterministic mode: however the same data is cut, placed and carried, every element has the bits
// of one fold of ranks 0 to n-1 with one rounding, as the scalar reference computes them.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <sys/wait.h>

#include "tests/unit/kernels_harness.h"
#include "tutti/tutti.h"

// For sanitizers: a forked child starts threads of its own.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace tutti::test {
namespace {

constexpr size_t kElements = 1500;  // of every rank's input: several chunks of the small slots

// How the ranks are placed and their messages carried.
struct Setting {
  bool processes = false;
  const char* protocol = nullptr;   // null: the library chooses
  const char* algorithm = nullptr;  // null: the library chooses
  int channels = 1;
  const char* slot_bytes = "64K";
  bool shared_memory = false;  // buffers of tuttiMemAlloc
  bool mixed_targets = false;  // every process another instruction set
  bool deterministic = true;

  std::string text() const {
    return std::string(processes ? "processes" : "threads") + " " +
           (protocol != nullptr ? protocol : "any protocol") + " " +
           (algorithm != nullptr ? algorithm : "any algorithm") + " channels " +
           std::to_string(channels) + " slots " + slot_bytes + (shared_memory ? " shared" : "") +
           (mixed_targets ? " mixed targets" : "");
  }
};

constexpr Setting kSettings[] = {
    {},
    {.protocol = "inline", .channels = 3},
    {.protocol = "staged", .slot_bytes = "256"},
    {.protocol = "direct", .algorithm = "one_shot"},
    {.algorithm = "two_shot", .channels = 2, .slot_bytes = "512"},
    {.processes = true},
    {.processes = true, .protocol = "staged", .algorithm = "two_shot", .slot_bytes = "128"},
    {.processes = true, .protocol = "direct"},                                             // pulled
    {.processes = true, .protocol = "direct", .slot_bytes = "1K", .shared_memory = true},  // mapped
    {.processes = true, .algorithm = "one_shot", .channels = 4, .mixed_targets = true},
};

// Floats whose exponents are wild, or close enough that sums cancel and round; now and then an
// infinity, NaN, zero or subnormal.
Bytes wild_elements(DType dtype, uint32_t seed) {
  Bytes bytes = random_bytes(kElements * size_of(dtype), seed);
  std::mt19937 random(~seed);
  const auto tame = [&](auto bits, int mantissa_bits, int bias) {
    using Bits = decltype(bits);
    for (size_t i = 0; i < kElements; ++i) {
      if (random() % 10 < 3) continue;  // any bits
      std::memcpy(&bits, &bytes[i * sizeof bits], sizeof bits);
      const Bits sign = bits & static_cast<Bits>(Bits{1} << (8 * sizeof bits - 1));
      const Bits mantissa = bits & static_cast<Bits>((Bits{1} << mantissa_bits) - 1);
      const auto exponent = static_cast<Bits>(bias - 6 + static_cast<int>(random() % 12));
      bits = static_cast<Bits>(sign | exponent << mantissa_bits | mantissa);
      std::memcpy(&bytes[i * sizeof bits], &bits, sizeof bits);
    }
  };
  if (dtype == DType::kFloat32) tame(uint32_t{}, 23, 127);
  if (dtype == DType::kFloat64) tame(uint64_t{}, 52, 1023);
  if (dtype == DType::kBfloat16) tame(uint16_t{}, 7, 127);
  if (dtype == DType::kFloat16) tame(uint16_t{}, 10, 15);
  return bytes;
}

// Inputs of all ranks and the bits that every reduction must give.
class Expected {
 public:
  explicit Expected(int n_ranks) : n_ranks_(n_ranks) {
    for (const DType dtype : all_dtypes()) {
      std::vector<Bytes>& inputs = inputs_[dtype];
      for (int r = 0; r < n_ranks; ++r)
        inputs.push_back(wild_elements(dtype, static_cast<uint32_t>(1000 * r + n_ranks)));
      for (const Op op : kAllOps) results_[{dtype, op}] = reduced(dtype, op);
    }
  }
  int n_ranks() const { return n_ranks_; }
  const Bytes& input(DType dtype, int rank) const {
    return inputs_.at(dtype)[static_cast<size_t>(rank)];
  }
  const Bytes& result(DType dtype, Op op) const { return results_.at({dtype, op}); }
  // Another one on every rank.
  Bytes factor(DType dtype, int rank) const {
    const Bytes& input = inputs_.at(dtype)[static_cast<size_t>(rank)];
    return {input.begin(), input.begin() + static_cast<ptrdiff_t>(size_of(dtype))};
  }

 private:
  // Contributions are values of the datatype: scaled by themselves, then folded.
  Bytes reduced(DType dtype, Op op) const {
    std::vector<Bytes> contributions = inputs_.at(dtype);
    for (int r = 0; op == Op::kPreMulSum && r < n_ranks_; ++r) {
      Bytes& contribution = contributions[static_cast<size_t>(r)];
      const Bytes pre = factor(dtype, r);
      const ReferenceInput one{contribution.data(), true};
      Bytes scaled(contribution.size());
      reference_reduce({.dtype = dtype,
                        .op = op,
                        .inputs = {&one, 1},
                        .count = kElements,
                        .pre = pre.data(),
                        .sink = scaled.data()});
      contribution = std::move(scaled);
    }
    std::vector<ReferenceInput> inputs;
    for (const Bytes& contribution : contributions) inputs.push_back({contribution.data(), false});
    Bytes result(kElements * size_of(dtype));
    reference_reduce({.dtype = dtype,
                      .op = op,
                      .inputs = inputs,
                      .count = kElements,
                      .post_divisor = op == Op::kAvg ? n_ranks_ : 1,
                      .sink = result.data()});
    return result;
  }

  int n_ranks_;
  std::map<DType, std::vector<Bytes>> inputs_;
  std::map<std::pair<DType, Op>, Bytes> results_;
};

#define REQUIRE_TUTTI(call) \
  ASSERT_EQ((call), tuttiSuccess) << #call << ": " << tuttiGetLastError(nullptr)

// One rank's calls.
class Rank {
 public:
  Rank(const Expected& expected, const Setting& setting, int rank)
      : expected_(expected),
        setting_(setting),
        rank_(rank),
        random_(static_cast<uint32_t>(expected.n_ranks())) {}

  void run(const tuttiUniqueId& id) {
    tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
    config.transport = setting_.processes ? "shm" : "inproc";
    config.protocol = setting_.protocol;
    config.algorithm = setting_.algorithm;
    config.channels = setting_.channels;
    config.deterministic = setting_.deterministic ? 1 : 0;
    config.timeoutSeconds = 60;
    // Rank 0 decides, also for who thinks otherwise.
    if (rank_ != 0) config.deterministic = TUTTI_CONFIG_UNDEF_INT;
    REQUIRE_TUTTI(tuttiCommInitRankConfig(&comm_, expected_.n_ranks(), id, rank_, &config));
    allocate();
    for (const DType dtype : all_dtypes())
      for (const Op op : kAllOps) {
        reduce_everything(dtype, op);
        if (::testing::Test::HasFailure()) break;
      }
    release();
    REQUIRE_TUTTI(tuttiCommDestroy(comm_));
  }
  size_t wrong() const { return wrong_; }

 private:
  static constexpr size_t kBufferBytes = kElements * 8 + 64;

  void allocate() {
    for (uint8_t** buffer : {&send_, &recv_}) {
      if (setting_.shared_memory) {
        void* memory = nullptr;
        REQUIRE_TUTTI(tuttiMemAlloc(&memory, kBufferBytes));
        *buffer = static_cast<uint8_t*>(memory);
      } else {
        own_.emplace_back(kBufferBytes);
        *buffer = own_.back().data();
      }
    }
  }
  void release() {
    if (!setting_.shared_memory) return;
    REQUIRE_TUTTI(tuttiMemFree(send_));
    REQUIRE_TUTTI(tuttiMemFree(recv_));
  }

  void reduce_everything(DType dtype, Op op) {
    dtype_ = dtype;
    op_ = op;
    tuttiRedOp_t handle = static_cast<tuttiRedOp_t>(op);
    if (op == Op::kPreMulSum) {
      const Bytes factor = expected_.factor(dtype, rank_);
      REQUIRE_TUTTI(tuttiRedOpCreatePreMulSum(&handle, const_cast<uint8_t*>(factor.data()), type(),
                                              tuttiScalarHostImmediate, comm_));
    }
    handle_ = handle;
    for (const bool cut : {false, true}) {
      all_reduce(cut);
      reduce(cut, static_cast<int>(random_() % static_cast<uint32_t>(expected_.n_ranks())));
      reduce_scatter(cut);
    }
    if (op == Op::kPreMulSum) {
      REQUIRE_TUTTI(tuttiRedOpDestroy(handle, comm_));
    }
  }

  tuttiDataType_t type() const { return static_cast<tuttiDataType_t>(dtype_); }
  size_t size() const { return size_of(dtype_); }

  // Ends of the calls that cover [0, count); the same on all ranks.
  std::vector<size_t> cuts(size_t count, bool cut) {
    std::vector<size_t> ends;
    for (size_t at = 0; cut && at + 1 < count;) {
      at += 1 + random_() % (random_() % 2 == 0 ? 40 : count / 2);
      if (at < count) ends.push_back(at);
    }
    ends.push_back(count);
    return ends;
  }

  // Some ranks run in place.
  bool in_place() const { return (static_cast<size_t>(rank_) + size()) % 3 == 0; }
  // Any alignment of elements.
  uint8_t* aligned(uint8_t* buffer) const { return buffer + (rank_ + static_cast<int>(op_)) % 5; }

  void check(const uint8_t* got, size_t first, size_t count, const char* call) {
    const uint8_t* want = expected_.result(dtype_, op_).data() + first * size();
    for (size_t i = 0; i < count; ++i) {
      if (std::memcmp(got + i * size(), want + i * size(), size()) == 0) continue;
      ++wrong_;
      if (!setting_.deterministic) continue;
      FAIL() << setting_.text() << ", rank " << rank_ << " of " << expected_.n_ranks() << ", "
             << call << " " << name(dtype_) << " " << name(op_) << " element " << first + i
             << ": expected " << hex(want + i * size(), size()) << ", got "
             << hex(got + i * size(), size());
    }
  }

  void all_reduce(bool cut) {
    const Bytes& input = expected_.input(dtype_, rank_);
    uint8_t* recv = aligned(recv_);
    uint8_t* send = in_place() ? recv : aligned(send_);
    std::memcpy(send, input.data(), input.size());
    size_t at = 0;
    for (const size_t end : cuts(kElements, cut)) {
      REQUIRE_TUTTI(tuttiAllReduce(send + at * size(), recv + at * size(), end - at, type(),
                                   handle_, comm_, nullptr));
      at = end;
    }
    check(recv, 0, kElements, "AllReduce");
  }

  void reduce(bool cut, int root) {
    const Bytes& input = expected_.input(dtype_, rank_);
    uint8_t* recv = aligned(recv_);
    uint8_t* send = in_place() ? recv : aligned(send_);
    std::memcpy(send, input.data(), input.size());
    size_t at = 0;
    for (const size_t end : cuts(kElements, cut)) {
      REQUIRE_TUTTI(tuttiReduce(send + at * size(), recv + at * size(), end - at, type(), handle_,
                                root, comm_, nullptr));
      at = end;
    }
    if (rank_ == root) check(recv, 0, kElements, "Reduce");
  }

  // A cut takes a piece of every block.
  void reduce_scatter(bool cut) {
    const auto n = static_cast<size_t>(expected_.n_ranks());
    const size_t block = kElements / n;
    const uint8_t* input = expected_.input(dtype_, rank_).data();
    size_t at = 0;
    for (const size_t end : cuts(block, cut)) {
      const size_t count = end - at;
      uint8_t* send = aligned(send_);
      for (size_t b = 0; b < n; ++b)
        std::memcpy(send + b * count * size(), input + (b * block + at) * size(), count * size());
      const auto mine = static_cast<size_t>(rank_) * count;
      uint8_t* recv = in_place() ? send + mine * size() : aligned(recv_);
      REQUIRE_TUTTI(tuttiReduceScatter(send, recv, count, type(), handle_, comm_, nullptr));
      check(recv, static_cast<size_t>(rank_) * block + at, count, "ReduceScatter");
      at = end;
    }
  }

  const Expected& expected_;
  const Setting& setting_;
  const int rank_;
  std::mt19937 random_;  // in step on all ranks
  tuttiComm_t comm_ = nullptr;
  std::vector<Bytes> own_;
  uint8_t* send_ = nullptr;
  uint8_t* recv_ = nullptr;
  DType dtype_ = DType::kInt8;
  Op op_ = Op::kSum;
  tuttiRedOp_t handle_ = tuttiSum;
  size_t wrong_ = 0;
};

// A child with one rank, which finds the others as those of `tutti run` do.
void run_process(const Expected& expected, const Setting& setting, int rank) {
  const std::string n = std::to_string(expected.n_ranks());
  for (const char* name : {"TUTTI_RANK", "TUTTI_LOCAL_RANK"})
    ::setenv(name, std::to_string(rank).c_str(), 1);
  for (const char* name : {"TUTTI_SIZE", "TUTTI_LOCAL_SIZE"}) ::setenv(name, n.c_str(), 1);
  ::setenv("TUTTI_JOB", ("deterministic" + std::to_string(::getppid())).c_str(), 1);
  if (setting.mixed_targets) {
    const std::vector<int64_t> targets = compiled_targets();
    hwy::SetSupportedTargetsForTest(targets[static_cast<size_t>(rank) % targets.size()]);
  }
  tuttiUniqueId id;
  REQUIRE_TUTTI(tuttiGetLaunchUniqueId(&id));
  Rank(expected, setting, rank).run(id);
}

// The number of elements that differ from the reference, over all ranks.
size_t run_threads(const Expected& expected, const Setting& setting) {
  tuttiUniqueId id;
  EXPECT_EQ(tuttiGetUniqueId(&id), tuttiSuccess);
  std::vector<Rank> ranks;
  for (int r = 0; r < expected.n_ranks(); ++r) ranks.emplace_back(expected, setting, r);
  std::vector<std::thread> threads;
  threads.reserve(ranks.size());
  for (Rank& rank : ranks) threads.emplace_back([&rank, &id] { rank.run(id); });
  for (std::thread& thread : threads) thread.join();
  size_t wrong = 0;
  for (const Rank& rank : ranks) wrong += rank.wrong();
  return wrong;
}

// Children, since settings come by the environment too; `body` returns the exit status.
template <class Body>
void expect_children_succeed(int children, const Setting& setting, Body body) {
  std::vector<pid_t> pids;
  for (int i = 0; i < children; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setenv("TUTTI_SLOT_BYTES", setting.slot_bytes, 1);
      ::_exit(body(i));
    }
    pids.push_back(pid);
  }
  for (const pid_t pid : pids) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << setting.text() << ": status " << status;
  }
}

class Deterministic : public ::testing::TestWithParam<int> {};

TEST_P(Deterministic, AnyCutPlacementAndCarrier_GivesTheBitsOfOneFold) {
  const Expected expected(GetParam());
  for (const Setting& setting : kSettings) {
    SCOPED_TRACE(setting.text());
    if (setting.processes) {
      expect_children_succeed(expected.n_ranks(), setting, [&](int rank) {
        run_process(expected, setting, rank);
        return HasFailure() ? 1 : 0;
      });
    } else {
      expect_children_succeed(1, setting, [&](int) {
        const size_t wrong = run_threads(expected, setting);
        return wrong != 0 || HasFailure() ? 1 : 0;
      });
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Ranks, Deterministic, ::testing::Values(1, 2, 3, 4, 5, 7, 8, 16));

// The data is such that other orders show: without the mode a ring gives other bits.
TEST(NotDeterministic, Ring_GivesOtherBits) {
  const Expected expected(5);
  const Setting ring{.algorithm = "ring", .deterministic = false};
  expect_children_succeed(1, ring, [&](int) {
    const size_t wrong = run_threads(expected, ring);
    return wrong > 1000 && !HasFailure() ? 0 : 1;
  });
}

}  // namespace
}  // namespace tutti::test
