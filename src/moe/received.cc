// SPDX-License-Identifier: Apache-2.0
// Prefix sums over blocks of received rows.
#include "src/moe/received.h"

#include <algorithm>

namespace tutti::moe {

void lay_out(std::span<const uint32_t> counts, const LayoutRule& rule, ReceiveLayout* layout) {
  // Most blocks of a small call are empty, and divisions are slow.
  const auto aligned = [&](uint64_t rows) {
    if (rows == 0 || rule.alignment == 1) return rows;
    return (rows + rule.alignment - 1) / rule.alignment * rule.alignment;
  };
  const auto whole_blocks = [&](uint64_t rows) {
    return rule.alignment == 1 ? rows : rows / rule.alignment * rule.alignment;
  };
  layout->counts.assign(counts.begin(), counts.end());
  layout->kept.clear();
  layout->aligned.clear();
  layout->offsets.clear();
  layout->demand = layout->rows = layout->received = layout->dropped = 0;
  for (const uint32_t count : counts) {
    layout->demand += aligned(count);
    const uint64_t room = rule.capacity - layout->rows;
    const uint64_t kept =
        aligned(count) <= room ? uint64_t{count} : std::min<uint64_t>(count, whole_blocks(room));
    const uint64_t taken = aligned(kept);
    layout->kept.push_back(static_cast<uint32_t>(kept));
    layout->aligned.push_back(static_cast<uint32_t>(taken));
    layout->offsets.push_back(static_cast<uint32_t>(layout->rows));
    layout->rows += taken;
    layout->received += kept;
    layout->dropped += count - kept;
  }
}

}  // namespace tutti::moe
