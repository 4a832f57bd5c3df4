// SPDX-License-Identifier: Apache-2.0
// Projects a verified plan on one rank: operands resolved to buffers and endpoints, lists
// flattened.
#include "src/exec/program.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace tutti::exec {
namespace {

using plan::Buffer;
using plan::Operand;

class Compiler {
 public:
  Compiler(const planner::VerifiedPlan& plan, Program& program)
      : verified_(plan), program_(program) {}

  void run() {
    const plan::RankProgram& source = verified_.plan.ranks[program_.rank];
    collect_outputs_read(source);
    for (const plan::Lane& lane : source.lanes) {
      program_.lanes.push_back(
          {static_cast<uint32_t>(program_.steps.size()), static_cast<uint32_t>(lane.steps.size())});
      for (const plan::Step& step : lane.steps) add_step(step);
    }
    program_.lanes.shrink_to_fit();
    program_.steps.shrink_to_fit();
    program_.operands.shrink_to_fit();
    program_.waits.shrink_to_fit();
    program_.send_peers.shrink_to_fit();
    program_.recv_peers.shrink_to_fit();
  }

 private:
  void collect_outputs_read(const plan::RankProgram& source) {
    for (const plan::Lane& lane : source.lanes) {
      for (const plan::Step& step : lane.steps) {
        for (const Operand& o : step.sources) {
          if (o.kind == Operand::Kind::kChunk && o.buffer == Buffer::kOutput)
            outputs_read_.insert(o.index);
        }
      }
    }
  }

  void add_step(const plan::Step& step) {
    CompiledStep out;
    out.signal = step.extent == plan::kNoExtent;
    if (!out.signal) {
      const int32_t k = program_.shape.chunks_per_block;
      out.block = block_index(program_.shape, program_.rank, step.extent / k);
      out.chunk = step.extent % k;
    }
    out.post = step.post;
    out.first_source = static_cast<uint32_t>(program_.operands.size());
    out.n_sources = static_cast<uint16_t>(step.sources.size());
    for (const Operand& o : step.sources) add_operand(o, /*is_sink=*/false);
    out.first_sink = static_cast<uint32_t>(program_.operands.size());
    out.n_sinks = static_cast<uint16_t>(step.sinks.size());
    for (const Operand& o : step.sinks) add_operand(o, /*is_sink=*/true);
    out.first_wait = static_cast<uint32_t>(program_.waits.size());
    out.n_waits = static_cast<uint16_t>(step.waits.size());
    program_.waits.insert(program_.waits.end(), step.waits.begin(), step.waits.end());
    program_.most_sources = std::max(program_.most_sources, out.n_sources);
    program_.most_sinks = std::max(program_.most_sinks, out.n_sinks);
    program_.steps.push_back(out);
  }

  void add_operand(const Operand& o, bool is_sink) {
    CompiledOperand out;
    out.pre = o.pre;
    if (o.kind == Operand::Kind::kPeer) {
      out.kind = CompiledOperand::Kind::kPeer;
      out.endpoint = endpoint_of(o, is_sink);
    } else if (o.buffer == Buffer::kScratch) {
      out.kind = CompiledOperand::Kind::kScratch;
      out.chunk = o.index;
    } else {
      out.kind = o.buffer == Buffer::kInput ? CompiledOperand::Kind::kInput
                                            : CompiledOperand::Kind::kOutput;
      out.block_position = o.index / program_.shape.chunks_per_block;
      out.chunk = o.index % program_.shape.chunks_per_block;
      out.never_read_back =
          is_sink && o.buffer == Buffer::kOutput && !outputs_read_.contains(o.index);
    }
    program_.operands.push_back(out);
  }

  uint16_t endpoint_of(const Operand& o, bool is_sink) {
    auto& known = is_sink ? send_index_ : recv_index_;
    auto& list = is_sink ? program_.send_peers : program_.recv_peers;
    const auto [it, added] =
        known.try_emplace({o.index, o.channel}, static_cast<uint16_t>(list.size()));
    if (added) list.push_back(make_endpoint(o, is_sink));
    return it->second;
  }

