// SPDX-License-Identifier: Apache-2.0
// Plan to MSCCL's XML: a step with more operands than MSCCL's steps have becomes several.
//
// What a lane does stays in order: each step waits for the one before it when that is in another
// thread block. A wide reduction collects in scratch and writes its sink last, because in place the
// sink may be one of its sources, or still be read by others until the last message has come.
#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include <pugixml.hpp>

#include "src/base/error.h"
#include "src/plan/msccl_schedule.h"
#include "src/plan/msccl_xml.h"
#include "src/plan/switch_channels.h"

namespace tutti::plan {
namespace {

using msccl::Block;
using msccl::kNone;
using msccl::Place;
using msccl::ScheduleStep;
using msccl::StepType;
using Operands = std::vector<Operand>;

bool is_peer(const Operand& operand) { return operand.kind == Operand::Kind::kPeer; }
Place place_of(const Operand& chunk) { return {name(chunk.buffer)[0], chunk.index}; }

// Takes the peers out of a list.
Operands peers_of(const Operands& operands) {
  Operands peers;
  std::copy_if(operands.begin(), operands.end(), std::back_inserter(peers), is_peer);
  return peers;
}
Operands chunks_of(const Operands& operands) {
  Operands chunks;
  std::remove_copy_if(operands.begin(), operands.end(), std::back_inserter(chunks), is_peer);
  return chunks;
}

// One rank's lanes as thread blocks.
class RankLowering {
 public:
  RankLowering(const RankProgram& program, msccl::Gpu* gpu) : program_(program), gpu_(*gpu) {
    gpu_.scratch_chunks = program.scratch_chunks;
  }

  void run() {
    for (lane_ = 0; lane_ < program_.lanes.size(); ++lane_) {
      last_.reset();
      local_block_.reset();
      accumulator_.reset();
      const std::vector<Step>& steps = program_.lanes[lane_].steps;
      for (uint32_t i = 0; i < steps.size(); ++i) {
        waits_ = steps[i].waits;
        lower(steps[i]);
        ends_[{lane_, i}] = *last_;
      }
    }
    for (const auto& [from, wait] : open_waits_) depend(from, ends_.at({wait.lane, wait.step}));
  }

 private:
  // A step of a thread block.
  struct At {
    size_t block = 0;
    size_t step = 0;
  };

  void lower(const Step& step) {
    Operands sources = step.sources;
    Operands chunks = chunks_of(step.sinks);
    Operands peers = peers_of(step.sinks);
    const size_t from_peers = peers_of(sources).size();
    const bool one_step = sources.size() == 1 || (sources.size() == 2 && from_peers == 1);
    if (sources.size() == 1 && from_peers == 0) {
      lower_copy(sources[0], chunks, peers);
    } else if (one_step) {
      if (!is_peer(sources[0])) std::swap(sources[0], sources[1]);
      lower_receive(sources, chunks, peers);
    } else {
      lower_fold(sources, chunks, peers);
    }
  }

  void lower_copy(const Operand& source, const Operands& chunks, const Operands& peers) {
    Place base = place_of(source);
    if (!chunks.empty()) {
      local(StepType::kCopy, base, place_of(chunks[0]));
      base = place_of(chunks[0]);
    }
    spread(base, chunks, peers);
  }

  // sources: a peer, and maybe a chunk.
  void lower_receive(const Operands& sources, const Operands& chunks, Operands peers) {
    const bool reduces = sources.size() == 2;
    const Operand* to = !peers.empty() && joined(sources[0], peers[0]) ? &peers[0] : nullptr;
    const bool stores = !reduces || !chunks.empty() || peers.size() != 1 || to == nullptr;
    const Place src = reduces ? place_of(sources[1]) : Place{};
    const Place base = !stores ? Place{} : chunks.empty() ? accumulator() : place_of(chunks[0]);
    StepType type = reduces ? StepType::kRecvReduceCopy : StepType::kRecv;
    if (to != nullptr) {
      type = !reduces ? StepType::kRecvCopySend
             : stores ? StepType::kRecvReduceCopySend
                      : StepType::kRecvReduceSend;
    }
    append(block_of(&sources[0], to), {.type = type, .src = src, .dst = base, .count = 1});
    if (to != nullptr) peers.erase(peers.begin());
    if (stores) spread(base, chunks, peers);
  }

