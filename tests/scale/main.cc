// SPDX-License-Identifier: Apache-2.0
// How the bootstrap starts a job of very many ranks: the library's own code over a simulated
// network, what it sends counted, its tree measured, both held against bounds.
//
//   bootstrap_scale RANKS [GATHER_BYTES]     with GATHER_BYTES an all-gather of so many per rank
//
// All ranks start within a second of virtual time, look their unique id up in rank 0's directory,
// as under a launcher with a key-value space, and join.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/directory.h"
#include "src/bootstrap/root.h"
#include "tests/scale/world.h"
#include "tests/sim/rng.h"

namespace tutti::scale {
namespace {

using bootstrap::Bootstrap;
using bootstrap::Directory;
using bootstrap::DirectoryPlace;
using bootstrap::Gate;
using bootstrap::Root;

constexpr int64_t kStartWithinNs = kNsPerSecond;
constexpr int64_t kPatienceNs = 600 * kNsPerSecond;
constexpr uint64_t kSeed = 1;

// Bounds. Connections of a rank: children, parent, and for a moment the root or the directory.
constexpr int kMostOfRank = bootstrap::kFanIn + 2;
constexpr int kMostOfService = 2 * Gate::kMaxOpen + static_cast<int>(Root::kDirect) + 1;
constexpr double kServiceBytesPerRank = 1024;
constexpr double kServiceMessagesPerRank = 10;
constexpr double kMessagesPerRank = 16;
constexpr double kKnocksPerRank = 30;
// Wake-ups of rank 0's process per rank are five (a look-up two, a registration three), and nothing
// else may hold up the next rank: that the root serves one after the other shows here.
constexpr double kWakeUpsPerRank = 6;

constexpr double kSlackSeconds = 0.5;

int failures = 0;

template <typename Value>
void bound(const char* what, Value value, Value limit) {
  fmt::print("  {:<58} {:>12} (at most {})\n", what, value, limit);
  if (value <= limit) return;
  fmt::print("  TOO MANY: {}\n", what);
  ++failures;
}

struct Job {
  int n_ranks = 0;
  std::unique_ptr<World> world;
  std::unique_ptr<Directory> directory;
  std::vector<std::unique_ptr<Bootstrap>> ranks;
  int failed = 0;