  Endpoint make_endpoint(const Operand& o, bool is_sink) const {
    Endpoint endpoint{o.index, o.channel};
    if (!is_sink) return endpoint;
    for (const verify::ConnectionVerdict& c : verified_.verdict.connections) {
      if (c.source_rank == program_.rank && c.sink_rank == o.index && c.channel == o.channel) {
        endpoint.reference_safe_out_of_place = c.reference_safe_out_of_place;
        endpoint.reference_safe_in_place = c.reference_safe_in_place;
      }
    }
    return endpoint;
  }

  const planner::VerifiedPlan& verified_;
  Program& program_;
  std::set<int32_t> outputs_read_;
  std::map<std::pair<int32_t, int32_t>, uint16_t> send_index_;
  std::map<std::pair<int32_t, int32_t>, uint16_t> recv_index_;
};

struct ListSizes {
  size_t lanes = 0, steps = 0, operands = 0, waits = 0, endpoints = 0;
};

size_t bytes_of(const ListSizes& sizes) noexcept {
  return sizeof(Program) + sizes.lanes * sizeof(CompiledLane) + sizes.steps * sizeof(CompiledStep) +
         sizes.operands * sizeof(CompiledOperand) + sizes.waits * sizeof(plan::Wait) +
         sizes.endpoints * sizeof(Endpoint);
}

}  // namespace

int32_t block_index(const plan::Shape& shape, int32_t rank, int32_t block) noexcept {
  if (shape.collective != plan::Collective::kAllToAll) return block;
  const int32_t source = block / shape.n_ranks;
  const int32_t sink = block % shape.n_ranks;
  return source == rank ? sink : shape.n_ranks + source;
}

Program compile(std::shared_ptr<const planner::VerifiedPlan> plan, int32_t rank) {
  Program program;
  program.shape = plan->plan.shape;
  program.rank = rank;
  program.tiles_in_flight = plan->plan.tiles_in_flight;
  program.scratch_chunks = plan->plan.ranks[rank].scratch_chunks;
  Compiler(*plan, program).run();
  program.plan = std::move(plan);
  return program;
}

Footprint footprint(const planner::VerifiedPlan& plan, int32_t rank) {
  const plan::RankProgram& source = plan.plan.ranks[rank];
  Footprint found{.scratch_chunks = source.scratch_chunks,
                  .tiles_in_flight = plan.plan.tiles_in_flight};
  std::set<std::pair<int32_t, int32_t>> recv_peers;
  ListSizes sizes{.lanes = source.lanes.size()};
  const auto count_peers = [](const std::vector<Operand>& operands, auto& peers) {
    for (const Operand& o : operands) {
      if (o.kind == Operand::Kind::kPeer) peers.emplace(o.index, o.channel);
    }
  };
  for (const plan::Lane& lane : source.lanes) {
    sizes.steps += lane.steps.size();
    for (const plan::Step& step : lane.steps) {
      sizes.operands += step.sources.size() + step.sinks.size();
      sizes.waits += step.waits.size();
      count_peers(step.sources, recv_peers);
      count_peers(step.sinks, found.send_peers);
      found.most_sources = std::max(found.most_sources, static_cast<uint16_t>(step.sources.size()));
    }
  }
  sizes.endpoints = found.send_peers.size() + recv_peers.size();
  found.program_bytes = bytes_of(sizes);
  return found;
}

size_t program_bytes(const Program& program) noexcept {
  return bytes_of({.lanes = program.lanes.size(),
                   .steps = program.steps.size(),
                   .operands = program.operands.size(),
                   .waits = program.waits.size(),
                   .endpoints = program.send_peers.size() + program.recv_peers.size()});
}

}  // namespace tutti::exec
