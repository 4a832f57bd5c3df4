// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/host_run.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <tuple>

namespace tutti::test {
namespace {

using plan::Buffer;
using plan::Operand;
using Bytes = std::vector<std::byte>;

class HostRun {
 public:
  HostRun(const plan::Plan& plan, const HostCall& call, const std::vector<Bytes>& inputs)
      : plan_(plan), call_(call), elem_(size_of(call.dtype)), inputs_(inputs) {
    for (int r = 0; r < plan.shape.n_ranks; ++r) {
      outputs_.emplace_back(buffer_bytes(plan, r, Buffer::kOutput, call));
      scratch_.emplace_back(static_cast<size_t>(plan.ranks[r].scratch_chunks) *
                            call.tiling.chunk_elems * elem_);
    }
  }

  // One tile after the other, so that scratch is needed once.
  std::vector<Bytes> run() {
    for (uint32_t tile = 0; tile < call_.tiling.n_tiles; ++tile) run_tile(tile);
    return outputs_;
  }

 private:
  void run_tile(uint32_t tile) {
    done_.assign(plan_.ranks.size(), {});
    size_t left = 0;
    for (size_t r = 0; r < plan_.ranks.size(); ++r) {
      done_[r].resize(plan_.ranks[r].lanes.size());
      for (const plan::Lane& lane : plan_.ranks[r].lanes) left += lane.steps.size();
    }
    while (left != 0) {
      size_t ran = 0;
      for (size_t r = 0; r < plan_.ranks.size(); ++r) {
        for (size_t l = 0; l < done_[r].size(); ++l) ran += run_lane(static_cast<int>(r), l, tile);
      }
      if (ran == 0) std::abort();  // the verifier has proved that this does not happen
      left -= ran;
    }
  }

  size_t run_lane(int rank, size_t lane, uint32_t tile) {
    const auto& steps = plan_.ranks[rank].lanes[lane].steps;
    size_t ran = 0;
    for (size_t& next = done_[rank][lane]; next < steps.size(); ++next, ++ran) {
      if (!run_step(rank, steps[next], tile)) break;
    }
    return ran;
  }

  bool run_step(int rank, const plan::Step& step, uint32_t tile) {
    for (const plan::Wait& wait : step.waits) {
      if (done_[rank][wait.lane] <= wait.step) return false;
    }
    const auto [offset, count] = span_of(step, tile);
    if (count == 0 && step.extent != plan::kNoExtent) return true;
    for (const Operand& o : step.sources) {
      if (o.kind == Operand::Kind::kPeer && messages_[{o.index, rank, o.channel}].empty())
        return false;
    }
    std::vector<kernels::Source> sources;
    for (const Operand& o : step.sources) {
      const std::byte* data = o.kind == Operand::Kind::kPeer
                                  ? messages_[{o.index, rank, o.channel}].front().data()
                                  : local(rank, o, offset);
      sources.push_back({data, o.pre});
    }
    std::vector<kernels::Sink> sinks;
    for (const Operand& o : step.sinks) {
      if (o.kind == Operand::Kind::kPeer) {
        auto& queue = messages_[{rank, o.index, o.channel}];
        queue.emplace_back(count * elem_);
        sinks.push_back({queue.back().data()});
      } else {
        sinks.push_back({local(rank, o, offset)});
      }
    }
    if (!sources.empty() && !sinks.empty() && count != 0) move(step, sources, sinks, count);
    for (const Operand& o : step.sources) {
      if (o.kind == Operand::Kind::kPeer) messages_[{o.index, rank, o.channel}].pop_front();
    }
    return true;
  }

  void move(const plan::Step& step, const std::vector<kernels::Source>& sources,
            const std::vector<kernels::Sink>& sinks, size_t count) const {
    kernels::reduce_copy_for(call_.dtype, call_.op)({.sources = sources.data(),
                                                     .n_sources = sources.size(),
                                                     .sinks = sinks.data(),
                                                     .n_sinks = sinks.size(),
                                                     .count = count,
                                                     .post = step.post,
                                                     .scaling = &call_.scaling});
  }

  std::pair<size_t, size_t> span_of(const plan::Step& step, uint32_t tile) const {
    if (step.extent == plan::kNoExtent) return {0, 0};
    const exec::Tiling& tiling = call_.tiling;
    const auto chunk = static_cast<size_t>(step.extent % plan_.shape.chunks_per_block);
    const size_t begin = tile * tiling.tile_elems + chunk * tiling.chunk_elems;
    const size_t end = std::min(call_.block_count, (tile + 1) * tiling.tile_elems);
    if (begin >= end) return {0, 0};
    return {begin, std::min(end - begin, tiling.chunk_elems)};
  }

  std::byte* local(int rank, const Operand& o, size_t offset) {
    if (o.buffer == Buffer::kScratch) {
      return scratch_[rank].data() +
             static_cast<size_t>(o.index) * call_.tiling.chunk_elems * elem_;
    }
    const auto block = static_cast<size_t>(o.index / plan_.shape.chunks_per_block);
    std::byte* base = o.buffer == Buffer::kOutput ? outputs_[rank].data()
                                                  : const_cast<std::byte*>(inputs_[rank].data());
    return base + (block * call_.block_count + offset) * elem_;
  }

  const plan::Plan& plan_;
  const HostCall& call_;
  const size_t elem_;
  const std::vector<Bytes>& inputs_;
  std::vector<Bytes> outputs_;
  std::vector<Bytes> scratch_;
  std::vector<std::vector<size_t>> done_;
  std::map<std::tuple<int, int, int>, std::deque<Bytes>> messages_;
};

}  // namespace

size_t buffer_bytes(const plan::Plan& plan, int rank, Buffer buffer, const HostCall& call) {
  return static_cast<size_t>(plan::blocks_in(plan.shape, rank, buffer)) * call.block_count *
         size_of(call.dtype);
}

std::vector<Bytes> host_run(const plan::Plan& plan, const HostCall& call,
                            const std::vector<Bytes>& inputs) {
  return HostRun(plan, call, inputs).run();
}

}  // namespace tutti::test
