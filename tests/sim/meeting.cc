// SPDX-License-Identifier: Apache-2.0
// Waits for all in virtual time.
#include "tests/sim/meeting.h"

#include <string>
#include <utility>

#include "src/base/error.h"

namespace tutti::sim {
namespace {

constexpr int64_t kTripNs = 100 * kNsPerUs;
constexpr int64_t kLookNs = 20 * kNsPerMs;  // how often somebody's death is looked for

}  // namespace

void Meeting::begin(World& world, std::vector<int> members, int64_t timeout_ns) {
  world_ = &world;
  members_ = std::move(members);
  timeout_ns_ = timeout_ns;
  for (Round& round : rounds_) {
    round.blobs.assign(members_.size(), {});
    round.came = 0;
  }
  round_of_.fill(0);
}

Meeting::Blobs Meeting::gather(int seat, std::span<const std::byte> mine) {
  const auto self = static_cast<size_t>(seat);
  Round& round = rounds_[round_of_[self]++];
  world_->sleep(world_->rng().between(0, kTripNs));
  if (!world_->crashed(members_[self])) {
    round.blobs[self].assign(mine.begin(), mine.end());
    round.came |= 1u << seat;
    arrivals_.fetch_add(1);
    world_->wake_word(arrivals_);
  }
  const uint32_t all = (1u << n_ranks()) - 1;
  const Deadline deadline = Deadline::after_ns(timeout_ns_);
  while (round.came != all) {
    for (int other = 0; other < n_ranks(); ++other) {
      if ((round.came >> other & 1) != 0) continue;
      const int rank = members_[static_cast<size_t>(other)];
      const bool gone = world_->crashed(rank) && world_->now() > world_->crashed_at(rank) + kLookNs;
      if (!gone && !deadline.expired() && !world_->burying()) continue;
      throw Error(StatusCode::kRemoteError,
                  "rank " + std::to_string(other) + " does not come to the rendezvous");
    }
    const uint32_t seen = arrivals_.load();
    if (round.came != all) world_->wait_word(arrivals_, seen, Deadline::after_ns(kLookNs));
  }
  world_->sleep(world_->rng().between(0, kTripNs));
  return round.blobs;
}

}  // namespace tutti::sim
