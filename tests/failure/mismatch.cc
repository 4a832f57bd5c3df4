// SPDX-License-Identifier: Apache-2.0
// Ranks that disagree on a call must all be told, with the rank and the field named; ranks that
// agree must never be.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "perf/cli/cli.h"
#include "tutti/tutti.h"

namespace {

constexpr size_t kMaxCount = 3000;
constexpr size_t kMaxMore = 50;  // what spoil() may add
constexpr int kMaxRanks = 8;
constexpr size_t kHalf = kMaxRanks * (kMaxCount + kMaxMore) * 8 + 64;  // bytes of one buffer

enum class Kind : int {
  kAllReduce,
  kReduce,
  kBroadcast,
  kAllGather,
  kReduceScatter,
  kGather,
  kScatter,
  kBarrier
};
constexpr int kKinds = 8;
constexpr const char* kNames[kKinds] = {"AllReduce",     "Reduce", "Broadcast", "AllGather",
                                        "ReduceScatter", "Gather", "Scatter",   "Barrier"};

struct Call {
  Kind kind = Kind::kAllReduce;
  size_t count = 1;
  tuttiDataType_t dtype = tuttiInt32;
  tuttiRedOp_t op = tuttiSum;
  int root = 0;
  bool skipped = false;
};

bool reduces(Kind k) {
  return k == Kind::kAllReduce || k == Kind::kReduce || k == Kind::kReduceScatter;
}
bool has_root(Kind k) {
  return k == Kind::kReduce || k == Kind::kBroadcast || k == Kind::kGather || k == Kind::kScatter;
}

// A rank's buffers: what may differ between ranks without harm (place, alignment, registration) is
// drawn anew for each call.
struct Buffers {
  Buffers() : heap(2 * kHalf) {
    if (tuttiMemAlloc(&shared, heap.size()) != tuttiSuccess) std::abort();
  }
  ~Buffers() { (void)tuttiMemFree(shared); }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  std::vector<char> heap;
  void* shared = nullptr;
};

tuttiResult_t issue(const Call& c, int rank, Buffers& buffers, std::mt19937_64& own,
                    tuttiComm_t comm) {
  if (c.skipped) return tuttiSuccess;
  char* base = (own() & 1) != 0 ? buffers.heap.data() : static_cast<char*>(buffers.shared);
  char* send = base + (own() % 2) * 8;
  char* recv = base + kHalf + (own() % 2) * 8;
  const bool in_place = (own() & 1) != 0;
  switch (c.kind) {
    case Kind::kAllReduce:
      return tuttiAllReduce(send, in_place ? send : recv, c.count, c.dtype, c.op, comm, nullptr);
    case Kind::kReduce:
      return tuttiReduce(send, in_place ? send : recv, c.count, c.dtype, c.op, c.root, comm,
                         nullptr);
    case Kind::kBroadcast:
      return tuttiBroadcast(send, in_place ? send : recv, c.count, c.dtype, c.root, comm, nullptr);
    case Kind::kAllGather:
      return tuttiAllGather(send, recv, c.count, c.dtype, comm, nullptr);
    case Kind::kReduceScatter:
      return tuttiReduceScatter(send, recv, c.count, c.dtype, c.op, comm, nullptr);
    case Kind::kGather:
      return tuttiGather(send, rank == c.root ? recv : nullptr, c.count, c.dtype, c.root, comm,
                         nullptr);
    case Kind::kScatter:
      return tuttiScatter(rank == c.root ? send : nullptr, recv, c.count, c.dtype, c.root, comm,
                          nullptr);
    case Kind::kBarrier:
      return tuttiBarrier(comm, nullptr);
  }
  return tuttiInternalError;
}

Call draw(std::mt19937_64& random, int n) {
  Call c;
  c.kind = static_cast<Kind>(random() % kKinds);
  const size_t sizes[] = {0, 1, 7, 16, 100, random() % kMaxCount};
  c.count = sizes[random() % 6];
  c.dtype = static_cast<tuttiDataType_t>(random() % 12);
  c.op = static_cast<tuttiRedOp_t>(random() % 5);
  c.root = static_cast<int>(random() % static_cast<uint64_t>(n));
  return c;
}

// Changes one field so that the call can't go together with the original; returns its name.
std::string spoil(std::mt19937_64& random, int n, Call& c) {
  for (;;) {
    switch (random() % 6) {
      case 0:
        if (c.kind == Kind::kBarrier) break;
        c.count += 1 + random() % kMaxMore;
        return "count";
      case 1: {
        if (c.kind == Kind::kBarrier) break;
        const auto other = static_cast<tuttiDataType_t>(random() % 12);
        if (other == c.dtype) break;
        c.dtype = other;
        return "dtype";
      }
      case 2: {
        const auto other = static_cast<tuttiRedOp_t>(random() % 5);
        if (!reduces(c.kind) || other == c.op) break;
        c.op = other;
        return "op";
      }
      case 3: {
        const int other = static_cast<int>(random() % static_cast<uint64_t>(n));
        if (!has_root(c.kind) || other == c.root) break;
        c.root = other;
        return "root";
      }
      case 4: {
        const auto other = static_cast<Kind>(random() % kKinds);
        if (other == c.kind) break;
        c.kind = other;
        return "collective";
      }
      default:
        c.skipped = true;
        return "order";
    }
  }
}

struct Outcome {
  tuttiResult_t result = tuttiSuccess;
  std::string text;
  std::string where;
};

// Init over threads; the transport alternates so that both kinds of memory are met.
void each_rank(int n, const char* transport, const std::function<void(int, tuttiComm_t)>& body) {
  tuttiUniqueId id;
  if (tuttiGetUniqueId(&id) != tuttiSuccess) std::abort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] {
      tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
      config.timeoutSeconds = 20;
      config.transport = transport;
      tuttiComm_t comm = nullptr;
      if (tuttiCommInitRankConfig(&comm, n, id, rank, &config) != tuttiSuccess) {
        std::printf("FAILED init: %s\n", tuttiGetLastError(nullptr));
        std::exit(1);
      }
      body(rank, comm);
      (void)tuttiCommDestroy(comm);
    });
  }
  for (std::thread& t : threads) t.join();
}

