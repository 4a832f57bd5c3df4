// SPDX-License-Identifier: Apache-2.0
// Makes the memory of a group of GPUs, and reads what kernels have left for the host.
#include "src/moe/device_group.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "src/base/clock.h"
#include "src/comm/device_watch.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/stream.h"

namespace tutti::moe {
namespace {

constexpr int64_t kDrainNs = 5 * kNsPerSecond;
// Rows that a handle holds, in units of TUTTI_SYMMETRIC_BYTES. A guess until it is measured.
constexpr size_t kStagingUnits = 8;

// Fewest that a GPU of the group runs together.
unsigned agreed_blocks(const exec::DeviceExecutor& executor, const comm::Exchange& exchange) {
  uint32_t blocks = std::min(kMostDeviceBlocks, executor.most_blocks());
  for (const auto& theirs : exchange(std::as_bytes(std::span(&blocks, 1)))) {
    uint32_t other = 0;
    std::memcpy(&other, theirs.data(), sizeof other);
    blocks = std::min(blocks, other);
  }
  return blocks;
}

// A word that a kernel may be writing.
uint64_t word(const uint64_t& shown) noexcept {
  return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(shown)).load(std::memory_order_acquire);
}

}  // namespace

// In page-locked memory, on lines of their own.
struct DeviceGroup::Shown {
  alignas(128) gpu::MoeTotals totals;
  struct Handle {
    alignas(128) gpu::MoeReport report;
  };
  Handle handles[kMostHandles];
};

std::unique_ptr<DeviceGroup> DeviceGroup::create(comm::Communicator& comm, const Members& members,
                                                 const comm::Exchange& exchange) {
  const exec::DeviceExecutor& executor = comm.path().device->executor();
  const int n_ranks = members.facts.config.n_ranks;
  if (n_ranks > static_cast<int>(gpu::kMostRanks)) {
    throw Error(StatusCode::kInvalidArgument,
                "MoE groups of GPUs have at most " + std::to_string(gpu::kMostRanks) +
                    " ranks; this one would have " + std::to_string(n_ranks));
  }
  const cuda::Current current(executor.gpu());
  std::unique_ptr<DeviceGroup> made(
      new DeviceGroup(comm, members, agreed_blocks(executor, exchange)));
  made->make_memory(exchange);
  comm::agree_on_errors(exchange, comm::error_of([&] { made->fill(members); }));
  return made;
}

DeviceGroup::DeviceGroup(comm::Communicator& comm, const Members& members, unsigned blocks)
    : comm_(comm),
      facts_(members.facts),
      layout_(device_layout(members.facts, blocks,
                            kStagingUnits * comm.path().tuning.symmetric_bytes)) {}

DeviceGroup::~DeviceGroup() {
  comm::DeviceWatch* const watch = comm_.watch();
  if (watch == nullptr || watch->drain(Deadline::after_ns(kDrainNs))) return;
  (void)memory_.release();
  (void)shown_.release();
}

void DeviceGroup::make_memory(const comm::Exchange& exchange) {
  const comm::HostFacts& host = comm_.path().facts;
  std::string why_not;
  comm::SymmetricMemory::Wanted wanted{.comm_id = comm_.comm_id(),
                                       .rank = comm_.rank(),
                                       .n_ranks = comm_.n_ranks(),
                                       .secret = comm_.secret(),
                                       .area_bytes = layout_.area_bytes,
                                       .most_blocks = layout_.blocks};
  if (comm_.path().tuning.symmetric_bytes == 0)
    wanted.obstacle = "TUTTI_SYMMETRIC_BYTES is 0, or TUTTI_PROTO names another protocol";
  if (host.local_ranks != comm_.n_ranks() || host.hosts.several())
    wanted.obstacle = "the ranks are on several hosts";
  for (int peer = 0; peer < comm_.n_ranks() && wanted.obstacle.empty(); ++peer) {
    const comm::Transports& transports = comm_.local().transports;
    const std::string by =
        peer == comm_.rank() ? "cuda_p2p" : std::string(transports.name(transports.index_of(peer)));
    if (by != "cuda_p2p") wanted.obstacle = "rank " + std::to_string(peer) + " is reached by " + by;
  }
  memory_ = comm::SymmetricMemory::create(wanted, comm_.path().device->executor().gpu(), exchange,
                                          &why_not);
  if (memory_ != nullptr) return;
  throw Error(StatusCode::kInvalidUsage,
              "MoE groups of GPUs need memory that the GPUs of all ranks reach, on one host (" +
                  why_not +
                  "); use a communicator of the ranks of one host, or one of host ranks "
                  "(config.device = TUTTI_DEVICE_HOST), which works across hosts");
}

