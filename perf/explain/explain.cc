// SPDX-License-Identifier: Apache-2.0
// Asks the planner, and counts on the plans that it would run.
#include "perf/explain/explain.h"

#include <algorithm>

#include "perf/tune/tuner.h"
#include "src/comm/selection.h"
#include "src/exec/operation.h"
#include "transport/fifo.h"

namespace tutti::command {
namespace {

using planner::CostInput;
using planner::CostParameters;

// One chunk of a block over all tiles of a call.
struct ChunkShare {
  uint64_t bytes = 0;
  uint64_t messages = 0;
};

std::vector<ChunkShare> shares(const plan::Shape& shape, const exec::Tiling& tiling,
                               uint64_t block_bytes) {
  const auto chunks = static_cast<uint64_t>(shape.chunks_per_block);
  std::vector<ChunkShare> all(chunks);
  const uint64_t chunk_bytes = tiling.chunk_elems;  // of bytes, see traffic_of()
  for (uint64_t tile = 0; tile < tiling.n_tiles; ++tile) {
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      const uint64_t begin = (tile * chunks + chunk) * chunk_bytes;
      if (begin >= block_bytes) continue;
      all[chunk].bytes += std::min(chunk_bytes, block_bytes - begin);
      ++all[chunk].messages;
    }
  }
  return all;
}

bool is_peer(const plan::Operand& operand) { return operand.kind == plan::Operand::Kind::kPeer; }

void add_step(const plan::Step& step, const ChunkShare& share, Traffic* traffic) {
  const auto sends = static_cast<uint64_t>(std::ranges::count_if(step.sinks, is_peer));
  traffic->messages += sends * share.messages;
  traffic->sent_bytes += sends * share.bytes;
  traffic->touched_bytes += (step.sources.size() + step.sinks.size()) * share.bytes;
}

// Of the rank that sends most.
Traffic traffic_of(const planner::VerifiedPlan& verified, uint64_t block_bytes, size_t slot_bytes) {
  const plan::Plan& plan = verified.plan;
  const exec::Binding binding{.dtype = DType::kInt8, .block_count = block_bytes};
  const exec::Tiling tiling = exec::make_tiling(plan.shape, binding, slot_bytes, true);
  const std::vector<ChunkShare> by_chunk = shares(plan.shape, tiling, block_bytes);
  Traffic busiest;
  for (const plan::RankProgram& rank : plan.ranks) {
    Traffic traffic;
    for (const plan::Lane& lane : rank.lanes) {
      for (const plan::Step& step : lane.steps) {
        const bool signal = step.extent == plan::kNoExtent;
        add_step(step,
                 signal ? ChunkShare{0, 1}
                        : by_chunk[static_cast<size_t>(step.extent % plan.shape.chunks_per_block)],
                 &traffic);
      }
    }
    if (traffic.sent_bytes >= busiest.sent_bytes && traffic.messages >= busiest.messages)
      busiest = traffic;
  }
  if (!by_chunk.empty())
    busiest.message_bytes = std::min<uint64_t>(tiling.chunk_elems, block_bytes);
  return busiest;
}

std::string protocol_for(uint64_t message_bytes, const exec::MessagePolicy& policy) {
  if (policy.allow_inline && message_bytes <= transport::kInlineBytes) return "inline";
  if (message_bytes < policy.direct_min_bytes) return "staged";
  return message_bytes >= policy.pull_min_bytes ? "direct" : "staged, mapped where it can be";
}

double model_without(const planner::AlgorithmRow& row, CostInput input,
                     void (*remove)(CostParameters&)) {
  remove(input.parameters);
  return row.cost_ns(input);
}

ExplainedRow explain_row(const planner::AlgorithmRow& row, const planner::PlanRequest& request,
                         const CostInput& input, const comm::Tuning& tuning) {
  const double model = row.cost_ns(input);
  ExplainedRow explained{.algorithm = row.name,
                         .predicted_ns = planner::predicted_ns(row, request, input)};
  if (input.hosts.several()) {
    explained.network = planner::network_load(row, request, input.hosts);
    explained.network_ns = planner::network_ns(explained.network, input.network, input.bytes);
  }
  explained.model_ns = model + explained.network_ns;
  explained.latency_ns =
      model - model_without(row, input, [](CostParameters& p) { p.hop_ns = p.switch_ns = 0; });
  explained.handling_ns =
      model - model_without(row, input, [](CostParameters& p) { p.message_ns = 0; });
  explained.bytes_ns = model - model_without(row, input, [](CostParameters& p) {
                         p.write_ns_per_byte = p.read_ns_per_byte = {};
                       });
  explained.traffic =
      traffic_of(*planner::verified_plan(row, request), input.bytes, tuning.layout.area_bytes);
  explained.protocol = protocol_for(explained.traffic.message_bytes, tuning.policy);
  return explained;
}

}  // namespace

Explanation explain(const ExplainRequest& request) {
  const int local = request.hosts.several() ? request.hosts.most_ranks() : request.n_ranks;
  comm::Measured measured{.n_ranks = request.n_ranks,
                          .cores = shared_cores(local),
                          .ranks_per_host = local,
                          .caches = cache_sizes()};
  if (request.profile != nullptr) measured.text = planner::to_json(*request.profile);
  const comm::Tuning tuning = comm::resolve(request.agreed, {}, measured);
  Explanation explanation{.input = cost_input(request.n_ranks, request.bytes, request.profile),
                          .collective = request.collective,
                          .profile = request.profile_file,
                          .slot_bytes = static_cast<uint32_t>(tuning.layout.area_bytes),
                          .channels = static_cast<uint32_t>(tuning.channels),
                          .least = planner::least_load(request.collective, request.hosts, 0)};
  explanation.input.cores = shared_cores(local);
  explanation.input.hosts = request.hosts;
  explanation.input.network = tuning.network;
  const planner::PlanRequest asked{.collective = request.collective,
                                   .n_ranks = request.n_ranks,
                                   .channels = tuning.channels,
                                   .hosts = request.hosts.for_plans()};
  const planner::AlgorithmRow* chosen =
      &planner::choose(asked, explanation.input, {.forced = tuning.algorithm});
  std::vector<const planner::AlgorithmRow*> rows = planner::eligible(asked, explanation.input, {});
  std::stable_partition(rows.begin(), rows.end(), [&](const auto* row) { return row == chosen; });
  for (const auto* row : rows)
    explanation.rows.push_back(explain_row(*row, asked, explanation.input, tuning));
  return explanation;
}

}  // namespace tutti::command
