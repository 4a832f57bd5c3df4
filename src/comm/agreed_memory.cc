// SPDX-License-Identifier: Apache-2.0
// Adds up what plans need on every rank that has a cap.
#include "src/comm/agreed_memory.h"

#include <algorithm>

#include "src/comm/scratch.h"
#include "src/exec/operation.h"

namespace tutti::comm {

AgreedMemory::AgreedMemory(std::span<const PeerRecord> records, const transport::FifoLayout& layout,
                           bool may_pull)
    : connection_bytes_(layout.total_bytes()), may_pull_(may_pull) {
  for (size_t i = 0; i < records.size(); ++i) {
    const PeerRecord& record = records[i];
    if (record.memory_cap_bytes == 0) continue;
    ranks_.push_back({.rank = static_cast<int>(i),
                      .cap_bytes = record.memory_cap_bytes,
                      .fixed_bytes = record.memory_used_bytes});
  }
}

AgreedMemory::Held AgreedMemory::with(const Held& before, const Call& call) const {
  Held after = before;
  exec::Footprint need = exec::footprint(call.plan, before.rank);
  if (after.programs.insert(call.program_key).second) after.program_bytes += need.program_bytes;
  after.connections.merge(need.send_peers);
  const size_t scratch = static_cast<size_t>(need.scratch_chunks) *
                         static_cast<size_t>(need.tiles_in_flight) * call.chunk_bytes;
  const size_t bounce = may_pull_ ? need.most_sources * exec::kBouncePiece : 0;
  after.scratch_bytes =
      std::max(after.scratch_bytes, ScratchLease::charged_bytes(scratch + bounce));
  return after;
}

std::optional<std::string> AgreedMemory::admit(const Call& call) {
  const auto known = admitted_.find(call.program_key);
  if (known != admitted_.end() && call.chunk_bytes <= known->second) return std::nullopt;
  std::vector<Held> after;
  after.reserve(ranks_.size());
  for (const Held& before : ranks_) {
    after.push_back(with(before, call));
    if (total(after.back()) > before.cap_bytes) return refusal(before, after.back());
  }
  ranks_ = std::move(after);
  admitted_[call.program_key] = call.chunk_bytes;
  return std::nullopt;
}

std::string AgreedMemory::refusal(const Held& before, const Held& after) const {
  const size_t connections = after.connections.size() - before.connections.size();
  return "memory cap reached: rank " + std::to_string(after.rank) + " may hold " +
         std::to_string(after.cap_bytes) + " bytes and holds " + std::to_string(total(before)) +
         "; the call needs " + std::to_string(total(after) - total(before)) + " more (" +
         std::to_string(connections) + " connections of " + std::to_string(connection_bytes_) +
         " bytes, " + std::to_string(after.scratch_bytes - before.scratch_bytes) + " of scratch, " +
         std::to_string(after.program_bytes - before.program_bytes) +
         " of program). Raise config.memoryCapBytes (TUTTI_MEMORY_CAP) of that rank to at least " +
         std::to_string(total(after)) +
         ", or lower TUTTI_SLOT_BYTES or TUTTI_SLOTS. All ranks have refused the call, and the "
         "communicator can go on with others";
}

}  // namespace tutti::comm
