// SPDX-License-Identifier: Apache-2.0
// Programs written for NCCL over memory of GPUs: every collective, sends and receives, groups, and
// several communicators, with one thread, threads or processes driving the GPUs.
#include <bit>
#include <numeric>

#include "tests/nccl/device_support.h"

namespace tutti::nccl_test {
namespace {

constexpr int kRanks = 4;
constexpr size_t kCount = 1000;

// --- Data: numbers that every type holds exactly, with their sums, products and means

struct Bfloat16 {
  uint16_t bits = 0;
  bool operator==(const Bfloat16&) const = default;
};
template <typename T>
T number(double value) {
  if constexpr (std::is_same_v<T, Bfloat16>) {
    return {static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16)};
  } else {
    return static_cast<T>(value);
  }
}
template <typename T>
constexpr ncclDataType_t kType = ncclNumTypes;
template <>
constexpr ncclDataType_t kType<float> = ncclFloat32;
template <>
constexpr ncclDataType_t kType<double> = ncclFloat64;
template <>
constexpr ncclDataType_t kType<int32_t> = ncclInt32;
template <>
constexpr ncclDataType_t kType<int64_t> = ncclInt64;
template <>
constexpr ncclDataType_t kType<uint8_t> = ncclUint8;
template <>
constexpr ncclDataType_t kType<Bfloat16> = ncclBfloat16;

// Element `i` of what rank `rank` has.
double element(int rank, size_t i) {
  return 1 + static_cast<double>((i + static_cast<size_t>(rank)) % 3 % 2);
}

double folded(ncclRedOp_t op, size_t i) {
  double all = element(0, i);
  for (int r = 1; r < kRanks; ++r) {
    const double next = element(r, i);
    all = op == ncclProd  ? all * next
          : op == ncclMax ? std::max(all, next)
          : op == ncclMin ? std::min(all, next)
                          : all + next;
  }
  return op == ncclAvg ? all / kRanks : all;
}
template <typename T>
std::vector<T> values(size_t count, const std::function<double(size_t)>& of) {
  std::vector<T> made;
  made.reserve(count);
  for (size_t i = 0; i < count; ++i) made.push_back(number<T>(of(i)));
  return made;
}
template <typename T>
std::vector<T> input(int rank, size_t count) {
  return values<T>(count, [&](size_t i) { return element(rank, i); });
}
// Rank r's part is block r.
template <typename T>
std::vector<T> parts(size_t count) {
  return values<T>(kRanks * count,
                   [&](size_t i) { return element(static_cast<int>(i / count), i % count); });
}

// --- Collectives

template <typename T>
void reductions(World& world, size_t count, const std::vector<ncclRedOp_t>& ops) {
  const auto in = world.filled<T>([&](int rank) { return input<T>(rank, count); });
  const auto out = world.buffers<T>(count);
  for (const ncclRedOp_t op : ops) {
    world.group([&](size_t i, Rank& r) {
      NCCL_OK(ncclAllReduce(in[i]->get(), out[i]->get(), count, kType<T>, op, r.comm, r.stream()));
    });
    world.synchronize();
    const auto expected = values<T>(count, [&](size_t i) { return folded(op, i); });
    world.each([&](size_t i, Rank& r) {
      EXPECT_EQ(out[i]->read(), expected)
          << "op " << op << " type " << kType<T> << " rank " << r.rank;
    });
  }
}

void reductions_to_one_and_in_parts(World& world) {
  const auto sum = values<float>(kCount, [](size_t i) { return folded(ncclSum, i); });
  const auto in = world.filled<float>([](int rank) { return input<float>(rank, kCount); });
  const auto out = world.buffers<float>(kCount);
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(
        ncclReduce(in[i]->get(), out[i]->get(), kCount, ncclFloat, ncclSum, 2, r.comm, r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank& r) {
    if (r.rank != 2) return;
    EXPECT_EQ(out[i]->read(), sum);
  });
  constexpr size_t kPart = kCount / kRanks;
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclReduceScatter(in[i]->get(), out[i]->get(), kPart, ncclFloat, ncclSum, r.comm,
                              r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank& r) {
    std::vector<float> got = out[i]->read();
    got.resize(kPart);
    const auto first = sum.begin() + static_cast<ptrdiff_t>(kPart) * r.rank;
    EXPECT_EQ(got, std::vector<float>(first, first + kPart));
  });
}

void movements(World& world) {
  const auto in = world.filled<int32_t>([](int rank) { return input<int32_t>(rank, kCount); });
  const auto out = world.buffers<int32_t>(kRanks * kCount);
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclAllGather(in[i]->get(), out[i]->get(), kCount, ncclInt32, r.comm, r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank&) { EXPECT_EQ(out[i]->read(), parts<int32_t>(kCount)); });
  // In place, from rank 3.
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclBroadcast(in[i]->get(), in[i]->get(), kCount, ncclInt32, 3, r.comm, r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank&) { EXPECT_EQ(in[i]->read(), input<int32_t>(3, kCount)); });
}