Outcome failing_call(tuttiResult_t result, const char* where) {
  return {result, result == tuttiSuccess ? "" : tuttiGetLastError(nullptr), where};
}

// The calls before, the spoilt one, one after, Finalize: returns the first failure.
Outcome run_spoilt(const std::vector<Call>& before, const Call& mine, const Call& next, int rank,
                   Buffers& buffers, std::mt19937_64& own, tuttiComm_t comm) {
  for (const Call& c : before) {
    const Outcome o = failing_call(issue(c, rank, buffers, own, comm), "a call before");
    if (o.result != tuttiSuccess) return o;
  }
  Outcome o = failing_call(issue(mine, rank, buffers, own, comm), "the call");
  if (o.result == tuttiSuccess)
    o = failing_call(issue(next, rank, buffers, own, comm), "the next call");
  if (o.result == tuttiSuccess) o = failing_call(tuttiCommFinalize(comm), "Finalize");
  return o;
}

std::string describe(const Call& c) {
  return std::string(kNames[static_cast<int>(c.kind)]) + " count " + std::to_string(c.count) +
         " dtype " + std::to_string(c.dtype) + " op " + std::to_string(c.op) + " root " +
         std::to_string(c.root) + (c.skipped ? " skipped" : "");
}

// False when a rank was not told, or not by name.
bool spoilt_trial(uint64_t seed) {
  std::mt19937_64 random(seed);
  const int n = 2 + static_cast<int>(random() % 7);
  const int victim = static_cast<int>(random() % static_cast<uint64_t>(n));
  std::vector<Call> before(random() % 4);
  for (Call& c : before) c = draw(random, n);
  const Call call = draw(random, n);
  Call spoilt = call;
  const std::string field = spoil(random, n, spoilt);
  const Call next{.kind = Kind::kAllReduce, .count = 1 + random() % 20};
  const char* transport = (random() & 1) != 0 ? "inproc" : "shm";
  std::array<Outcome, kMaxRanks> outcomes;
  each_rank(n, transport, [&](int rank, tuttiComm_t comm) {
    Buffers buffers;
    std::mt19937_64 own(seed * 100 + static_cast<uint64_t>(rank));
    outcomes[static_cast<size_t>(rank)] =
        run_spoilt(before, rank == victim ? spoilt : call, next, rank, buffers, own, comm);
  });
  bool good = true;
  const std::string name = "rank " + std::to_string(victim);
  for (int rank = 0; rank < n; ++rank) {
    const Outcome& o = outcomes[static_cast<size_t>(rank)];
    // Of two ranks either may be the odd one; and a collective that only one has left is told by
    // who is stuck.
    const bool named =
        n == 2 ? o.text.find("rank ") != std::string::npos : o.text.find(name) != std::string::npos;
    if (o.result == tuttiInvalidUsage && named && o.where != "a call before") continue;
    good = false;
    std::printf(
        "FAILED seed %llu (%d ranks, %s, rank %d has another %s: %s instead of %s): rank %d: %d at "
        "%s: %s\n",
        static_cast<unsigned long long>(seed), n, transport, victim, field.c_str(),
        describe(spoilt).c_str(), describe(call).c_str(), rank, o.result, o.where.c_str(),
        o.text.c_str());
  }
  return good;
}

