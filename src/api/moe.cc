// SPDX-License-Identifier: Apache-2.0
// MoE groups, handles, dispatch and combine of the C API.
#include "tutti/moe.h"

#include <memory>
#include <optional>
#include <string>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/moe_arguments.h"
#include "src/comm/device_watch.h"
#include "src/comm/group.h"

namespace tutti::api {
namespace {

using comm::Communicator;
using MoeGroups = Handles<tuttiMoeGroup>;
using MoeHandles = Handles<tuttiMoeHandle>;

const std::shared_ptr<moe::Group>& group_of(tuttiMoeGroup_t group) {
  return MoeGroups::find(group, "group").group;
}
moe::Handle& handle_of(tuttiMoeHandle_t handle) {
  return *MoeHandles::find(handle, "handle").handle;
}
// Throws when its communicator can't take operations.
moe::Handle& open_handle(tuttiMoeHandle_t handle) {
  moe::Handle& open = handle_of(handle);
  open.group().comm().check_open();
  return open;
}

void get_sizes(const tuttiMoeConfig_t* config, int n_ranks, int rank, tuttiMoeSizes_t* sizes) {
  if (n_ranks < 1) refuse("nRanks is " + std::to_string(n_ranks) + "; at least 1 is allowed");
  require_rank(rank, n_ranks, "rank");
  require(sizes, "sizes");
  require_size(sizes, "TUTTI_MOE_SIZES_INITIALIZER");
  const moe::Facts facts(config_of(config, n_ranks), rank);
  hand_out(tuttiMoeSizes_t{.size = sizeof(tuttiMoeSizes_t),
                           .receiveRows = facts.capacity,
                           .rowBytes = facts.form.data_bytes,
                           .rowScaleBytes = facts.form.scale_bytes,
                           .rowsBytes = facts.capacity * facts.form.data_bytes,
                           .scalesBytes = facts.capacity * facts.form.scale_bytes,
                           .combineBytes = facts.capacity * facts.form.input_bytes(),
                           .numExperts = facts.placement.slots_of(rank)},
           sizes);
}

// What a dispatch on GPUs has found wrong.
void check_report(const moe::DeviceReport& report, const moe::Facts& facts) {
  if (report.unknown.has_value()) {
    const auto k = static_cast<uint64_t>(facts.config.max_top_k);
    refuse(
        "topkIdx[" + std::to_string(*report.unknown / k) + "][" +
        std::to_string(*report.unknown % k) +
        "] of the last dispatch is no expert, and was taken as -1; allowed are -1 (none) and the "
        "experts 0 to " +
        std::to_string(facts.config.n_experts - 1));
  }
  if (report.overflowed_rank < 0 || facts.config.overflow == moe::Overflow::kDropReport) return;
  throw moe::too_many_rows(facts, report.overflowed_rank, report.overflow_demand);
}

tuttiMoeLayout_t layout_of(const moe::Exchange& exchange) {
  const moe::ReceiveLayout& layout = exchange.layout;
  return {.size = sizeof(tuttiMoeLayout_t),
          .numBlocks = layout.counts.size(),
          .counts = layout.counts.data(),
          .received = layout.kept.data(),
          .aligned = layout.aligned.data(),
          .offsets = layout.offsets.data(),
          .rows = layout.rows,
          .demand = layout.demand,
          .dropped = layout.dropped,
          .droppedOfMine = exchange.dropped_of_mine,
          .droppedByAll = exchange.dropped_everywhere,
          .totals = nullptr};
}

// Arrays are of the GPU; totals are the host's when the dispatch has ended.
tuttiMoeLayout_t layout_of(const moe::DeviceHandle& handle, const moe::Handle& of) {
  const std::optional<moe::DeviceReport> report = handle.report();
  if (report.has_value()) check_report(*report, of.group().facts());
  const moe::DeviceReport unknown{.rows = UINT64_MAX,
                                  .demand = UINT64_MAX,
                                  .dropped = UINT64_MAX,
                                  .dropped_of_mine = UINT64_MAX,
                                  .dropped_by_all = UINT64_MAX};
  const moe::DeviceReport& said = report.has_value() ? *report : unknown;
  return {.size = sizeof(tuttiMoeLayout_t),
          .numBlocks = handle.blocks_of_rows(),
          .counts = handle.own().counts,
          .received = handle.own().received,
          .aligned = handle.own().aligned,
          .offsets = handle.own().offsets,
          .rows = said.rows,
          .demand = said.demand,
          .dropped = said.dropped,
          .droppedOfMine = said.dropped_of_mine,
          .droppedByAll = said.dropped_by_all,
          .totals = handle.own().totals};
}

moe::Place place_of(tuttiStream_t stream, const moe::Handle& handle) {
  const StreamArgument argument = stream_of(stream, handle.group().comm());
  return {.host = argument.host, .device = argument.device};
}

uint64_t value(const moe::Counters::Word& word) {
  return word.load(std::memory_order_relaxed);  // a statistic of its own
}

tuttiMoeStats_t stats_of(const moe::Counters& counters) {
  tuttiMoeStats_t stats = TUTTI_MOE_STATS_INITIALIZER;
  stats.dispatches = value(counters.dispatches);
  stats.combines = value(counters.combines);
  for (size_t reach = 0; reach < moe::kReaches; ++reach) {
    const moe::Counters::Sent& sent = counters.dispatched[reach];
    stats.dispatchRows[reach] = value(sent.rows);
    stats.dispatchPayloadBytes[reach] = value(sent.payload_bytes);
    stats.dispatchMetadataBytes[reach] = value(sent.metadata_bytes);
    const moe::Counters::Sent& back = counters.combined[reach];
    stats.combineRows[reach] = value(back.rows);
    stats.combinePayloadBytes[reach] = value(back.payload_bytes);
    stats.combineMetadataBytes[reach] = value(back.metadata_bytes);
  }
  stats.dispatchCopyBytes = value(counters.dispatch_copy_bytes);
  stats.combineCopyBytes = value(counters.combine_copy_bytes);
  stats.receivedRows = value(counters.received_rows);
  stats.droppedRows = value(counters.dropped_rows);
  stats.maskedPairs = value(counters.masked_pairs);
  return stats;
}

moe::TopK top_k_of(const moe::Facts& facts, const int64_t* experts, const float* weights,
                   size_t tokens, int k) {
  if (tokens > facts.config.max_tokens) {
    refuse("nTokens is " + std::to_string(tokens) + "; config.maxTokens allows " +
           std::to_string(facts.config.max_tokens));
  }
  if (k < 0 || k > facts.config.max_top_k) {
    refuse("topK is " + std::to_string(k) + "; allowed are 0 to config.maxTopK, " +
           std::to_string(facts.config.max_top_k));
  }
  if (tokens != 0 && k != 0) require(experts, "topkIdx");
  return {.experts = experts, .weights = weights, .tokens = tokens, .k = k};
}

void destroy_group(tuttiMoeGroup_t group) {
  const std::shared_ptr<moe::Group> mine = group_of(group);  // shared: the slot is emptied
  if (mine->has_handles()) {
    throw Error(StatusCode::kInvalidUsage, "the group has handles; destroy them first");
  }
  if (!mine->comm().health().open()) {
    MoeGroups::take(group, "group");
    return;
  }
  set_up(mine->comm(), [group, mine] {
    mine->close();
    MoeGroups::take(group, "group");
  });
}

void destroy_handle(tuttiMoeHandle_t handle) {
  const moe::Handle& mine = handle_of(handle);
  if (mine.in_flight() && mine.group().comm().health().open()) {
    throw Error(StatusCode::kInvalidUsage,
                "the handle is in flight; receive what was sent, and wait for its stream, first");
  }
  MoeHandles::take(handle, "handle");
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace
using tutti::comm::Communicator;

tuttiResult_t tuttiMoeGetSizes(const tuttiMoeConfig_t* config, int nRanks, int rank,
                               tuttiMoeSizes_t* sizes) {
  return guard("tuttiMoeGetSizes", [&] { get_sizes(config, nRanks, rank, sizes); });
}

tuttiResult_t tuttiMoeGroupCreate(tuttiMoeGroup_t* group, tuttiComm_t comm,
                                  const tuttiMoeConfig_t* config) {
  return guard_call("tuttiMoeGroupCreate", [&] {
    Communicator& c = open_comm(comm);
    require(group, "group");
    require(config, "config");
    *group = nullptr;
    // What is wrong on one rank, all are told.
    tutti::moe::Config checked{.n_ranks = c.n_ranks()};
    int place = 0;
    const tutti::Error error = tutti::comm::error_of([&] {
      checked = config_of(config, c.n_ranks());
      place = place_of(config, c.rank(), c.n_ranks());
    });
    set_up(c, [=, owner = c.shared_from_this()] {
      *group = MoeGroups::publish(
          MoeGroups::make(tutti::moe::Group::create(*owner, checked, place, error)));
    });
  });
}

tuttiResult_t tuttiMoeGroupDestroy(tuttiMoeGroup_t group) {
  return guard_call("tuttiMoeGroupDestroy", [&] { destroy_group(group); });
}

tuttiResult_t tuttiMoeHandleCreate(tuttiMoeHandle_t* handle, tuttiMoeGroup_t group) {
  return guard("tuttiMoeHandleCreate", [&] {
    require(handle, "handle");
    *handle = nullptr;
    *handle = MoeHandles::publish(
        MoeHandles::make(std::make_shared<tutti::moe::Handle>(group_of(group))));
  });
}

tuttiResult_t tuttiMoeHandleDestroy(tuttiMoeHandle_t handle) {
  return guard("tuttiMoeHandleDestroy", [&] { destroy_handle(handle); });
}

tuttiResult_t tuttiMoeRoute(tuttiMoeHandle_t handle, const int64_t* topkIdx,
                            const float* topkWeights, size_t nTokens, int topK) {
  return guard("tuttiMoeRoute", [&] {
    tutti::moe::Handle& mine = open_handle(handle);
    mine.route(top_k_of(mine.group().facts(), topkIdx, topkWeights, nTokens, topK));
  });
}

tuttiResult_t tuttiMoeDispatch(tuttiMoeHandle_t handle, const void* x,
                               const tuttiMoeOutput_t* output, int phases, tuttiStream_t stream) {
  return guard_call("tuttiMoeDispatch", [&] {
    tutti::moe::Handle& mine = open_handle(handle);
    const tutti::moe::Phases both = phases_of(phases);
    const tutti::moe::Output to =
        both.receive ? output_of(output, mine.group().facts()) : tutti::moe::Output{};
    if (both.send && mine.sends_rows()) require(x, "x");
    mine.dispatch(static_cast<const std::byte*>(x), to, both, place_of(stream, mine));
  });
}

tuttiResult_t tuttiMoeGetLayout(tuttiMoeHandle_t handle, tuttiMoeLayout_t* layout) {
  return guard("tuttiMoeGetLayout", [&] {
    require_size(layout, "TUTTI_MOE_LAYOUT_INITIALIZER");
    const tutti::moe::Handle& mine = handle_of(handle);
    const tutti::moe::DeviceHandle* const device = mine.dispatched_on_device();
    hand_out(device != nullptr ? layout_of(*device, mine) : layout_of(mine.dispatched()), layout);
  });
}

tuttiResult_t tuttiMoeCombine(tuttiMoeHandle_t handle, const void* y, void* out, int phases,
                              tuttiStream_t stream) {
  return guard_call("tuttiMoeCombine", [&] {
    tutti::moe::Handle& mine = open_handle(handle);
    const tutti::moe::Phases both = phases_of(phases);
    if (both.send && mine.group().facts().capacity != 0) require(y, "y");
    if (both.receive && mine.sends_rows()) require(out, "out");
    mine.combine(static_cast<const std::byte*>(y), static_cast<std::byte*>(out), both,
                 place_of(stream, mine));
  });
}

tuttiResult_t tuttiMoeComplete(tuttiMoeHandle_t handle) {
  return guard("tuttiMoeComplete", [&] { handle_of(handle).complete(); });
}

tuttiResult_t tuttiMoeGroupGetMask(tuttiMoeGroup_t group, uint8_t* active) {
  return guard("tuttiMoeGroupGetMask", [&] {
    require(active, "active");
    for (const bool takes_part : group_of(group)->active()) *active++ = takes_part ? 1 : 0;
  });
}

tuttiResult_t tuttiMoeGroupSetMask(tuttiMoeGroup_t group, const uint8_t* active) {
  return guard("tuttiMoeGroupSetMask", [&] {
    const std::shared_ptr<tutti::moe::Group>& mine = group_of(group);
    mine->restrict_to(mask_of(active, *mine));
  });
}

tuttiResult_t tuttiMoeGroupRejoin(tuttiMoeGroup_t group, tuttiComm_t comm) {
  return guard_call("tuttiMoeGroupRejoin", [&] {
    const std::shared_ptr<tutti::moe::Group> mine = group_of(group);  // shared with the job
    Communicator& c = open_comm(comm);
    if (c.n_ranks() != mine->facts().config.n_ranks) {
      refuse("comm has " + std::to_string(c.n_ranks()) + " ranks; the group needs " +
             std::to_string(mine->facts().config.n_ranks));
    }
    set_up(c, [mine, owner = c.shared_from_this()] { mine->move_to(*owner); });
  });
}

tuttiResult_t tuttiMoeGroupGetAsyncError(tuttiMoeGroup_t group, tuttiResult_t* asyncError) {
  return guard("tuttiMoeGroupGetAsyncError", [&] {
    require(asyncError, "asyncError");
    tutti::comm::Communicator& comm = group_of(group)->comm();
    if (comm.watch() != nullptr) comm.watch()->catch_up();
    const tutti::comm::Health& health = comm.health();
    *asyncError = static_cast<tuttiResult_t>(health.code());
    if (health.broken()) (void)report("tuttiMoeGroup", health.code(), health.message().c_str());
  });
}

tuttiResult_t tuttiMoeGroupGetStats(tuttiMoeGroup_t group, tuttiMoeStats_t* stats) {
  return guard("tuttiMoeGroupGetStats", [&] {
    require_size(stats, "TUTTI_MOE_STATS_INITIALIZER");
    hand_out(stats_of(group_of(group)->counters()), stats);
  });
}
