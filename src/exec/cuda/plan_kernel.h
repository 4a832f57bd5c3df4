// SPDX-License-Identifier: Apache-2.0
// The kernels tutti_plan_simple_<dtype> and tutti_plan_inline_<dtype>: run a compiled plan, one
// lane per thread block (device_program.h). The first for launches whose connections are all
// kSimple. Compiled once per data type, which the build gives as TUTTI_KERNEL_DTYPE.
//
// A step takes three barriers: operands are resolved (one thread each, which waits for its message
// or slot), | the bytes are moved by all threads, | messages are published and slots given back
// (one thread each again), |. The barriers make what one thread acquired or released stand for the
// block, and tell all its threads alike whether one of them has failed.
#pragma once

#include "src/exec/cuda/inline_move.h"
#include "src/exec/cuda/lane.h"
#include "src/kernels/cuda/kernel_name.h"

namespace tutti::exec {

TUTTI_GPU DeviceSpan span_of(const PlanArgs& args, const DeviceStep& step, uint32_t tile) {
  if (step.signal != 0) return {0, 0};
  const uint64_t block =
      args.block_counts != nullptr ? gpu::load(args.block_counts + step.block) : args.block_count;
  uint64_t tile_elems = args.tile_elems;
  uint64_t chunk_elems = args.chunk_elems;
  if (args.transfers != nullptr) {
    tile_elems = chunk_elems = gpu::load(&args.transfers[step.block].chunk_bytes);
  }
  const uint64_t tile_begin = tile * tile_elems;
  const uint64_t whole_end = tile_begin + tile_elems;
  const uint64_t tile_end = block < whole_end ? block : whole_end;
  const uint64_t begin = tile_begin + static_cast<uint32_t>(step.chunk) * chunk_elems;
  if (begin >= tile_end) return {0, 0};
  const uint64_t left = tile_end - begin;
  return {begin, left < chunk_elems ? left : chunk_elems};
}

TUTTI_GPU uint32_t signature_of(const PlanArgs& args, const DeviceStep& step) {
  if (args.transfers == nullptr) return args.signature;
  return gpu::load(&args.transfers[step.block].signature);
}

TUTTI_GPU std::byte* local_operand(const Lane& lane, const Running& now, const DeviceOperand& o,
                                   uint32_t elem_bytes) {
  const PlanArgs& args = lane.args;
  if (o.kind == OperandKind::kScratch) {
    const uint64_t slot = uint64_t{now.tile % args.tiles_in_flight} * args.scratch_chunks +
                          static_cast<uint32_t>(o.chunk);
    return args.scratch + slot * args.chunk_elems * elem_bytes;
  }
  const bool input = o.kind == OperandKind::kInput;
  const uint64_t* offsets = input ? args.input_offsets : args.output_offsets;
  const auto position = static_cast<uint32_t>(o.block_position);
  const uint64_t block =
      offsets != nullptr ? gpu::load(offsets + position) : position * args.block_count;
  // The input is never a sink (the verifier proves it), so dropping const here writes nothing.
  std::byte* base = input ? const_cast<std::byte*>(args.input) : args.output;
  return base + (block + now.span.offset) * elem_bytes;
}

TUTTI_GPU Access access_of(const DeviceEndpoint& endpoint) {
  return static_cast<Access>(endpoint.protocol);
}
TUTTI_GPU std::byte* slot_of(const DeviceEndpoint& endpoint) {
  return endpoint.slots + endpoint.count % endpoint.n_slots * endpoint.slot_bytes;
}

TUTTI_GPU void resolve_source(const Lane& lane, const Running& now, const DeviceOperand& o,
                              uint32_t i, uint32_t elem_bytes) {
  LaneShared& s = lane.shared;
  s.source_access[i] = Access::kMemory;
  if (o.kind != OperandKind::kPeer) {
    s.move.sources[i] = local_operand(lane, now, o, elem_bytes);
    return;
  }
  const DeviceEndpoint& from = lane.endpoints()[o.endpoint];
  if (from.protocol == DeviceProtocol::kSimple) {
    uint32_t kind = 0;
    if (!wait_for_header(lane, from, now.signature, now.number, &kind)) return;
    s.move.sources[i] =
        bytes_of_message(lane, from, kind, now.span.count * elem_bytes, now.signature);
    return;
  }
  s.move.sources[i] = slot_of(from);
  s.source_access[i] = access_of(from);
  s.source_flag[i] = static_cast<uint32_t>(from.count + 1);
  s.source_peer[i] = from.peer;
}

TUTTI_GPU void resolve_sink(const Lane& lane, const Running& now, const DeviceOperand& o,
                            uint32_t i, uint32_t elem_bytes) {
  LaneShared& s = lane.shared;
  s.sink_access[i] = Access::kMemory;
  s.clean_bytes[i] = 0;
  if (o.kind != OperandKind::kPeer) {
    s.move.sinks[i] = local_operand(lane, now, o, elem_bytes);
    return;
  }
  DeviceEndpoint& to = lane.endpoints()[o.endpoint];
  s.move.sinks[i] = slot_of(to);
  s.sink_access[i] = access_of(to);
  s.sink_flag[i] = static_cast<uint32_t>(to.count + 1);
  if (to.protocol != DeviceProtocol::kSimple && to.count % kCleanPeriod < to.n_slots) {
    s.clean_bytes[i] = to.slot_bytes;
  }
  if (!wait_for_slot(lane, to, now.number)) return;
  if (to.protocol == DeviceProtocol::kLL) {
    ll_store_head(s.move.sinks[i], now.signature, s.sink_flag[i]);
  }
}

// Every operand and every wait by a thread of its own.
TUTTI_GPU void resolve(const Lane& lane, const Running& now, uint32_t elem_bytes) {
  LaneShared& s = lane.shared;
  const DeviceStep& step = now.step;
  const uint32_t n_operands = step.n_sources + step.n_sinks;
  for (uint32_t i = lane.team().rank; i < n_operands + step.n_waits; i += lane.team().count) {
    if (i < step.n_sources) {
      resolve_source(lane, now, lane.operand(step, i), i, elem_bytes);
    } else if (i < n_operands) {
      resolve_sink(lane, now, lane.operand(step, i), i - step.n_sources, elem_bytes);
    } else {
      const uint32_t at = (step.first_wait + i - n_operands) * sizeof(DeviceWait);
      const auto wait = lane.code_at<DeviceWait>(lane.shared.record.waits_offset + at);
      const uint32_t n_steps = gpu::load(&lane.args.lanes[wait.lane].n_steps);
      wait_for_count(lane, wait.lane, uint64_t{now.tile} * (n_steps + 1) + wait.step + 1,
                     now.number);
    }
  }
  if (lane.team().rank == 0) {
    s.now = now;
    s.move.bytes = now.span.count * elem_bytes;
    s.move.n_sources = step.n_sources;
    s.move.n_sinks = step.n_sinks;
    s.move.post = step.post != 0;
    uint64_t pre = 0;
    for (uint32_t i = 0; i < step.n_sources && lane.args.reduction.pre; ++i) {
      if (lane.operand(step, i).pre != 0) pre |= uint64_t{1} << i;
    }
    s.move.pre_mask = pre;
  }
}

// Slots of inline connections whose message is to be followed by empty lines.
TUTTI_GPU void clean(const Lane& lane, uint32_t signature) {
  const LaneShared& s = lane.shared;
  for (uint32_t i = 0; i < s.move.n_sinks; ++i) {
    if (s.clean_bytes[i] == 0) continue;
    if (s.sink_access[i] == Access::kLL) {
      ll_clean(lane, s.move.sinks[i], s.sink_flag[i], s.clean_bytes[i]);
    } else {
      ll128_clean(lane, s.move.sinks[i], s.sink_flag[i], signature, s.clean_bytes[i]);
    }
  }
}

// kInline: some operand may be of a connection with an inline protocol.
template <DType kType, bool kInline>
TUTTI_GPU void move_bytes(const Lane& lane, const Running& now) {
  const gpu::Move& m = lane.shared.move;
  const bool lines = kInline && lane.args.protocol == DeviceProtocol::kLL128;
  if (!lines) {
    if (m.n_sources == 0 || m.n_sinks == 0 || m.bytes == 0) return;
    // One's own block in place: a copy onto itself touches nothing.
    const bool onto_itself = m.n_sinks == 1 && m.sinks[0] == m.sources[0];
    if (onto_itself && gpu::is_copy(m, lane.args.reduction)) return;
  }
  if constexpr (kInline) {
    if (lines) {
      ll128_move<kType>(lane, now.signature, now.number);
    } else {
      ll_move<kType>(lane, now.number);
    }
    clean(lane, now.signature);
  } else {
    gpu::reduce_copy<kType>(m, reduction_of(lane), lane.team());
  }
}

// After the barrier that follows the move.
TUTTI_GPU void commit(const Lane& lane, const Running& now) {
  const DeviceStep& step = now.step;
  const uint32_t n_operands = step.n_sources + step.n_sinks;
  for (uint32_t i = lane.team().rank; i < n_operands; i += lane.team().count) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    const DeviceOperand o = lane.operand(step, i);
    if (o.kind != OperandKind::kPeer) continue;
    DeviceEndpoint& endpoint = lane.endpoints()[o.endpoint];
    if (i >= step.n_sources) {
      if (endpoint.protocol == DeviceProtocol::kSimple) {
        send_message(endpoint, now.signature, lane.shared.move.bytes);
      }
    } else {
      if (endpoint.protocol == DeviceProtocol::kLL &&
          !ll_check_head(lane, endpoint, slot_of(endpoint), now.signature, now.number)) {
        continue;
      }
      release_slot(endpoint);
    }
    ++endpoint.count;
  }
  if (lane.team().rank == 0 && step.awaited != 0) {
    publish(lane, uint64_t{now.tile} * (lane.shared.record.n_steps + 1) + now.number + 1);
  }
}