  void lower_fold(const Operands& sources, const Operands& chunks, const Operands& peers) {
    const Place sum = accumulator();
    for (size_t i = 0; i < sources.size(); ++i) {
      const bool last = i + 1 == sources.size();
      const Place into = last && !chunks.empty() ? place_of(chunks[0]) : sum;
      if (!is_peer(sources[i])) {
        local(i == 0 ? StepType::kCopy : StepType::kReduce, place_of(sources[i]), sum);
        if (into != sum) local(StepType::kCopy, sum, into);
      } else {
        const StepType type = i == 0 ? StepType::kRecv : StepType::kRecvReduceCopy;
        append(block_of(&sources[i], nullptr), {.type = type, .src = sum, .dst = into, .count = 1});
      }
    }
    spread(chunks.empty() ? sum : place_of(chunks[0]), chunks, peers);
  }

  // From `base`, which is chunks[0] if there is one, to the other sinks.
  void spread(const Place& base, const Operands& chunks, const Operands& peers) {
    for (size_t i = 1; i < chunks.size(); ++i) local(StepType::kCopy, base, place_of(chunks[i]));
    for (const Operand& peer : peers)
      append(block_of(nullptr, &peer), {.type = StepType::kSend, .src = base, .count = 1});
  }

  // A scratch chunk of this lane, which has one sum under way at a time.
  Place accumulator() {
    if (!accumulator_) accumulator_ = Place{'s', gpu_.scratch_chunks++};
    return *accumulator_;
  }

  // May both ends of connections be in one block? Each is in one only, and a block has one channel.
  bool joined(const Operand& from, const Operand& to) const {
    if (from.channel != to.channel) return false;
    const auto recv = recv_block_.find({from.index, from.channel});
    const auto send = send_block_.find({to.index, to.channel});
    if (recv == recv_block_.end() && send == send_block_.end()) return true;
    if (recv != recv_block_.end() && send != send_block_.end()) return recv->second == send->second;
    const Block& one = gpu_.blocks[recv != recv_block_.end() ? recv->second : send->second];
    return recv != recv_block_.end() ? one.send == kNone : one.recv == kNone;
  }

  size_t new_block() {
    gpu_.blocks.emplace_back();
    return gpu_.blocks.size() - 1;
  }

  // The block with these ends; where both are given they are joined().
  size_t block_of(const Operand* from, const Operand* to) {
    std::optional<size_t> block;
    if (from != nullptr) {
      const auto it = recv_block_.find({from->index, from->channel});
      if (it != recv_block_.end()) block = it->second;
    }
    if (to != nullptr && !block) {
      const auto it = send_block_.find({to->index, to->channel});
      if (it != send_block_.end()) block = it->second;
    }
    if (!block) block = new_block();
    Block& found = gpu_.blocks[*block];
    if (from != nullptr) {
      found.recv = from->index;
      found.channel = from->channel;
      recv_block_[{from->index, from->channel}] = *block;
    }
    if (to != nullptr) {
      found.send = to->index;
      found.channel = to->channel;
      send_block_[{to->index, to->channel}] = *block;
    }
    return *block;
  }

  // A step without messages runs where the lane is; a block may hold any.
  void local(StepType type, const Place& src, const Place& dst) {
    if (!last_ && !local_block_) local_block_ = new_block();
    append(last_ ? last_->block : *local_block_,
           {.type = type, .src = src, .dst = dst, .count = 1});
  }

  // Adds a step after all that the lane has done, and after the waits of the plan's step. A step
  // waits for one other; nops wait for the rest.
  void append(size_t block, ScheduleStep step) {
    std::vector<ScheduleStep>& steps = gpu_.blocks[block].steps;
    const bool elsewhere = last_ && last_->block != block;
    size_t nops = waits_.size() + (elsewhere ? 1 : 0);
    nops = nops == 0 ? 0 : nops - 1;
    const size_t first = steps.size();
    steps.insert(steps.end(), nops, ScheduleStep{});
    steps.push_back(step);
    size_t at = first;
    for (const Wait& wait : waits_) open_waits_.push_back({{block, at++}, wait});
    if (elsewhere) depend({block, at}, *last_);
    waits_.clear();
    last_ = At{block, steps.size() - 1};
  }

  void depend(const At& later, const At& earlier) {
    ScheduleStep& step = gpu_.blocks[later.block].steps[later.step];
    step.dep_block = static_cast<int32_t>(earlier.block);
    step.dep_step = static_cast<int32_t>(earlier.step);
    gpu_.blocks[earlier.block].steps[earlier.step].has_dependent = true;
  }

  using End = std::pair<int32_t, int32_t>;  // peer, channel