  void failed_rank(int rank, const Error& error) {
    if (failed++ < 3) fmt::print("rank {}: {}\n", rank, error.what());
  }
  // Runs body(rank) for all, each on its thread; true when all returned.
  template <typename Body>
  bool run(int64_t within_ns, Body body) {
    sim::Rng rng(kSeed);
    for (int rank = 0; rank < n_ranks; ++rank) {
      const int64_t at_ns = world->now() + rng.between(0, within_ns);
      world->spawn(rank, at_ns, [this, rank, body] {
        try {
          body(rank);
        } catch (const Error& error) {
          failed_rank(rank, error);
        }
      });
    }
    return world->run() && failed == 0;
  }
};

void start_directory(Job& job) {
  job.world->act_as(0);
  job.directory = std::make_unique<Directory>("");
  job.directory->id(0);  // its root listens
  job.world->service_complete();
}

void join(Job& job, int rank) {
  // As the launcher passes it; the real addresses of this machine mean nothing here.
  DirectoryPlace place = job.directory->place();
  const uint16_t port = place.addresses.front().port;
  place.addresses = {World::address_of(0)};
  place.addresses.front().port = port;
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  const auto id = look_up(place, 0, {.deadline = deadline});
  job.ranks[static_cast<size_t>(rank)] = Bootstrap::join(id, job.n_ranks, rank, deadline, nullptr);
}

struct Shape {
  int depth = 0;
  int fan_in = 0;
  int reached = 0;  // ranks in the tree
};

// Walks the connections that are left, from the one rank that visits nobody.
Shape measure(const Job& job) {
  const std::vector<std::vector<int>> children = job.world->visitors();
  std::vector<bool> has_parent(children.size(), false);
  for (const auto& below : children) {
    for (const int child : below) has_parent[static_cast<size_t>(child)] = true;
  }
  Shape shape;
  std::vector<int> level;
  for (size_t rank = 0; rank < children.size(); ++rank) {
    if (!has_parent[rank]) level.push_back(static_cast<int>(rank));
  }
  if (level.size() != 1) return shape;
  for (;; ++shape.depth) {
    std::vector<int> next;
    for (const int rank : level) {
      const auto& below = children[static_cast<size_t>(rank)];
      shape.fan_in = std::max(shape.fan_in, static_cast<int>(below.size()));
      next.insert(next.end(), below.begin(), below.end());
    }
    shape.reached += static_cast<int>(level.size());
    if (next.empty()) return shape;
    level = std::move(next);
  }
}

// Sums over all ranks, the service apart.
Traffic total(const Job& job) {
  Traffic all;
  for (int rank = 0; rank < job.n_ranks; ++rank) {
    const Traffic& one = job.world->traffic(rank);
    all.sent += one.sent;
    all.knocks += one.knocks;
    all.sent_bytes += one.sent_bytes;
    all.most_open = std::max(all.most_open, one.most_open);
  }
  return all;
}

void report_start(const Job& job) {
  const double n = job.n_ranks;
  const Shape shape = measure(job);
  const Traffic& service = job.world->service_traffic();
  const Traffic ranks = total(job);
  const int levels = static_cast<int>(std::ceil(std::log(n) / std::log(8.0)));
  fmt::print(
      "{} ranks joined after {:.3f} s of virtual time ({} us latency, {} us of processor "
      "per wake-up assumed)\n",
      job.n_ranks, static_cast<double>(job.world->now()) / kNsPerSecond,
      World::kLatencyNs / kNsPerUs, World::kCallbackNs / kNsPerUs);
  const double service_s = kWakeUpsPerRank * n * World::kCallbackNs / kNsPerSecond;
  bound("seconds until all had joined", static_cast<double>(job.world->now()) / kNsPerSecond,
        static_cast<double>(kStartWithinNs) / kNsPerSecond + service_s + kSlackSeconds);
  bound("depth of the tree", shape.depth, levels + 1);
  bound("fan-in of the tree", shape.fan_in, static_cast<int>(bootstrap::kFanIn));
  if (shape.reached != job.n_ranks) {
    fmt::print("  NOT A TREE: it reaches {} ranks\n", shape.reached);
    ++failures;
  }
  bound("connections of a rank at once", ranks.most_open, kMostOfRank);
  bound("connections of rank 0's directory and root at once", service.most_open, kMostOfService);
  bound("messages to and from them per rank",
        static_cast<double>(service.sent + service.received) / n, kServiceMessagesPerRank);
  bound("bytes to and from them per rank",
        static_cast<double>(service.sent_bytes + service.received_bytes) / n, kServiceBytesPerRank);
  bound("attempts to connect per rank", static_cast<double>(ranks.knocks) / n, kKnocksPerRank);
  bound("messages per rank, everything", static_cast<double>(ranks.sent + service.sent) / n,
        kMessagesPerRank);
}

bool gather(Job& job, size_t bytes) {
  std::vector<uint64_t> before;
  for (int rank = 0; rank < job.n_ranks; ++rank) before.push_back(job.world->traffic(rank).sent);
  const int64_t start_ns = job.world->now();
  const bool done = job.run(0, [&job, bytes](int rank) {
    const std::vector<std::byte> mine(bytes, static_cast<std::byte>(rank));
    const auto all =
        job.ranks[static_cast<size_t>(rank)]->all_gather(mine, Deadline::after_ns(kPatienceNs));
    for (size_t other = 0; other < all.size(); ++other) {
      if (all[other] != std::vector<std::byte>(bytes, static_cast<std::byte>(other)))
        throw Error(StatusCode::kInternalError, "another rank's bytes are wrong");
    }
  });
  if (!done) return false;
  uint64_t most = 0;
  for (int rank = 0; rank < job.n_ranks; ++rank) {
    const size_t index = static_cast<size_t>(rank);
    most = std::max(most, job.world->traffic(rank).sent - before[index]);
  }
  fmt::print("all-gather of {} bytes per rank after {:.3f} s\n", bytes,
             static_cast<double>(job.world->now() - start_ns) / kNsPerSecond);
  // A header and a payload to each child and to the parent.
  bound("messages that a rank sends", most, uint64_t{2} * (bootstrap::kFanIn + 1));
  return true;
}

int run(int n_ranks, size_t gather_bytes) {
  Job job{.n_ranks = n_ranks,
          .world = std::make_unique<World>(n_ranks),
          .directory = nullptr,
          .ranks = {}};
  job.ranks.resize(static_cast<size_t>(n_ranks));
  start_directory(job);
  bool good = job.run(kStartWithinNs, [&job](int rank) { join(job, rank); });
  if (good) report_start(job);
  if (good && gather_bytes > 0) good = gather(job, gather_bytes);
  if (!good) fmt::print("{} ranks failed, or nothing more could happen\n", job.failed);
  std::fflush(stdout);
  // The world ends with the process: taking so many ranks down says nothing.
  std::_Exit(good && failures == 0 ? 0 : 1);
}

}  // namespace
}  // namespace tutti::scale

int main(int argc, char** argv) {
  const int n_ranks = argc > 1 ? std::atoi(argv[1]) : 0;
  if (n_ranks < 2 || n_ranks > 1'000'000) {
    std::fprintf(stderr, "usage: bootstrap_scale RANKS [GATHER_BYTES]\n");
    return 2;
  }
  return tutti::scale::run(n_ranks, argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 0);
}
