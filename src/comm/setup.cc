// SPDX-License-Identifier: Apache-2.0
// Rendezvous and split: both end in Communicator::create with another way to exchange bytes.
#include "src/comm/setup.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "src/base/hash.h"
#include "src/comm/group.h"

namespace tutti::comm {
namespace {

using Blobs = std::vector<std::vector<std::byte>>;

template <typename T>
CollectiveCall all_gather_call(const char* purpose, const T* mine, T* all, size_t count,
                               DType dtype) {
  return {.name = purpose,
          .collective = plan::Collective::kAllGather,
          .input = mine,
          .output = all,
          .count = count,
          .dtype = dtype};
}

struct Ticket {
  int color = kNoColor;
  int key = 0;
};

// Old ranks of one color in the order of their new ranks.
std::vector<int> members_of(int color, const std::vector<Ticket>& tickets) {
  std::vector<int> members;
  for (size_t rank = 0; rank < tickets.size(); ++rank) {
    if (tickets[rank].color == color) members.push_back(static_cast<int>(rank));
  }
  std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
    return tickets[static_cast<size_t>(a)].key < tickets[static_cast<size_t>(b)].key;
  });
  return members;
}

}  // namespace

std::shared_ptr<Communicator> join(const bootstrap::UniqueId& id, const Seat& seat,
                                   const Options& options, const std::atomic<bool>* aborted,
                                   uint64_t owner) {
  const int64_t limit_ns = options.config.local.init_timeout_ns;
  const Deadline deadline = limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
  const auto meeting = bootstrap::Bootstrap::join(id, seat.n_ranks, seat.rank, deadline, aborted);
  const Exchange exchange = [&](std::span<const std::byte> mine) {
    return meeting->all_gather(mine, deadline, aborted);
  };
  return Communicator::create({meeting->comm_id(), seat.rank, seat.n_ranks}, options, exchange,
                              owner);
}

Exchange exchange_over(Communicator& comm, const char* purpose) {
  return [&comm, purpose](std::span<const std::byte> mine) {
    const auto n = static_cast<size_t>(comm.n_ranks());
    const uint64_t my_size = mine.size();
    std::vector<uint64_t> sizes(n);
    run_now(comm, all_gather_call(purpose, &my_size, sizes.data(), 1, DType::kUint64));
    const size_t longest = *std::max_element(sizes.begin(), sizes.end());
    std::vector<std::byte> padded(longest);
    std::copy(mine.begin(), mine.end(), padded.begin());
    std::vector<std::byte> all(longest * n);
    run_now(comm, all_gather_call(purpose, padded.data(), all.data(), longest, DType::kUint8));
    Blobs blobs(n);
    for (size_t i = 0; i < n; ++i) {
      const auto begin = all.begin() + static_cast<ptrdiff_t>(i * longest);
      blobs[i].assign(begin, begin + static_cast<ptrdiff_t>(sizes[i]));
    }
    return blobs;
  };
}

std::shared_ptr<Communicator> split(Communicator& parent, int color, int key,
                                    const Options& options, uint64_t owner) {
  const Ticket mine{color, key};
  std::vector<Ticket> tickets(static_cast<size_t>(parent.n_ranks()));
  run_now(parent,
          all_gather_call("CommSplit", &mine, tickets.data(), sizeof(Ticket), DType::kUint8));
  const Exchange over_parent = exchange_over(parent, "CommSplit");
  Hasher hash;
  hash.value(parent.comm_id());
  hash.value(parent.next_split());
  hash.value(color);
  if (color == kNoColor) {  // takes part in the two exchanges of Communicator::create
    over_parent({});
    over_parent({});
    return nullptr;
  }
  const std::vector<int> members = members_of(color, tickets);
  const auto at = std::find(members.begin(), members.end(), parent.rank());
  const Seat seat{hash.finish(), static_cast<int>(at - members.begin()),
                  static_cast<int>(members.size())};
  const Exchange among_members = [&](std::span<const std::byte> bytes) {
    Blobs all = over_parent(bytes);
    Blobs ours;
    ours.reserve(members.size());
    for (const int member : members) ours.push_back(std::move(all[static_cast<size_t>(member)]));
    return ours;
  };
  return Communicator::create(seat, options, among_members, owner);
}

}  // namespace tutti::comm
