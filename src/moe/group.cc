// SPDX-License-Identifier: Apache-2.0
// Agreement of the ranks, and changes of who takes part.
#include "src/moe/group.h"

#include <algorithm>
#include <bit>
#include <string>

#include "src/comm/bytes.h"
#include "src/comm/group.h"
#include "src/comm/reshape.h"
#include "src/comm/setup.h"
#include "src/moe/wire.h"

namespace tutti::moe {
namespace {

// Channels of handles, apart from those of collectives and of point-to-point calls.
constexpr int kFirstChannel = 1 << 16;
constexpr uint64_t kMostGroups = 1 << 20;
constexpr uint32_t kFewSlots = 8;  // what ranks get that share cores or caches

int channel_of(uint64_t group, int slot) noexcept {
  return kFirstChannel + static_cast<int>(group % kMostGroups) * kMostHandles + slot;
}

// Hosts by rank of the group; `before` for ranks that do not take part.
std::vector<int> hosts_of(const comm::Communicator& comm, const std::vector<int>& comm_ranks,
                          const std::vector<int>& before) {
  const planner::Hosts& hosts = const_cast<comm::Communicator&>(comm).path().facts.hosts;
  std::vector<int> host_of = before;
  for (size_t rank = 0; rank < comm_ranks.size(); ++rank) {
    if (comm_ranks[rank] >= 0)
      host_of[rank] = hosts.several() ? hosts.host_of(comm_ranks[rank]) : 0;
  }
  return host_of;
}

struct Ticket {
  uint64_t digest = 0;
  uint64_t number = 0;
  int32_t place = 0;
  uint8_t on_gpu = 0;
};

std::vector<std::byte> encode(const Ticket& ticket) {
  comm::ByteWriter out;
  out.value(ticket.digest);
  out.value(ticket.number);
  out.value(ticket.place);
  out.value(ticket.on_gpu);
  return out.take();
}

Ticket decode(const std::vector<std::byte>& bytes) {
  comm::ByteReader in(bytes);
  Ticket ticket;
  ticket.digest = in.value<uint64_t>();
  ticket.number = in.value<uint64_t>();
  ticket.place = in.value<int32_t>();
  ticket.on_gpu = in.value<uint8_t>();
  return ticket;
}

// By rank of the communicator, the place of each in the group.
std::vector<int> checked_places(const std::vector<std::vector<std::byte>>& tickets) {
  std::vector<int> places;
  std::vector<int> taken(tickets.size(), -1);
  const Ticket first = decode(tickets.front());
  for (size_t rank = 0; rank < tickets.size(); ++rank) {
    const Ticket ticket = decode(tickets[rank]);
    if (ticket.digest != first.digest || ticket.number != first.number) {
      throw Error(StatusCode::kInvalidArgument,
                  "the configuration of rank " + std::to_string(rank) +
                      " differs from that of rank 0; all fields but `rank` must be equal, and "
                      "groups made in the same order");
    }
    if (ticket.on_gpu != first.on_gpu) {
      throw Error(StatusCode::kInvalidUsage,
                  "rank " + std::to_string(rank) + " is one of " +
                      (ticket.on_gpu != 0 ? "a GPU and rank 0 one of the host"
                                          : "the host and rank 0 one of a GPU") +
                      "; a MoE group has ranks of GPUs only or of the host only");
    }
    int& taker = taken[static_cast<size_t>(ticket.place)];
    if (taker >= 0) {
      throw Error(StatusCode::kInvalidArgument, "ranks " + std::to_string(taker) + " and " +
                                                    std::to_string(rank) + " both take place " +
                                                    std::to_string(ticket.place) + " of the group");
    }
    taker = static_cast<int>(rank);
    places.push_back(ticket.place);
  }
  return places;
}

}  // namespace

Group::Group(const Config& config, int place)
    : facts_(std::make_unique<Facts>(config, place)),
      comm_ranks_(static_cast<size_t>(config.n_ranks), -1),
      active_(comm_ranks_.size()),
      slots_taken_(static_cast<size_t>(config.max_handles)) {
  facts_->host_of.assign(comm_ranks_.size(), 0);
}

std::shared_ptr<Group> Group::create(comm::Communicator& comm, const Config& config, int place,
                                     const Error& error) {
  std::shared_ptr<Group> group;
  const Error mine = error.code() != StatusCode::kOk
                         ? error
                         : comm::error_of([&] { group.reset(new Group(config, place)); });
  if (group == nullptr) group.reset(new Group(Config{.n_ranks = comm.n_ranks()}, 0));
  group->meet(comm, mine);
  return group;
}

void Group::meet(comm::Communicator& comm, const Error& error) {
  const comm::Exchange exchange = comm::exchange_over(comm, "MoeGroupCreate");
  number_ = comm.next_moe_group();
  comm::agree_on_errors(exchange, error);
  const uint8_t on_gpu = comm.path().device != nullptr ? 1 : 0;
  const auto tickets = exchange(encode({digest(facts_->config), number_, facts_->rank, on_gpu}));
  join(comm.shared_from_this(), checked_places(tickets), exchange);
}

void Group::join(std::shared_ptr<comm::Communicator> comm, const std::vector<int>& places,
                 const comm::Exchange& exchange) {
  (void)counters();  // what the old communicator's kernels have counted
  device_.reset();
  std::fill(comm_ranks_.begin(), comm_ranks_.end(), -1);
  for (size_t rank = 0; rank < places.size(); ++rank)
    comm_ranks_[static_cast<size_t>(places[rank])] = static_cast<int>(rank);
  for (size_t rank = 0; rank < active_.size(); ++rank) active_[rank] = comm_ranks_[rank] >= 0;
  comm_ = std::move(comm);
  facts_->host_of = hosts_of(*comm_, comm_ranks_, facts_->host_of);
  homes_ = facts_->placement.homes_for(facts_->rank, active_, facts_->host_of);
  ++epoch_;
  if (comm_->path().device == nullptr) return;
  device_ = DeviceGroup::create(*comm_, {*facts_, comm_ranks_, homes_}, exchange);
}

int Group::take_slot() {
  const auto free = std::find(slots_taken_.begin(), slots_taken_.end(), false);
  if (free == slots_taken_.end()) {
    throw Error(StatusCode::kInvalidUsage,
                "the group has " + std::to_string(slots_taken_.size()) +
                    " handles already, as many as config.maxHandles allows; destroy one first");
  }
  *free = true;
  return static_cast<int>(free - slots_taken_.begin());
}

bool Group::has_handles() const noexcept {
  return std::find(slots_taken_.begin(), slots_taken_.end(), true) != slots_taken_.end();
}

std::unique_ptr<Mesh> Group::make_mesh(int slot) const {
  const Config& config = facts_->config;
  transport::FifoLayout layout = comm_->path().links.layout();
  const size_t entries =
      std::min(facts_->placement.most_slots(), static_cast<size_t>(config.max_top_k));
  const size_t counts = std::max(facts_->placement.n_slots(), static_cast<size_t>(config.n_ranks));
  const size_t least =
      std::max(least_slot_bytes(facts_->form.row_bytes(), entries, counts), partial_bytes(config));
  // The lines of a slot should have left the reader's caches before they are written again (see
  // default_slots in src/comm/selection.cc). A layer moves less than a collective before it comes
  // back to a slot, so its rings are longer, where they are long at all.
  if (layout.n_areas > kFewSlots)
    layout.n_areas = std::min(2 * layout.n_areas, transport::kMaxAreas);
  layout.area_bytes = std::bit_ceil(std::max(layout.area_bytes, static_cast<uint32_t>(least)));
  return std::make_unique<Mesh>(
      comm_->path().links,
      Mesh::Shape{.self = facts_->rank,
                  .comm_ranks = comm_ranks_,
                  .channel = channel_of(number_, slot),
                  .layout = layout,
                  .direct_min_bytes = comm_->path().tuning.policy.direct_min_bytes});
}

void Group::close() {
  if (!comm_->health().open()) return;
  // A barrier: nobody sends any more.
  comm::run_now(*comm_, comm::CollectiveCall{.name = "MoeGroupDestroy"});
  if (device_ != nullptr) return;
  comm::run_now(*comm_, comm::SetUpCall{"MoeGroupDestroy", [&] {
                                          for (int slot = 0; slot < kMostHandles; ++slot)
                                            comm_->path().links.close(channel_of(number_, slot));
                                        }});
}

void Group::restrict_to(const std::vector<bool>& active) {
  std::vector<int> excluded, places;
  for (size_t rank = 0; rank < active_.size(); ++rank) {
    if (!active_[rank]) continue;
    if (active[rank]) {
      places.push_back(comm_ranks_[rank]);
    } else {
      excluded.push_back(comm_ranks_[rank]);
    }
  }
  if (excluded.empty()) return;
  // New ranks are the old ones in their order.
  std::sort(places.begin(), places.end());
  for (int& place : places) {
    const auto at = std::find(comm_ranks_.begin(), comm_ranks_.end(), place);
    place = static_cast<int>(at - comm_ranks_.begin());
  }
  comm_->drain(Deadline::never());  // each operation has its own deadline
  auto smaller = comm::shrink(*comm_, excluded, {.options = comm_->options()});
  number_ = smaller->next_moe_group();
  const comm::Exchange exchange = comm::exchange_over(*smaller, "MoeGroupSetMask");
  join(std::move(smaller), places, exchange);
}

void Group::move_to(comm::Communicator& comm) { meet(comm, {StatusCode::kOk, ""}); }

}  // namespace tutti::moe