// A barrier of the block; true in all its threads when one of them has failed before it.
TUTTI_GPU bool stopped(const Lane& lane) { return gpu::block_barrier_or(lane.shared.stop != 0); }

template <DType kType, bool kInline>
TUTTI_GPU bool run_step(const Lane& lane, uint32_t number, uint32_t tile) {
  constexpr uint32_t kElemBytes = size_of(kType);
  Running now;
  now.step = lane.code_at<DeviceStep>(number * sizeof(DeviceStep));
  now.span = span_of(lane.args, now.step, tile);
  if (now.span.count == 0 && now.step.signal == 0) return true;  // both ends skip its messages
  now.number = number;
  now.tile = tile;
  now.signature = device_signature(signature_of(lane.args, now.step), now.span.count * kElemBytes);
  resolve(lane, now, kElemBytes);
  if (stopped(lane)) return false;
  move_bytes<kType, kInline>(lane, lane.shared.now);
  if (stopped(lane)) return false;
  commit(lane, lane.shared.now);
  return !stopped(lane);
}

// Scratch exists tiles_in_flight times: every lane must have left tile - tiles_in_flight.
TUTTI_GPU bool may_start_tile(const Lane& lane, uint32_t tile) {
  if (tile < lane.args.tiles_in_flight || lane.args.n_lanes == 1) return true;
  const uint64_t left = tile - lane.args.tiles_in_flight + 1;
  for (uint32_t i = lane.team().rank; i < lane.args.n_lanes; i += lane.team().count) {
    const uint32_t n_steps = gpu::load(&lane.args.lanes[i].n_steps);
    wait_for_count(lane, i, left * (n_steps + 1), 0);
  }
  return !stopped(lane);
}