std::byte* DeviceGroup::area() const noexcept {
  return memory_->region().areas[memory_->region().rank];
}

namespace {

template <typename T>
void upload(std::byte* to, const std::vector<T>& values) {
  if (values.empty()) return;
  cuda::check(cuda::driver().cuMemcpyHtoD_v2(reinterpret_cast<cuda::DevicePtr>(to), values.data(),
                                             values.size() * sizeof(T)),
              "copying the tables of a MoE group to the GPU");
}

uint32_t where_of(int rank, int local) {
  return static_cast<uint32_t>(rank) << 16 | static_cast<uint32_t>(local);
}

}  // namespace

// Tables, and what all launches have in common.
void DeviceGroup::fill(const Members& members) {
  const cuda::RelaxedCapture relaxed;
  const int n = facts_.config.n_ranks;
  std::vector<uint32_t> homes, slots;
  std::vector<uint64_t> capacities;
  for (const Placement::Home& home : members.homes)
    homes.push_back(home.rank < 0 ? gpu::kMoeMasked : where_of(home.rank, home.local));
  for (int rank = 0; rank < n; ++rank) {
    for (size_t i = 0; i < facts_.placement.slots_of(rank); ++i)
      slots.push_back(where_of(rank, static_cast<int>(i)));
    capacities.push_back(receive_capacity(facts_.config, facts_.placement, rank));
  }
  upload(area() + layout_.homes_at, homes);
  upload(area() + layout_.slots_at, slots);
  upload(area() + layout_.capacities_at, capacities);
  shown_ = std::make_unique<cuda::PinnedMemory>(sizeof(Shown));

  const exec::SymmetricRegion& region = memory_->region();
  std::copy(region.flags.begin(), region.flags.end(), common_.team.flags);
  common_.team.epochs = region.epochs;
  common_.team.rank = region.rank;
  common_.team.n_ranks = region.n_ranks;
  for (int rank = 0; rank < n; ++rank) {
    const int place = members.comm_ranks[static_cast<size_t>(rank)];
    common_.team_rank_of[rank] = static_cast<uint8_t>(place < 0 ? gpu::kMoeLeft : place);
  }
  common_.shape = layout_.shape;
  common_.rank = static_cast<uint32_t>(facts_.rank);
  common_.blocks = layout_.blocks;
  common_.user.homes = reinterpret_cast<uint32_t*>(area() + layout_.homes_at);
  common_.user.slots = reinterpret_cast<uint32_t*>(area() + layout_.slots_at);
  common_.user.capacities = reinterpret_cast<uint64_t*>(area() + layout_.capacities_at);
  for (int slot = 0; slot < facts_.config.max_handles; ++slot) own_.push_back(own_of(slot));
}

