// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/plan_run.h"

#include <algorithm>
#include <string>

namespace tutti::test {

using exec::DeviceEndpoint;
using exec::DeviceProtocol;

PlanRun::PlanRun(const Gpus& gpus, std::shared_ptr<const planner::VerifiedPlan> plan,
                 const PlanSetting& setting)
    : gpus_(gpus), plan_(std::move(plan)), setting_(setting) {
  ranks_.resize(plan_->plan.ranks.size());
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) set_up(r);
}

size_t PlanRun::capacity() const {
  const uint32_t own = slot_capacity(setting_.protocol, setting_.slot_bytes);
  return setting_.mixed ? std::min(own, slot_capacity(DeviceProtocol::kSimple, setting_.slot_bytes))
                        : own;
}

DeviceProtocol PlanRun::protocol_of(int from, int to, int channel) const {
  const bool simple = setting_.mixed && (channel % 2 != 0 || from > to);
  return simple ? DeviceProtocol::kSimple : setting_.protocol;
}

// With the sender or with the receiver, by turns.
const PlanRun::Fifo& PlanRun::fifo(int from, int to, int channel) {
  const auto [it, added] = fifos_.try_emplace({{from, to}, channel});
  if (!added) return it->second;
  const int where = fifos_.size() % 2 == 0 ? from : to;
  const auto n = static_cast<size_t>(plan_->plan.slots);
  Fifo& fifo = it->second;
  fifo.protocol = protocol_of(from, to, channel);
  fifo.slots = gpus_.alloc(where, n * setting_.slot_bytes);
  fifo.lines = gpus_.alloc(to, n * exec::kLineBytes);
  fifo.released = gpus_.alloc_of<uint64_t>(from, 1);
  Gpus::write(fifo.released, &setting_.first_message, sizeof(uint64_t));
  return fifo;
}

DeviceEndpoint PlanRun::endpoint(int rank, const exec::FlatEndpoint& flat) {
  const exec::Program& program = ranks_[rank].program;
  const exec::Endpoint& end =
      flat.sends ? program.send_peers[flat.index] : program.recv_peers[flat.index];
  const Fifo& connection =
      flat.sends ? fifo(rank, end.peer, end.channel) : fifo(end.peer, rank, end.channel);
  DeviceEndpoint out;
  out.slots = connection.slots;
  out.lines = connection.lines;
  out.released = connection.released;
  out.count = setting_.first_message;
  out.seen_released = static_cast<uint32_t>(setting_.first_message);
  out.slot_bytes = setting_.slot_bytes;
  out.n_slots = out.n_lines = out.window = static_cast<uint32_t>(plan_->plan.slots);
  out.protocol = connection.protocol;
  out.peer = end.peer;
  out.is_sender = flat.sends ? 1 : 0;
  return out;
}

void PlanRun::set_up(int rank) {
  Rank& r = ranks_[rank];
  r.program = exec::compile(plan_, rank);
  const exec::FlatProgram flat = exec::flatten(r.program);
  std::vector<exec::DeviceLane> lanes;
  for (const exec::FlatLane& lane : flat.lanes) {
    std::vector<DeviceEndpoint*> endpoints;
    for (const exec::FlatEndpoint& end : lane.endpoints) {
      endpoints.push_back(gpus_.upload(rank, std::vector<DeviceEndpoint>{endpoint(rank, end)}));
    }
    exec::DeviceLane out{};
    out.code = gpus_.upload(rank, lane.code);
    out.endpoints = gpus_.upload(rank, endpoints);
    out.n_endpoints = static_cast<uint32_t>(endpoints.size());
    out.n_steps = lane.n_steps;
    out.operands_offset = lane.operands_offset;
    out.waits_offset = lane.waits_offset;
    out.code_bytes = static_cast<uint32_t>(lane.code.size());
    lanes.push_back(out);
  }
  r.lanes = gpus_.upload(rank, lanes);
  r.n_lanes = static_cast<uint32_t>(lanes.size());
  r.states = gpus_.alloc_of<exec::DeviceLaneState>(rank, lanes.size());
  r.state = gpus_.alloc_of<exec::DeviceProgramState>(rank, 1);
  r.scratch = gpus_.alloc(rank, static_cast<size_t>(r.program.scratch_chunks) *
                                    r.program.tiles_in_flight * setting_.slot_bytes);
  r.watch = gpus_.watch(rank, r.n_lanes);
}

