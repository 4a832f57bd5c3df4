// SPDX-License-Identifier: Apache-2.0
// What lies where in the memory that a rank of a GPU gives to a group: a pure function of what the
// ranks agree on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/cuda/moe_args.h"
#include "src/moe/context.h"

namespace tutti::moe {

inline constexpr unsigned kMostDeviceBlocks = 32;  // of a launch; as symmetric memory has

// Offsets in bytes. A rank's area has tables, the group's totals, then a part for each handle.
struct DeviceLayout {
  gpu::MoeShape shape;  // its offsets are those within a handle's part
  unsigned blocks = 1;  // of launches
  size_t homes_at = 0;
  size_t slots_at = 0;
  size_t capacities_at = 0;
  size_t totals_at = 0;  // gpu::MoeTotals
  size_t handles_at = 0;
  size_t handle_bytes = 0;
  size_t area_bytes = 0;
  // Within a handle's part, of gpu::MoeOwn:
  size_t chunk_counts_at = 0;
  size_t chunk_bases_at = 0;
  size_t unknown_at = 0;
  size_t tokens_at = 0;
  size_t sums_at = 0;
  size_t befores_at = 0;
  size_t first_at = 0;
  size_t counts_at = 0;
  size_t received_at = 0;
  size_t aligned_at = 0;
  size_t offsets_at = 0;
  size_t by_rank_at = 0;
  size_t layout_totals_at = 0;
  size_t skips_at = 0;
  size_t calls_at = 0;
};

// `staging_bytes`: of rows that wait in a handle's part, at most, but for one token of each block.
DeviceLayout device_layout(const Facts& facts, unsigned blocks, size_t staging_bytes);

}  // namespace tutti::moe
