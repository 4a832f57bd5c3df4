// SPDX-License-Identifier: Apache-2.0
// Kernels on symmetric memory: one-shot and two-shot AllReduce, ReduceScatter, AllGather,
// Broadcast, AllToAll(v), NVLS and signals on simulated devices, against the host's kernels bit for
// bit.
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "src/kernels/cuda/symmetric_args.h"
#include "src/kernels/reduce_copy.h"
#include "tests/cuda/gpu_memory.h"
#include "tests/cuda/symmetric_team.h"

namespace tutti::test {
namespace {

constexpr unsigned kBlocks = 2;
constexpr unsigned kThreads = 64;
using Bytes = std::vector<std::byte>;

// A buffer on each device, filled with any bits or with zeros.
struct Windows {
  std::vector<std::byte*> device;
  std::vector<Bytes> host;

  Windows(const Gpus& gpus, size_t bytes, std::mt19937_64* random) {
    for (int r = 0; r < gpus.count(); ++r) {
      host.push_back(random != nullptr ? any_bytes(*random, bytes) : Bytes(bytes));
      device.push_back(gpus.upload(r, host.back()));
    }
  }
};

Bytes reduced(const Windows& inputs, DType dtype, Op op, const kernels::Scaling& scaling) {
  std::vector<kernels::Source> sources;
  for (const Bytes& input : inputs.host) sources.push_back({input.data(), true});
  Bytes out(inputs.host[0].size());
  const kernels::Sink sink{out.data()};
  kernels::reduce_copy_for(dtype, op)({.sources = sources.data(),
                                       .n_sources = sources.size(),
                                       .sinks = &sink,
                                       .n_sinks = 1,
                                       .count = out.size() / size_of(dtype),
                                       .post = true,
                                       .scaling = &scaling});
  return out;
}
void want_output(const Windows& outputs, int rank, const Bytes& wanted, const char* what) {
  if (Gpus::read(outputs.device[rank], wanted.size()) == wanted) return;
  std::fprintf(stderr, "%s, rank %d\n", what, rank);
  WANT(!"the bits of the host's kernels");
}

// [begin, end) of slice `rank` of `n`, in whole elements.
std::pair<size_t, size_t> slice(size_t count, int rank, int n) {
  return {count * rank / n, count * (rank + 1) / n};
}

gpu::ReduceCopyArgs reduce_args(const SymmetricTeams& team, int rank, const Windows& inputs,
                                DType dtype, Op op, const kernels::Scaling& scaling) {
  gpu::ReduceCopyArgs args{};
  args.team = team.of(rank);
  args.reduction = gpu::make_reduction(dtype, op, &scaling);
  args.move.n_sources = static_cast<uint32_t>(inputs.device.size());
  args.move.pre_mask = (uint64_t{1} << inputs.device.size()) - 1;
  args.move.post = true;
  std::copy(inputs.device.begin(), inputs.device.end(), args.move.sources);
  return args;
}

void all_reduce(const Gpus& gpus, DType dtype, Op op, size_t count, uint64_t seed) {
  const int n = gpus.count();
  std::mt19937_64 random(seed);
  const SymmetricTeams team(gpus, kBlocks);
  const size_t elem = size_of(dtype);
  const kernels::Scaling scaling = any_scaling(random, dtype, n);
  for (int round = 0; round < 2; ++round) {  // the barrier goes on from launch to launch
    const Windows inputs(gpus, count * elem, &random);
    const Windows one(gpus, count * elem, nullptr);
    const Windows two(gpus, count * elem, nullptr);
    for (int r = 0; r < n; ++r) {
      gpu::ReduceCopyArgs args = reduce_args(team, r, inputs, dtype, op, scaling);
      args.move.n_sinks = 1;
      args.move.sinks[0] = one.device[r];
      args.move.bytes = count * elem;
      gpus.launch(r, "tutti_reduce_copy_" + id_of(dtype), kBlocks, kThreads, args);
      const auto [begin, end] = slice(count, r, n);
      for (int i = 0; i < n; ++i) {
        args.move.sources[i] += begin * elem;
        args.move.sinks[i] = two.device[i] + begin * elem;
      }
      args.move.n_sinks = static_cast<uint32_t>(n);
      args.move.bytes = (end - begin) * elem;
      gpus.launch(r, "tutti_reduce_copy_" + id_of(dtype), kBlocks, kThreads, args);
    }
    gpus.synchronize();
    const Bytes wanted = reduced(inputs, dtype, op, scaling);
    for (int r = 0; r < n; ++r) {
      want_output(one, r, wanted, "one-shot");
      want_output(two, r, wanted, "two-shot");
    }
  }
}

// Outputs hold n blocks of `bytes`; block r is the input of rank r.
void all_gather_and_broadcast(int n, size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  const Gpus gpus(n);
  const SymmetricTeams team(gpus, kBlocks);
  const Windows inputs(gpus, bytes, &random);
  const Windows gathered(gpus, bytes * n, nullptr);
  const Windows pushed(gpus, bytes, nullptr);
  const Windows scattered(gpus, bytes, nullptr);
  const int root = n - 1;
  for (int r = 0; r < n; ++r) {
    gpu::SymmetricCopyArgs args{};
    args.team = team.of(r);
    args.source = inputs.device[r];
    args.bytes = bytes;
    args.n_sinks = static_cast<uint32_t>(n);
    for (int i = 0; i < n; ++i) args.sinks[i] = gathered.device[i] + r * bytes;
    gpus.launch(r, "tutti_symmetric_copy", kBlocks, kThreads, args);
    for (int i = 0; i < n; ++i) args.sinks[i] = pushed.device[i];
    args.n_sinks = r == root ? static_cast<uint32_t>(n) : 0;
    gpus.launch(r, "tutti_symmetric_copy", kBlocks, kThreads, args);
    // The root's slice i to rank i, which hands it on.
    const auto [begin, end] = slice(bytes, r, n);
    args.n_pieces = r == root ? static_cast<uint32_t>(n) : 0;
    for (int i = 0; i < n; ++i) {
      const auto [from, to] = slice(bytes, i, n);
      args.pieces[i] = {inputs.device[r] + from, scattered.device[i] + from, to - from};
      args.sinks[i] = scattered.device[(r + 1 + i) % n] + begin;  // the others, then itself
    }
    args.barrier_between = 1;
    args.source = scattered.device[r] + begin;
    args.bytes = end - begin;
    args.n_sinks = static_cast<uint32_t>(n) - 1;
    gpus.launch(r, "tutti_symmetric_copy", kBlocks, kThreads, args);
  }
  gpus.synchronize();
  Bytes all;
  for (const Bytes& input : inputs.host) all.insert(all.end(), input.begin(), input.end());
  for (int r = 0; r < n; ++r) {
    want_output(gathered, r, all, "all-gather");
    want_output(pushed, r, inputs.host[root], "broadcast");
    want_output(scattered, r, inputs.host[root], "broadcast in two steps");
  }
}

// Rank s sends counts[s][d] elements of 4 bytes to rank d; blocks lie one after the other.
void all_to_all_v(int n, uint64_t seed) {
  std::mt19937_64 random(seed);
  const Gpus gpus(n);
  const SymmetricTeams team(gpus, kBlocks);
  using Row = std::vector<uint64_t>;
  std::vector<Row> counts(n, Row(n)), send_at(n, Row(n)), receive_at(n, Row(n));
  for (Row& row : counts) {
    for (uint64_t& c : row) c = random() % 3 == 0 ? 0 : random() % 700;
  }
  for (int a = 0; a < n; ++a) {
    for (int b = 1; b < n; ++b) {
      send_at[a][b] = send_at[a][b - 1] + counts[a][b - 1];
      receive_at[a][b] = receive_at[a][b - 1] + counts[b - 1][a];
    }
  }
  const size_t most = 4 * 700 * static_cast<size_t>(n);
  const Windows inputs(gpus, most, &random);
  const Windows outputs(gpus, most, nullptr);
  std::vector<const uint64_t*> places;
  for (int r = 0; r < n; ++r) places.push_back(gpus.upload(r, receive_at[r]));
  for (int r = 0; r < n; ++r) {
    gpu::AllToAllVArgs args{};
    args.team = team.of(r);
    args.input = inputs.device[r];
    std::copy(outputs.device.begin(), outputs.device.end(), args.outputs);
    std::copy(places.begin(), places.end(), args.receive_offsets);
    args.send_counts = gpus.upload(r, counts[r]);
    args.send_offsets = gpus.upload(r, send_at[r]);
    args.elem_bytes = 4;
    gpus.launch(r, "tutti_symmetric_all_to_all_v", kBlocks, kThreads, args);
  }
  gpus.synchronize();
  for (int d = 0; d < n; ++d) {
    Bytes wanted(most);
    for (int s = 0; s < n; ++s) {
      std::copy_n(inputs.host[s].begin() + static_cast<int64_t>(4 * send_at[s][d]),
                  4 * counts[s][d], wanted.begin() + static_cast<int64_t>(4 * receive_at[d][s]));
    }
    want_output(outputs, d, wanted, "all-to-all-v");
  }
}

void expect_well(bool weak, uint64_t seed, const std::function<void()>& body) {
  const auto outcome = cudasim::test::run(
      {{"CUDASIM_WEAK", weak ? "1" : "0"}, {"CUDASIM_SEED", std::to_string(seed)}}, body);
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}

class EachMode : public ::testing::TestWithParam<bool> {};

TEST_P(EachMode, AllReduce_OneAndTwoShot_HaveTheHostsBits) {
  const std::array<std::pair<DType, Op>, 6> kinds = {{{DType::kFloat32, Op::kSum},
                                                      {DType::kFloat16, Op::kAvg},
                                                      {DType::kBfloat16, Op::kMax},
                                                      {DType::kFloat8e4m3, Op::kSum},
                                                      {DType::kInt8, Op::kProd},
                                                      {DType::kFloat64, Op::kPreMulSum}}};
  for (size_t i = 0; i < kinds.size(); ++i) {
    const int n = 2 + static_cast<int>(i % 3);
    expect_well(GetParam(), i, [&] {
      const Gpus gpus(n);
      all_reduce(gpus, kinds[i].first, kinds[i].second, 3001, i);
      all_reduce(gpus, kinds[i].first, kinds[i].second, 1, i);
    });
  }
}

TEST_P(EachMode, AllGatherAndBroadcast_CarryTheBytes) {
  expect_well(GetParam(), 1, [] { all_gather_and_broadcast(3, 5003, 1); });
  expect_well(GetParam(), 2, [] { all_gather_and_broadcast(4, 4096, 2); });
}

TEST_P(EachMode, AllToAllV_SizesOnTheDevice_CarryTheBytes) {
  for (uint64_t seed = 1; seed <= 3; ++seed)
    expect_well(GetParam(), seed, [seed] { all_to_all_v(4, seed); });
}

// One device waits for what the other signals, over and over; then for a signal that never comes.
TEST_P(EachMode, Signals_OrderWhatCameBefore_AndAbortEndsAWait) {
  expect_well(GetParam(), 3, [] {
    const Gpus gpus(2);
    auto* const word = gpus.alloc_of<uint64_t>(1, 1);
    auto* const data = gpus.alloc(1, 4096);
    auto* const seen = gpus.alloc(1, 4096);
    std::mt19937_64 random(4);
    const Bytes sent = any_bytes(random, 4096);
    gpu::ReduceCopyArgs copy{};
    copy.move.n_sources = copy.move.n_sinks = 1;
    copy.move.bytes = sent.size();
    copy.move.sources[0] = gpus.upload(0, sent);
    copy.move.sinks[0] = data;
    gpu::SignalArgs args{};
    args.n = 1;
    args.signals[0] = {word, 1, 0, 0};
    args.watch = gpus.watch(1, 1);
    gpus.launch(1, "tutti_wait", 1, 32, args);
    gpus.launch(0, "tutti_reduce_copy_kUint8", kBlocks, kThreads, copy);
    gpus.launch(0, "tutti_signal", 1, 32, args);
    copy.move.sources[0] = data;
    copy.move.sinks[0] = seen;
    gpus.launch(1, "tutti_reduce_copy_kUint8", kBlocks, kThreads, copy);
    gpus.synchronize();
    WANT(Gpus::read(seen, sent.size()) == sent);
    args.signals[0].value = 2;
    gpus.launch(1, "tutti_wait", 1, 32, args);
    const uint32_t one = 1;
    Gpus::write(const_cast<uint32_t*>(args.watch.abort), &one, sizeof(one));
    gpus.synchronize();
    WANT(Gpus::read(args.watch.failure, 8)[7] == static_cast<std::byte>(gpu::Failure::kAborted));
  });
}

// What the host is told: launches that have begun and ended, and of a call that differs.
TEST_P(EachMode, Launches_AreCounted_AndCallsThatDifferFail) {
  expect_well(GetParam(), 5, [] {
    const Gpus gpus(3);
    const SymmetricTeams team(gpus, kBlocks);
    const Windows outputs(gpus, 64, nullptr);
    for (const uint32_t last : {7U, 8U, 7U}) {  // the signature of rank 2; then all end at once
      for (int r = 0; r < gpus.count(); ++r) {
        gpu::SymmetricCopyArgs args{};
        args.team = team.of(r, r == 2 ? last : 7);
        args.team.watch.number = last;
        gpus.launch(r, "tutti_symmetric_copy", kBlocks, kThreads, args);
      }
      gpus.synchronize();
      for (int r = 0; r < gpus.count(); ++r) {
        const gpu::Watch watch = team.of(r).watch;
        gpu::LaunchRecord record{};
        uint64_t failure = 0;
        memcpy(&record, Gpus::read(watch.record, sizeof(record)).data(), sizeof(record));
        memcpy(&failure, Gpus::read(watch.failure, sizeof(failure)).data(), sizeof(failure));
        WANT(record.begun == record.ended && record.last_number == last);
        const bool failed = record.begun > 1;
        const auto what = failed ? gpu::Failure::kMismatch : gpu::Failure::kNone;
        WANT(failure >> 56 == static_cast<uint64_t>(what));
        if (failed && r != 2) WANT(failure == gpu::make_failure(what, 2, 8));
        if (failed && r == 2) WANT(static_cast<uint32_t>(failure) == 7);
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(CudaSymmetric, EachMode, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "Weak" : "Strict"; });

}  // namespace
}  // namespace tutti::test