TUTTI_GPU uint32_t messages_of(const Lane& lane, uint32_t number) {
  const auto step = lane.code_at<DeviceStep>(number * sizeof(DeviceStep));
  return gpu::load(&lane.args.transfers[step.block].n_messages);
}

// A plan: all steps of a tile, then the next tile. A group of transfers: all of a step, then the
// next step. One pair of loops for both, so that the code of a step is there once.
template <DType kType, bool kInline>
TUTTI_GPU bool run_tiles(const Lane& lane) {
  const bool by_step = lane.args.transfers != nullptr;
  const uint32_t n_steps = lane.shared.record.n_steps;
  const uint32_t n_outer = by_step ? n_steps : lane.args.n_tiles;
  for (uint32_t outer = 0; outer < n_outer; ++outer) {
    if (!by_step && !may_start_tile(lane, outer)) return false;
    const uint32_t n_inner = by_step ? messages_of(lane, outer) : n_steps;
    for (uint32_t inner = 0; inner < n_inner; ++inner) {
      const uint32_t step = by_step ? outer : inner;
      const uint32_t tile = by_step ? inner : outer;
      if (!run_step<kType, kInline>(lane, step, tile)) return false;
    }
    if (!by_step && lane.team().rank == 0 && lane.args.n_lanes != 1) {
      publish(lane, uint64_t{outer + 1} * (n_steps + 1));
    }
  }
  return true;
}

TUTTI_GPU DeviceEndpoint* endpoint_in_memory(const DeviceLane& record, uint32_t i) {
  const auto* pointers = reinterpret_cast<const uint64_t*>(record.endpoints);
  return reinterpret_cast<DeviceEndpoint*>(gpu::load(pointers + i));
}

