// SPDX-License-Identifier: Apache-2.0
// Lays out the memory of a group of GPUs.
#include "src/moe/device_layout.h"

#include <algorithm>

#include "src/exec/cuda/symmetric.h"

namespace tutti::moe {
namespace {

constexpr size_t kLine = 128;  // parts begin at a multiple of it
constexpr size_t kVector = 16;
constexpr size_t kUnitElems = 8;  // what the sums of one 16-byte access are

constexpr size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Hands out places one after the other.
class Places {
 public:
  size_t take(size_t bytes) {
    const size_t at = end_;
    end_ = rounded(end_ + bytes, kLine);
    return at;
  }
  size_t end() const noexcept { return end_; }

 private:
  size_t end_ = 0;
};

gpu::MoeShape shape_of(const Facts& facts) {
  const Config& config = facts.config;
  const bool rank_major = config.layout == Layout::kRankMajor;
  const bool once = config.reduction == Reduction::kOnce;
  gpu::MoeShape shape{};
  shape.n_ranks = static_cast<uint32_t>(config.n_ranks);
  shape.n_experts = static_cast<uint32_t>(config.n_experts);
  shape.n_columns = gpu::moe_first_slot_column(shape.n_ranks) +
                    (rank_major ? 0 : static_cast<uint32_t>(facts.placement.n_slots()));
  shape.max_top_k = static_cast<uint32_t>(config.max_top_k);
  shape.max_tokens = static_cast<uint32_t>(config.max_tokens);
  shape.hidden = static_cast<uint32_t>(config.hidden);
  shape.form = static_cast<gpu::MoeForm>(config.quantization);
  shape.row_bytes = static_cast<uint32_t>(facts.form.data_bytes);
  shape.scale_bytes = static_cast<uint32_t>(facts.form.scale_bytes);
  shape.scales_at = static_cast<uint32_t>(rounded(facts.form.data_bytes, kVector));
  shape.staged_bytes =
      static_cast<uint32_t>(shape.scales_at + rounded(facts.form.scale_bytes, kVector));
  shape.sums_float = once ? 1 : 0;
  shape.partial_bytes = static_cast<uint32_t>(rounded(config.hidden, kUnitElems) * (once ? 4 : 2));
  shape.most_hops = std::min(shape.n_ranks, shape.max_top_k);
  shape.rank_major = rank_major ? 1 : 0;
  shape.alignment = static_cast<uint32_t>(config.alignment);
  shape.overflows = facts.overflows ? 1 : 0;
  shape.reports = config.overflow == Overflow::kDropReport ? 1 : 0;
  for (int rank = 0; rank <= config.n_ranks; ++rank)
    shape.first_slot[rank] = static_cast<uint32_t>(facts.placement.first_slot(rank));
  return shape;
}

// Tokens of a block that are staged at a time: all that it can have, or what the bytes allow.
uint32_t staged_tokens(const DeviceLayout& layout, size_t bytes_per_token, size_t staging_bytes) {
  const size_t share = (layout.shape.max_tokens + layout.blocks - 1) / layout.blocks;
  const size_t fit = staging_bytes / (size_t{2} * layout.blocks * bytes_per_token);
  return static_cast<uint32_t>(std::clamp<size_t>(fit, 1, std::max<size_t>(share, 1)));
}

void lay_out_handle(const Facts& facts, size_t staging_bytes, DeviceLayout* layout) {
  gpu::MoeShape& shape = layout->shape;
  const size_t columns = shape.n_columns * sizeof(uint32_t);
  const size_t pairs = size_t{shape.max_tokens} * shape.max_top_k;
  const size_t rows_of = shape.rank_major != 0 ? shape.n_ranks : facts.placement.most_slots();
  Places places;
  shape.counts_at = places.take(columns + sizeof(uint32_t));
  shape.where_at = places.take(pairs * sizeof(uint32_t));
  shape.details_at = places.take(2 * pairs * sizeof(uint32_t));
  const size_t hops_bytes = size_t{shape.most_hops} * shape.partial_bytes;
  shape.dispatch_tokens = staged_tokens(*layout, shape.staged_bytes, staging_bytes);
  shape.combine_tokens = staged_tokens(*layout, hops_bytes, staging_bytes);
  shape.staging_at = places.take(size_t{2} * layout->blocks *
                                 std::max(shape.dispatch_tokens * size_t{shape.staged_bytes},
                                          shape.combine_tokens * hops_bytes));
  layout->chunk_counts_at = places.take(layout->blocks * columns);
  layout->chunk_bases_at = places.take(layout->blocks * columns);
  layout->unknown_at = places.take(layout->blocks * sizeof(uint32_t));
  layout->tokens_at = places.take(shape.n_ranks * sizeof(uint32_t));
  layout->sums_at = places.take(columns);
  layout->befores_at = places.take(columns);
  layout->first_at = places.take(shape.n_ranks * rows_of * sizeof(uint32_t));
  layout->counts_at = places.take(rows_of * sizeof(uint32_t));
  layout->received_at = places.take(rows_of * sizeof(uint32_t));
  layout->aligned_at = places.take(rows_of * sizeof(uint32_t));
  layout->offsets_at = places.take(rows_of * sizeof(uint32_t));
  layout->by_rank_at = places.take(size_t{shape.n_ranks} * 4 * sizeof(uint64_t));
  layout->layout_totals_at = places.take(5 * sizeof(uint64_t));
  layout->skips_at = places.take(sizeof(uint32_t));
  layout->calls_at = places.take(2 * sizeof(uint64_t));
  layout->handle_bytes = places.end();
}

}  // namespace

DeviceLayout device_layout(const Facts& facts, unsigned blocks, size_t staging_bytes) {
  DeviceLayout layout;
  layout.shape = shape_of(facts);
  layout.blocks = blocks;
  lay_out_handle(facts, staging_bytes, &layout);
  Places places;
  layout.homes_at = places.take(layout.shape.n_experts * sizeof(uint32_t));
  layout.slots_at = places.take(facts.placement.n_slots() * sizeof(uint32_t));
  layout.capacities_at = places.take(layout.shape.n_ranks * sizeof(uint64_t));
  layout.totals_at = places.take(sizeof(gpu::MoeTotals));
  layout.handles_at =
      places.take(layout.handle_bytes * static_cast<size_t>(facts.config.max_handles));
  layout.area_bytes = rounded(places.end(), exec::kAreaUnit);
  return layout;
}

}  // namespace tutti::moe
