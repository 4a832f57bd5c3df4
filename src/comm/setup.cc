// SPDX-License-Identifier: Apache-2.0
// Rendezvous and split: both end in Communicator::create with another way to exchange bytes.
#include "src/comm/setup.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/process_memory.h"
#include "src/bootstrap/auth.h"
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

// A communicator's own secret, out of one that its ranks share.
std::array<std::byte, 32> derive_secret(const std::array<std::byte, 32>& from, uint64_t comm_id) {
  std::string text(reinterpret_cast<const char*>(from.data()), from.size());
  text.append(reinterpret_cast<const char*>(&comm_id), sizeof comm_id);
  return bootstrap::derive_key("tutti transport secret", text);
}

struct Ticket {
  int color = kNoColor;
  int key = 0;
  bool has_gpu = false;
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

// A number of exchanges, of which some may be of others.
class Rounds {
 public:
  Rounds(Exchange exchange, int n) : exchange_(std::move(exchange)), left_(n) {}
  Blobs next(std::span<const std::byte> mine) {
    --left_;
    return exchange_(mine);
  }
  void finish() {
    while (left_ > 0) next({});
  }

 private:
  const Exchange exchange_;
  int left_;
};

// What the start took, for whoever asks by TUTTI_LOG.
void report_start(const Communicator& comm, int64_t start_ns, int64_t met_ns) {
  if (!log_enabled(LogLevel::kInfo, "bootstrap")) return;
  const auto seconds = [](int64_t ns) { return static_cast<double>(ns) / kNsPerSecond; };
  log(LogLevel::kInfo, "bootstrap", comm.rank(),
      "started{}: {} ranks met in {:.3f} s, the communicator was made in {:.3f} s more; this "
      "process "
      "holds {} KiB of private memory",
      comm.place(), comm.n_ranks(), seconds(met_ns - start_ns), seconds(now_ns() - met_ns),
      private_bytes().value_or(0) / 1024);
}

}  // namespace

std::shared_ptr<Communicator> join(const bootstrap::UniqueId& id, const Seat& seat,
                                   const Options& options, const std::atomic<bool>* aborted,
                                   uint64_t owner) {
  const int64_t limit_ns = options.config.local.init_timeout_ns;
  const Deadline deadline = limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
  const int64_t start_ns = now_ns();
  const auto meeting = bootstrap::Bootstrap::join(id, seat.n_ranks, seat.rank, deadline, aborted);
  const int64_t met_ns = now_ns();
  const Exchange exchange = [&](std::span<const std::byte> mine) {
    return meeting->all_gather(mine, deadline, aborted);
  };
  auto made = Communicator::create({meeting->comm_id(), seat.rank, seat.n_ranks,
                                    derive_secret(bootstrap::unpack(id).key, meeting->comm_id())},
                                   options, exchange, owner);
  report_start(*made, start_ns, met_ns);
  return made;
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
  const Ticket mine{color, key, options.config.local.device >= 0};
  std::vector<Ticket> tickets(static_cast<size_t>(parent.n_ranks()));
  run_now(parent,
          all_gather_call("CommSplit", &mine, tickets.data(), sizeof(Ticket), DType::kUint8));
  // Communicators of GPUs may exchange more often than others, and all ranks of the parent take
  // part in each.
  Rounds rounds(exchange_over(parent, "CommSplit"),
                std::ranges::any_of(tickets, &Ticket::has_gpu) ? Communicator::kMostExchanges : 2);
  Hasher hash;
  hash.value(parent.comm_id());
  hash.value(parent.next_split());
  hash.value(color);
  if (color == kNoColor) {
    rounds.finish();
    return nullptr;
  }
  const std::vector<int> members = members_of(color, tickets);
  const auto at = std::find(members.begin(), members.end(), parent.rank());
  const uint64_t comm_id = hash.finish();
  const Seat seat{comm_id, static_cast<int>(at - members.begin()), static_cast<int>(members.size()),
                  derive_secret(parent.secret(), comm_id)};
  const Exchange among_members = [&](std::span<const std::byte> bytes) {
    Blobs all = rounds.next(bytes);
    Blobs ours;
    ours.reserve(members.size());
    for (const int member : members) ours.push_back(std::move(all[static_cast<size_t>(member)]));
    return ours;
  };
  std::shared_ptr<Communicator> made;
  const Error error =
      error_of([&] { made = Communicator::create(seat, options, among_members, owner); });
  rounds.finish();
  if (error.code() != StatusCode::kOk) throw error;
  return made;
}

}  // namespace tutti::comm