// The endpoints, then as much of the code as there is room for.
TUTTI_GPU void fill_arena(const Lane& lane) {
  constexpr uint32_t kWords = sizeof(DeviceEndpoint) / sizeof(uint32_t);
  const DeviceLane& record = lane.shared.record;
  const gpu::Team team = lane.team();
  auto* to = reinterpret_cast<uint32_t*>(lane.endpoints());
  for (uint32_t i = team.rank; i < record.n_endpoints * kWords; i += team.count) {
    const DeviceEndpoint* from = endpoint_in_memory(record, i / kWords);
    to[i] = gpu::load(reinterpret_cast<const uint32_t*>(from) + i % kWords);
  }
  const auto* code = reinterpret_cast<const gpu::Vec16*>(record.code);
  auto* cached = reinterpret_cast<gpu::Vec16*>(lane.cached_code());
  for (uint32_t i = team.rank; i < lane.shared.cached_bytes / sizeof(gpu::Vec16); i += team.count) {
    cached[i] = gpu::load(code + i);
  }
}

// The lane has run all its tiles, or has failed.
TUTTI_GPU void finish(const Lane& lane) {
  for (uint32_t i = lane.team().rank; i < lane.shared.record.n_endpoints; i += lane.team().count) {
    TUTTI_PROOF_LOOP("counts", 0, 0);
    DeviceEndpoint* to = endpoint_in_memory(lane.shared.record, i);
    gpu::store(&to->count, lane.endpoints()[i].count);
    gpu::store(&to->seen_released, lane.endpoints()[i].seen_released);
  }
  gpu::block_barrier();
  if (lane.team().rank != 0) return;
  const gpu::Watch& watch = lane.args.watch;
  // The last one knows that all have read `epoch`; the next launch reads it.
  if (!gpu::note_block_end(watch, lane.args.n_lanes)) return;
  gpu::store_relaxed<Scope::kGpu>(&lane.args.state->epoch, lane.shared.epoch + 1);
  gpu::note_end(watch);
}

// One element, in the lowest bytes.
template <DType kType>
TUTTI_GPU uint64_t pre_of(const PlanArgs& args) {
  if (args.pre_scalar == nullptr) return args.reduction.scaling.pre;
  constexpr uint32_t kBytes = size_of(kType);
  const uint32_t granule = gpu::granule_of(gpu::address_of(args.pre_scalar) | kBytes);
  const gpu::Vec16 v = gpu::load_unit(args.pre_scalar, kBytes, granule);
  return uint64_t{v.y} << 32 | v.x;
}

template <DType kType>
TUTTI_GPU bool start(const Lane& lane) {
  LaneShared& s = lane.shared;
  if (lane.team().rank == 0) {
    s.record = load_record(lane.args.lanes + lane.index());
    s.epoch = gpu::load_relaxed<Scope::kGpu>(&lane.args.state->epoch);
    s.pre = pre_of<kType>(lane.args);
    const auto used = static_cast<uint32_t>(s.record.n_endpoints * sizeof(DeviceEndpoint));
    const uint32_t room = (lane.args.arena_bytes - used) / sizeof(gpu::Vec16) * sizeof(gpu::Vec16);
    s.cached_bytes = s.record.code_bytes < room ? s.record.code_bytes : room;
    // A launch that comes after one that has failed ends at once. The abort word, which is the
    // host's and a microsecond away, is for waits.
    s.stop = gpu::has_stopped(lane.args.watch) ? 1 : 0;
    gpu::store_volatile(lane.args.watch.reports + lane.index(), uint64_t{0});
    if (lane.index() == 0) gpu::note_begin(lane.args.watch);
  }
  gpu::block_barrier();
  fill_arena(lane);
  return !stopped(lane);
}

template <DType kType, bool kInline>
TUTTI_GPU void run_lane(const Lane& lane) {
  if (start<kType>(lane)) run_tiles<kType, kInline>(lane);
  finish(lane);
}

}  // namespace tutti::exec

TUTTI_DTYPE_KERNEL(tutti_plan_simple, tutti::exec::PlanArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::exec::LaneShared, shared);
  tutti::exec::run_lane<tutti::DType::TUTTI_KERNEL_DTYPE, false>({args, shared});
}

TUTTI_DTYPE_KERNEL(tutti_plan_inline, tutti::exec::PlanArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::exec::LaneShared, shared);
  tutti::exec::run_lane<tutti::DType::TUTTI_KERNEL_DTYPE, true>({args, shared});
}