gpu::MoeOwn DeviceGroup::own_of(int slot) const {
  std::byte* const part =
      area() + layout_.handles_at + static_cast<size_t>(slot) * layout_.handle_bytes;
  const auto words = [part](size_t at) { return reinterpret_cast<uint32_t*>(part + at); };
  const auto longs = [part](size_t at) { return reinterpret_cast<uint64_t*>(part + at); };
  auto* const shown = std::bit_cast<Shown*>(shown_->device());
  return {.chunk_counts = words(layout_.chunk_counts_at),
          .chunk_bases = words(layout_.chunk_bases_at),
          .unknown = words(layout_.unknown_at),
          .tokens = words(layout_.tokens_at),
          .sums = words(layout_.sums_at),
          .befores = words(layout_.befores_at),
          .first = words(layout_.first_at),
          .counts = words(layout_.counts_at),
          .received = words(layout_.received_at),
          .aligned = words(layout_.aligned_at),
          .offsets = words(layout_.offsets_at),
          .by_rank = longs(layout_.by_rank_at),
          .totals = longs(layout_.layout_totals_at),
          .skips = words(layout_.skips_at),
          .calls = longs(layout_.calls_at),
          .sum = reinterpret_cast<gpu::MoeTotals*>(area() + layout_.totals_at),
          .report = &shown->handles[slot].report,
          .shown = &shown->totals};
}

gpu::MoeArgs DeviceGroup::args_of(int slot) const {
  gpu::MoeArgs args = common_;
  const exec::SymmetricRegion& region = memory_->region();
  const size_t at = layout_.handles_at + static_cast<size_t>(slot) * layout_.handle_bytes;
  for (size_t r = 0; r < region.areas.size(); ++r) args.areas[r] = region.areas[r] + at;
  args.own = own(slot);
  return args;
}

size_t DeviceGroup::blocks_of_rows() const noexcept {
  return layout_.shape.rank_major != 0 ? layout_.shape.n_ranks
                                       : facts_.placement.slots_of(facts_.rank);
}

std::optional<DeviceReport> DeviceGroup::report(int slot) const noexcept {
  const auto* const shown = reinterpret_cast<const Shown*>(shown_->host());
  const gpu::MoeReport& of = shown->handles[slot].report;
  // Pairs with the fence before it: what follows is of that dispatch.
  const uint64_t ended = word(of.ended);
  DeviceReport report{.rows = word(of.rows),
                      .demand = word(of.demand),
                      .dropped = word(of.dropped),
                      .dropped_of_mine = word(of.dropped_of_mine),
                      .dropped_by_all = word(of.dropped_by_all),
                      .overflowed_rank = static_cast<int>(word(of.overflowed)) - 1,
                      .overflow_demand = word(of.overflow_demand)};
  if (const uint64_t unknown = word(of.unknown); unknown != 0) report.unknown = unknown - 1;
  if (word(of.begun) != ended) return std::nullopt;
  return report;
}

void DeviceGroup::add_to(Counters& counters) noexcept {
  const auto* const shown = reinterpret_cast<const Shown*>(shown_->host());
  constexpr auto kIntra = static_cast<size_t>(Reach::kIntra);
  const std::lock_guard lock(mutex_);
  const auto take = [&](uint64_t gpu::MoeTotals::*field, Counters::Word& into) {
    const uint64_t now = word(shown->totals.*field);
    add(into, now - std::exchange(seen_.*field, now));
  };
  using Totals = gpu::MoeTotals;
  take(&Totals::dispatches, counters.dispatches);
  take(&Totals::combines, counters.combines);
  take(&Totals::dispatch_rows, counters.dispatched[kIntra].rows);
  take(&Totals::dispatch_payload, counters.dispatched[kIntra].payload_bytes);
  take(&Totals::dispatch_metadata, counters.dispatched[kIntra].metadata_bytes);
  take(&Totals::combine_rows, counters.combined[kIntra].rows);
  take(&Totals::combine_payload, counters.combined[kIntra].payload_bytes);
  take(&Totals::dispatch_copies, counters.dispatch_copy_bytes);
  take(&Totals::combine_copies, counters.combine_copy_bytes);
  take(&Totals::received_rows, counters.received_rows);
  take(&Totals::dropped_rows, counters.dropped_rows);
  take(&Totals::masked_pairs, counters.masked_pairs);
}

}  // namespace tutti::moe