// Returns the number of calls that were flagged although all ranks agree.
size_t matching_trial(uint64_t seed, size_t n_calls) {
  std::mt19937_64 random(seed);
  const int n = 2 + static_cast<int>(random() % 7);
  std::vector<Call> calls(n_calls);
  for (Call& c : calls) c = draw(random, n);
  std::atomic<size_t> flagged{0};
  each_rank(n, (seed & 1) != 0 ? "inproc" : "shm", [&](int rank, tuttiComm_t comm) {
    Buffers buffers;
    std::mt19937_64 own(seed * 100 + static_cast<uint64_t>(rank));
    for (const Call& c : calls) {
      if (issue(c, rank, buffers, own, comm) == tuttiSuccess) continue;
      std::printf("FAILED seed %llu, matching %s: rank %d: %s\n",
                  static_cast<unsigned long long>(seed), describe(c).c_str(), rank,
                  tuttiGetLastError(nullptr));
      ++flagged;
      return;
    }
    if (tuttiCommFinalize(comm) != tuttiSuccess) ++flagged;
  });
  return flagged;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = 1;
  size_t trials = 300, matching = 10'000;
  bool only = false;
  tutti::cli::CommandLine line(
      "Mismatched calls are named on every rank; matching ones are never flagged.");
  line.add_option("--seed", seed, "first seed");
  line.add_option("--trials", trials, "mismatches to try");
  line.add_option("--matching", matching, "random calls that agree");
  line.add_flag("--only", only, "just the one mismatch of --seed");
  if (const auto status = line.parse(argc, argv)) return *status;
  if (only) trials = 1, matching = 0;
  const auto start = std::chrono::steady_clock::now();
  size_t undetected = 0, flagged = 0;
  for (size_t i = 0; i < trials; ++i) undetected += spoilt_trial(seed + i) ? 0 : 1;
  constexpr size_t kCallsPerTrial = 500;
  for (size_t i = 0; i * kCallsPerTrial < matching; ++i)
    flagged += matching_trial(seed + i, kCallsPerTrial);
  std::printf(
      "mismatch: %zu mismatches, %zu not named on every rank; %zu matching calls, %zu flagged; "
      "%.1f s\n",
      trials, undetected, matching, flagged,
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return undetected == 0 && flagged == 0 ? 0 : 1;
}