// Block b of rank r holds 10 r + b.
std::vector<int64_t> blocks_of(int rank) {
  return values<int64_t>(kRanks * kCount,
                         [&](size_t i) { return 10.0 * rank + static_cast<double>(i / kCount); });
}

void exchanges(World& world) {
  const auto in = world.filled<int64_t>(blocks_of);
  const auto out = world.buffers<int64_t>(kRanks * kCount);
  const auto own = world.buffers<int64_t>(kCount);
  const auto column = [](int block) {
    return values<int64_t>(kRanks * kCount,
                           [&](size_t i) { return 10 * static_cast<double>(i / kCount) + block; });
  };
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclAlltoAll(in[i]->get(), out[i]->get(), kCount, ncclInt64, r.comm, r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank& r) { EXPECT_EQ(out[i]->read(), column(r.rank)); });
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclScatter(in[i]->get(), own[i]->get(), kCount, ncclInt64, 1, r.comm, r.stream()));
  });
  world.group([&](size_t i, Rank& r) {
    NCCL_OK(ncclGather(own[i]->get(), out[i]->get(), kCount, ncclInt64, 0, r.comm, r.stream()));
  });
  world.synchronize();
  world.each([&](size_t i, Rank& r) {
    EXPECT_EQ(own[i]->read(), std::vector<int64_t>(kCount, 10 + r.rank));
    if (r.rank != 0) return;
    EXPECT_EQ(out[i]->read(), blocks_of(1));
  });
}

// Every rank to every rank, itself among them; lengths differ by pair.
void all_pairs(World& world) {
  const auto length = [](int from, int to) {
    return kCount - 7 * static_cast<size_t>(4 * from + to);
  };
  const auto in = world.filled<int64_t>(blocks_of);
  const auto out = world.buffers<int64_t>(kRanks * kCount);
  world.group([&](size_t i, Rank& r) {
    for (int peer = 0; peer < kRanks; ++peer) {
      const size_t at = static_cast<size_t>(peer) * kCount;
      NCCL_OK(
          ncclSend(in[i]->get() + at, length(r.rank, peer), ncclInt64, peer, r.comm, r.stream()));
      NCCL_OK(
          ncclRecv(out[i]->get() + at, length(peer, r.rank), ncclInt64, peer, r.comm, r.stream()));
    }
  });
  world.synchronize();
  world.each([&](size_t i, Rank& r) {
    const std::vector<int64_t> got = out[i]->read();
    for (int peer = 0; peer < kRanks; ++peer) {
      const auto first = got.begin() + static_cast<ptrdiff_t>(kCount) * peer;
      const size_t n = length(peer, r.rank);
      EXPECT_EQ(std::vector<int64_t>(first, first + static_cast<ptrdiff_t>(n)),
                std::vector<int64_t>(n, 10 * peer + r.rank))
          << "from " << peer << " to " << r.rank;
    }
  });
}

void everything(World& world) {
  world.each([&](size_t, Rank& r) {
    int n = 0;
    int own = -1;
    int device = -1;
    NCCL_OK(ncclCommCount(r.comm, &n));
    NCCL_OK(ncclCommUserRank(r.comm, &own));
    NCCL_OK(ncclCommCuDevice(r.comm, &device));
    EXPECT_THAT((std::vector{n, own, device}),
                ::testing::ElementsAre(kRanks, r.rank, r.device->ordinal()));
  });
  const std::vector<ncclRedOp_t> whole = {ncclSum, ncclProd, ncclMax, ncclMin};
  const std::vector<ncclRedOp_t> all = {ncclSum, ncclProd, ncclMax, ncclMin, ncclAvg};
  reductions<float>(world, kCount, all);
  reductions<float>(world, 50 * kCount, {ncclSum});
  reductions<double>(world, kCount, {ncclSum, ncclAvg});
  reductions<Bfloat16>(world, kCount, all);
  reductions<int32_t>(world, kCount, whole);
  reductions<int64_t>(world, 1, whole);
  reductions<uint8_t>(world, kCount, whole);
  reductions_to_one_and_in_parts(world);
  movements(world);
  exchanges(world);
  all_pairs(world);
}

TEST(NcclDeviceProgram, OneThread_EveryCall_GivesRightResults) {
  on_one_thread(kRanks, everything);
}
TEST(NcclDeviceProgram, Threads_EveryCall_GivesRightResults) { on_gpu_threads(kRanks, everything); }
TEST(NcclDeviceProgram, Processes_EveryCall_GivesRightResults) {
  on_gpu_processes(kRanks, everything);
}