  const RankProgram& program_;
  msccl::Gpu& gpu_;
  std::map<End, size_t> recv_block_;
  std::map<End, size_t> send_block_;
  std::map<std::pair<uint32_t, uint32_t>, At> ends_;  // by lane and step of the plan
  std::vector<std::pair<At, Wait>> open_waits_;
  // Of the lane under way.
  uint32_t lane_ = 0;
  std::vector<Wait> waits_;  // of the plan's step, until its first step here is made
  std::optional<At> last_;
  std::optional<size_t> local_block_;
  std::optional<Place> accumulator_;
};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "MSCCL XML can't express this plan: " + what);
}

const char* collective_name(const Plan& plan) {
  for (const msccl::CollectiveName& entry : msccl::kCollectives) {
    if (entry.collective == plan.shape.collective) return entry.name;
  }
  refuse(std::string("it has no ") + name(plan.shape.collective));
}

void check_expressible(const Plan& plan) {
  check_well_formed(plan);
  if (!plan.switch_channels.empty())
    refuse("it has sums or copies in a switch (" + to_text(plan.switch_channels.front()) + ")");
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    for (const Lane& lane : plan.ranks[rank].lanes) {
      for (const Step& step : lane.steps) {
        if (step.extent == kNoExtent) refuse("rank " + std::to_string(rank) + " has a signal");
      }
    }
  }
}

void write_place(pugi::xml_node node, const char* buffer, const char* offset, const Place& place) {
  node.append_attribute(buffer) = std::string(1, place.buffer).c_str();
  node.append_attribute(offset) = place.offset;
}

void write_step(pugi::xml_node block, size_t index, const ScheduleStep& step) {
  pugi::xml_node node = block.append_child("step");
  node.append_attribute("s") = static_cast<unsigned>(index);
  node.append_attribute("type") = msccl::row(step.type).name;
  write_place(node, "srcbuf", "srcoff", step.src);
  write_place(node, "dstbuf", "dstoff", step.dst);
  node.append_attribute("cnt") = step.count;
  node.append_attribute("depid") = step.dep_block;
  node.append_attribute("deps") = step.dep_step;
  node.append_attribute("hasdep") = step.has_dependent ? 1 : 0;
}

void write_gpu(pugi::xml_node algo, size_t rank, const msccl::Gpu& gpu, const Shape& shape) {
  pugi::xml_node node = algo.append_child("gpu");
  node.append_attribute("id") = static_cast<unsigned>(rank);
  node.append_attribute("i_chunks") = msccl::capacity(shape, 'i');
  node.append_attribute("o_chunks") = msccl::capacity(shape, 'o');
  node.append_attribute("s_chunks") = gpu.scratch_chunks;
  for (size_t i = 0; i < gpu.blocks.size(); ++i) {
    pugi::xml_node block = node.append_child("tb");
    block.append_attribute("id") = static_cast<unsigned>(i);
    block.append_attribute("send") = gpu.blocks[i].send;
    block.append_attribute("recv") = gpu.blocks[i].recv;
    block.append_attribute("chan") = gpu.blocks[i].channel;
    for (size_t s = 0; s < gpu.blocks[i].steps.size(); ++s)
      write_step(block, s, gpu.blocks[i].steps[s]);
  }
}

void write_algo(pugi::xml_node algo, const Plan& plan, const char* collective) {
  const Shape& shape = plan.shape;
  algo.append_attribute("name") = plan.algorithm.c_str();
  algo.append_attribute("proto") = "Simple";
  algo.append_attribute("nchannels") = plan.channels;
  algo.append_attribute("nchunksperloop") =
      std::max(msccl::capacity(shape, 'i'), msccl::capacity(shape, 'o'));
  algo.append_attribute("ngpus") = shape.n_ranks;
  algo.append_attribute("coll") = collective;
  if (has_root(shape.collective)) algo.append_attribute("root") = shape.root;
  algo.append_attribute("inplace") = shape.collective == Collective::kAllToAll ? 0 : 1;
  algo.append_attribute("outofplace") = 1;
  algo.append_attribute("minBytes") = 0;
  algo.append_attribute("maxBytes") = 0;
}

}  // namespace

std::string to_msccl_xml(const Plan& plan) {
  const char* collective = collective_name(plan);
  check_expressible(plan);
  pugi::xml_document document;
  pugi::xml_node algo = document.append_child("algo");
  write_algo(algo, plan, collective);
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
    msccl::Gpu gpu;
    RankLowering(plan.ranks[rank], &gpu).run();
    write_gpu(algo, rank, gpu, plan.shape);
  }
  std::ostringstream text;
  document.save(text, "  ", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

}  // namespace tutti::plan