void PlanRun::launch_on(int rank, const HostCall& call, std::byte* input, std::byte* output,
                        uint32_t signature) {
  const Rank& r = ranks_[rank];
  if (r.n_lanes == 0) return;
  exec::PlanArgs args;
  args.lanes = r.lanes;
  args.lane_states = r.states;
  args.state = r.state;
  args.watch = r.watch;
  args.input = input;
  args.output = output;
  args.scratch = r.scratch;
  args.block_count = call.block_count;
  args.chunk_elems = call.tiling.chunk_elems;
  args.tile_elems = call.tiling.tile_elems;
  args.reduction = gpu::make_reduction(call.dtype, call.op, &call.scaling);
  args.n_lanes = r.n_lanes;
  args.n_tiles = call.tiling.n_tiles;
  args.tiles_in_flight = static_cast<uint32_t>(r.program.tiles_in_flight);
  args.scratch_chunks = static_cast<uint32_t>(r.program.scratch_chunks);
  args.signature = signature;
  args.arena_bytes = setting_.shared_bytes;
  args.protocol = setting_.protocol;
  const bool simple = setting_.protocol == DeviceProtocol::kSimple;
  gpus_.launch(rank, (simple ? "tutti_plan_simple_" : "tutti_plan_inline_") + id_of(call.dtype),
               r.n_lanes, setting_.threads, args, setting_.shared_bytes);
}

void PlanRun::launch(const HostCall& call, const std::vector<std::byte*>& inputs,
                     const std::vector<std::byte*>& outputs, uint32_t signature) {
  for (int r = 0; r < static_cast<int>(ranks_.size()); ++r) {
    launch_on(r, call, inputs[r], outputs[r], signature);
  }
}

void PlanRun::leave_flags(uint64_t first, uint32_t count, uint32_t signature) {
  constexpr size_t kShortBytes = 64;
  const auto n = static_cast<uint32_t>(plan_->plan.slots);
  for (auto& [name, fifo] : fifos_) {
    for (uint64_t m = first; m < first + count; ++m) {
      const auto flag = static_cast<uint32_t>(m + 1);
      std::byte* slot = fifo.slots + m % n * setting_.slot_bytes;
      const bool ll = fifo.protocol == DeviceProtocol::kLL;
      const size_t step = ll ? 16 : 128;
      const size_t begin = ll ? exec::kLLHeadBytes + 2 * kShortBytes : exec::kLL128PairBytes;
      const uint32_t ll_line[4] = {0, flag, 0, flag};
      const uint32_t ll128_end[4] = {0, 0, flag, signature};
      if (fifo.protocol == DeviceProtocol::kSimple) continue;
      for (size_t at = begin; at < setting_.slot_bytes; at += step) {
        Gpus::write(slot + at + step - 16, ll ? ll_line : ll128_end, 16);
      }
    }
  }
}

uint64_t PlanRun::failure(int rank) const {
  uint64_t value = 0;
  memcpy(&value, Gpus::read(ranks_[rank].watch.failure, sizeof(value)).data(), sizeof(value));
  return value;
}
std::vector<uint64_t> PlanRun::reports(int rank) const {
  const Rank& r = ranks_[rank];
  std::vector<uint64_t> values(r.n_lanes);
  memcpy(values.data(), Gpus::read(r.watch.reports, r.n_lanes * sizeof(uint64_t)).data(),
         r.n_lanes * sizeof(uint64_t));
  return values;
}
void PlanRun::abort(int rank) const {
  const uint32_t one = 1;
  Gpus::write(const_cast<uint32_t*>(ranks_[rank].watch.abort), &one, sizeof(one));
}

}  // namespace tutti::test