// --- Several communicators

// Rounds of sums, in `comms` by turns, each with a stream of its own; nobody waits in between.
void sums_by_turns(World& world, const std::vector<std::vector<ncclComm_t>>& comms) {
  constexpr int kRounds = 5;
  std::vector<Buffers<int32_t>> sums;
  std::vector<std::vector<abi::Stream>> streams(comms.size());
  for (size_t c = 0; c < comms.size(); ++c) {
    sums.push_back(world.filled<int32_t>([](int rank) { return input<int32_t>(rank, kCount); }));
    world.each([&](size_t, Rank& r) { streams[c].push_back(r.device->new_stream()); });
  }
  for (int round = 0; round < kRounds; ++round) {
    for (size_t c = 0; c < comms.size(); ++c) {
      world.group([&](size_t i, Rank&) {
        NCCL_OK(ncclAllReduce(sums[c][i]->get(), sums[c][i]->get(), kCount, ncclInt32, ncclSum,
                              comms[c][i], as_nccl(streams[c][i])));
      });
    }
  }
  const auto expected = values<int32_t>(kCount, [](size_t i) {
    return folded(ncclSum, i) * 256;  // and four times more in each round but the first
  });
  for (size_t c = 0; c < comms.size(); ++c) {
    world.each([&](size_t i, Rank&) {
      CU_OK(cuStreamSynchronize(streams[c][i]));
      EXPECT_EQ(sums[c][i]->read(), expected) << "communicator " << c;
    });
  }
}

TEST(NcclDeviceProgram, TwoCommunicators_OnTwoStreams_DoNotDisturbEachOther) {
  on_one_thread(kRanks, [](World& world) {
    std::vector<std::vector<ncclComm_t>> comms(2);
    comms[1].resize(kRanks);
    const std::vector<int> devices = {0, 1, 2, 3};
    NCCL_MUST(ncclCommInitAll(comms[1].data(), kRanks, devices.data()));
    world.each([&](size_t, Rank& r) { comms[0].push_back(r.comm); });
    sums_by_turns(world, comms);
    for (const ncclComm_t comm : comms[1]) NCCL_OK(ncclCommDestroy(comm));
  });
}

TEST(NcclDeviceProgram, Split_KeepsTheGpusAndWorksBesideItsParent) {
  on_one_thread(kRanks, [](World& world) {
    std::vector<ncclComm_t> halves(kRanks);
    world.group([&](size_t i, Rank& r) {
      NCCL_OK(ncclCommSplit(r.comm, r.rank % 2, r.rank, &halves[i], nullptr));
    });
    const auto sums = world.filled<int32_t>([](int rank) { return std::vector<int32_t>{rank}; });
    world.each([&](size_t i, Rank& r) {
      int device = -1;
      NCCL_OK(ncclCommCuDevice(halves[i], &device));
      EXPECT_EQ(device, r.device->ordinal());
    });
    world.group([&](size_t i, Rank& r) {
      NCCL_OK(ncclAllReduce(sums[i]->get(), sums[i]->get(), 1, ncclInt32, ncclSum, halves[i],
                            r.stream()));
    });
    world.group([&](size_t i, Rank& r) {
      NCCL_OK(
          ncclAllReduce(sums[i]->get(), sums[i]->get(), 1, ncclInt32, ncclMax, r.comm, r.stream()));
    });
    world.synchronize();
    world.each([&](size_t i, Rank&) { EXPECT_EQ(sums[i]->read().front(), 1 + 3); });
    for (const ncclComm_t half : halves) NCCL_OK(ncclCommDestroy(half));
  });
}

TEST(NcclDeviceProgram, Shrink_GoesOnWithTheOtherGpus) {
  on_gpu_threads(kRanks, [](World& world) {
    Rank& r = world.ranks.front();
    if (r.rank == 1) return;
    int excluded = 1;
    Comm rest;
    NCCL_MUST(ncclCommShrink(r.comm, &excluded, 1, rest.put(), nullptr, NCCL_SHRINK_DEFAULT));
    int device = -1;
    NCCL_OK(ncclCommCuDevice(rest, &device));
    EXPECT_EQ(device, r.device->ordinal());
    const Buffer<int32_t> sum(std::vector<int32_t>{r.rank});
    NCCL_OK(ncclAllReduce(sum.get(), sum.get(), 1, ncclInt32, ncclSum, rest, r.stream()));
    world.synchronize();
    EXPECT_EQ(sum.read().front(), 0 + 2 + 3);
  });
}

}  // namespace
}  // namespace tutti::nccl_test
