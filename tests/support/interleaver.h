// SPDX-License-Identifier: Apache-2.0
// Runs a plan on expressions under one random interleaving: what the verifier is measured against.
// Shares nothing with src/verify but the definition of the plan.
//
// A value is a multiset of terms; a term is one rank's input of one tile, a term scaled by a rank
// (`pre`) or a finished sum (`post`), all interned, so that equal values have equal terms. A step
// takes time: it reads when it starts and writes when it ends, and in between it holds its chunks.
// Whoever touches a chunk that another step is writing, or writes one that another step is reading,
// races.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::testing {

struct Interleaving {
  uint64_t seed = 0;
  int32_t tiles = 2;
  int32_t slots = 1;
  bool some_chunks_empty = false;  // empty chunks are neither sent nor written
  // May messages of this connection refer to the sender's chunk? Null: all are copies.
  std::function<bool(int32_t source, int32_t sink, int32_t channel, bool in_place)> by_reference;
};

class Interleaver {
 public:
  Interleaver(const plan::Plan& plan, Interleaving how)
      : plan_(plan), how_(std::move(how)), random_(how_.seed) {
    if (plan.shape.collective == plan::Collective::kBarrier) how_.tiles = 1;
    for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) add_rank(rank);
    for (int32_t tile = 0; tile < how_.tiles; ++tile)
      for (int32_t e = 0; e < extent_count(plan.shape); ++e)
        empty_.push_back(how_.some_chunks_empty && random_() % 3 == 0);
    for (Lane& lane : lanes_) lane.eagerness = random_() % 4;
  }

  // What went wrong; empty when nothing did.
  std::string run() {
    while (fault_.empty() && act()) {
    }
    if (fault_.empty() && std::any_of(lanes_.begin(), lanes_.end(),
                                      [&](const Lane& lane) { return !finished(lane); }))
      fault_ = "deadlock";
    for (const auto& [key, fifo] : fifos_)
      if (fault_.empty() && !fifo.empty()) fault_ = "left over";
    for (int32_t rank = 0; rank < plan_.shape.n_ranks && fault_.empty(); ++rank) check_rank(rank);
    return fault_;
  }

 private:
  using Operand = plan::Operand;
  using Value = std::vector<uint32_t>;  // terms, sorted
  struct Cell {
    Value value;
    int readers = 0;
    int writers = 0;
  };
  struct Message {
    int32_t extent = 0;
    Value value;
    Cell* cell = nullptr;  // where the data is, when the message is a reference
  };
  struct Lane {
    int32_t rank = 0;
    uint32_t index = 0;
    int32_t tile = 0;
    uint32_t step = 0;
    bool running = false;
    uint64_t eagerness = 0;
    Value result;
    std::vector<Cell*> reads, writes;
  };
  struct Rank {
    bool in_place = false;
    bool entered = false;
    std::vector<Cell> input, output, scratch;  // tile by tile; scratch by tile in flight
    std::vector<int32_t> shared;  // by output chunk: the input chunk it is, -1 for none
    int32_t inputs = 0, outputs = 0, scratches = 0;
  };

  enum class Kind : uint8_t { kInput, kGarbage, kPre, kPost };
  uint32_t term(Kind kind, int32_t a, int32_t b, int32_t c, const Value& of = {}) {
    const auto id = static_cast<uint32_t>(terms_.size());
    return terms_.try_emplace({kind, a, b, c, of}, id).first->second;
  }
  Value garbage() { return {term(Kind::kGarbage, garbage_++, 0, 0)}; }

  int32_t chunks(int32_t rank, plan::Buffer buffer) const {
    return blocks_in(plan_.shape, rank, buffer) * plan_.shape.chunks_per_block;
  }

  void add_rank(int32_t rank) {
    const plan::Shape& shape = plan_.shape;
    Rank r;
    r.in_place = random_() % 2 == 0 && shape.collective != plan::Collective::kAllToAll;
    r.inputs = chunks(rank, plan::Buffer::kInput);
    r.outputs = chunks(rank, plan::Buffer::kOutput);
    r.scratches = plan_.ranks[rank].scratch_chunks;
    for (int32_t tile = 0; tile < how_.tiles; ++tile)
      for (int32_t i = 0; i < r.inputs; ++i)
        r.input.push_back({input_of(rank, extent_of(shape, rank, plan::Buffer::kInput, i), tile)});
    for (int32_t i = 0; i < how_.tiles * r.outputs; ++i) r.output.push_back({garbage()});
    for (int32_t i = 0; i < plan_.tiles_in_flight * r.scratches; ++i)
      r.scratch.push_back({garbage()});
    for (int32_t o = 0; o < r.outputs; ++o) r.shared.push_back(r.in_place ? twin(rank, o) : -1);
    ranks_.push_back(std::move(r));
    for (uint32_t i = 0; i < plan_.ranks[rank].lanes.size(); ++i)
      lanes_.push_back({.rank = rank, .index = i});
  }

  int32_t twin(int32_t rank, int32_t output) const {
    const int32_t extent = extent_of(plan_.shape, rank, plan::Buffer::kOutput, output);
    for (int32_t i = 0; i < chunks(rank, plan::Buffer::kInput); ++i)
      if (extent_of(plan_.shape, rank, plan::Buffer::kInput, i) == extent) return i;
    return -1;
  }

  Value input_of(int32_t rank, int32_t extent, int32_t tile) {
    return {term(Kind::kInput, rank, extent, tile)};
  }

  const std::vector<plan::Step>& steps(const Lane& lane) const {
    return plan_.ranks[lane.rank].lanes[lane.index].steps;
  }
  bool finished(const Lane& lane) const { return lane.tile >= how_.tiles || steps(lane).empty(); }
  bool elided(const Lane& lane, const plan::Step& step) const {
    return step.extent != plan::kNoExtent &&
           empty_[lane.tile * extent_count(plan_.shape) + step.extent];
  }

  Cell* cell(const Lane& lane, const Operand& chunk) {
    Rank& rank = ranks_[lane.rank];
    if (chunk.buffer == plan::Buffer::kScratch)
      return &rank.scratch[lane.tile % plan_.tiles_in_flight * rank.scratches + chunk.index];
    const bool is_input = chunk.buffer == plan::Buffer::kInput;
    const int32_t twin = is_input ? chunk.index : rank.shared[chunk.index];
    return twin >= 0 ? &rank.input[lane.tile * rank.inputs + twin]
                     : &rank.output[lane.tile * rank.outputs + chunk.index];
  }

  bool past(const Lane& lane, int32_t tile, uint32_t step) const {
    return finished(lane) || lane.tile > tile || (lane.tile == tile && lane.step > step);
  }

  std::deque<Message>& fifo(int32_t source, int32_t sink, int32_t channel) {
    return fifos_[{source, sink, channel}];
  }

  bool can_start(const Lane& lane, const plan::Step& step) {
    for (const Lane& other : lanes_) {
      if (other.rank != lane.rank) continue;
      if (!finished(other) && other.tile <= lane.tile - plan_.tiles_in_flight) return false;
      for (const plan::Wait& wait : step.waits)
        if (other.index == wait.lane && !past(other, lane.tile, wait.step)) return false;
    }
    if (elided(lane, step)) return true;
    for (const Operand& o : step.sources)
      if (o.kind == Operand::Kind::kPeer && fifo(o.index, lane.rank, o.channel).empty())
        return false;
    for (const Operand& o : step.sinks)
      if (o.kind == Operand::Kind::kPeer &&
          fifo(lane.rank, o.index, o.channel).size() >= static_cast<size_t>(how_.slots))
        return false;
    return true;
  }

  // Starts or ends a step of some lane; false when no lane can move. Steps that are running end
  // late, so that others meet them; lanes differ in how eager they are.
  bool act() {
    const size_t first = random_() % std::max<size_t>(lanes_.size(), 1);
    for (const bool hurry : {false, true}) {
      for (size_t i = 0; i < lanes_.size(); ++i) {
        Lane& lane = lanes_[(first + i) % lanes_.size()];
        if (finished(lane)) continue;
        const plan::Step& step = steps(lane)[lane.step];
        if (lane.running ? !hurry && random_() % 4 != 0
                         : (!hurry && random_() % 4 < lane.eagerness) || !can_start(lane, step))
          continue;
        lane.running ? end(lane, step) : start(lane, step);
        return true;
      }
    }
    return false;
  }

  void start(Lane& lane, const plan::Step& step) {
    ranks_[lane.rank].entered = true;
    lane.running = true;
    lane.reads.clear();
    lane.writes.clear();
    if (elided(lane, step) || step.extent == plan::kNoExtent) return;
    lane.result.clear();
    for (const Operand& source : step.sources) {
      const Value value = read(lane, step, source);
      lane.result.insert(lane.result.end(), value.begin(), value.end());
    }
    std::sort(lane.result.begin(), lane.result.end());
    if (step.post) lane.result = {term(Kind::kPost, 0, 0, 0, lane.result)};
    for (const Operand& sink : step.sinks) {
      if (sink.kind != Operand::Kind::kChunk || copies_onto_itself(lane, step, sink)) continue;
      lane.writes.push_back(cell(lane, sink));
    }
    hold(lane);
  }

  Value read(Lane& lane, const plan::Step& step, const Operand& source) {
    Value value;
    if (source.kind == Operand::Kind::kPeer) {
      const Message& message = fifo(source.index, lane.rank, source.channel).front();
      if (message.extent != step.extent) fault_ = "another size";
      value = message.cell != nullptr ? message.cell->value : message.value;
      if (message.cell != nullptr) lane.reads.push_back(message.cell);
    } else {
      lane.reads.push_back(cell(lane, source));
      value = lane.reads.back()->value;
    }
    return source.pre ? Value{term(Kind::kPre, lane.rank, 0, 0, value)} : value;
  }

  bool copies_onto_itself(const Lane& lane, const plan::Step& step, const Operand& sink) {
    return step.sources.size() == 1 && !step.post && !step.sources[0].pre &&
           step.sources[0].kind == Operand::Kind::kChunk &&
           cell(lane, step.sources[0]) == cell(lane, sink);
  }

  void hold(Lane& lane) {
    for (Cell* c : lane.reads) ++c->readers;
    for (Cell* c : lane.writes) ++c->writers;
    for (Cell* c : lane.writes) {
      const auto own = std::count(lane.reads.begin(), lane.reads.end(), c);
      if (c->writers > 1 || c->readers > own) fault_ = "race";
    }
    for (const Cell* c : lane.reads) {
      const auto own = std::count(lane.writes.begin(), lane.writes.end(), c);
      if (c->writers > own) fault_ = "race";
    }
  }

  void end(Lane& lane, const plan::Step& step) {
    lane.running = false;
    for (Cell* c : lane.reads) --c->readers;
    for (Cell* c : lane.writes) {
      --c->writers;
      c->value = lane.result;
    }
    if (!elided(lane, step)) {
      for (const Operand& o : step.sources) {
        if (o.kind == Operand::Kind::kPeer) take(lane, step, o);
      }
      for (const Operand& o : step.sinks)
        if (o.kind == Operand::Kind::kPeer) send(lane, step, o);
    }
    if (++lane.step < steps(lane).size()) return;
    lane.step = 0;
    ++lane.tile;
    if (plan_.shape.collective == plan::Collective::kBarrier) check_barrier(lane.rank);
  }

  void take(const Lane& lane, const plan::Step& step, const Operand& peer) {
    std::deque<Message>& from = fifo(peer.index, lane.rank, peer.channel);
    if (from.empty() || from.front().extent != step.extent) {
      fault_ = "another size";
    } else {
      from.pop_front();
    }
  }

  void send(Lane& lane, const plan::Step& step, const Operand& peer) {
    Message message{step.extent, lane.result, nullptr};
    if (how_.by_reference && step.sources.size() == 1 && !step.post) {
      const Operand& source = step.sources[0];
      if (source.kind == Operand::Kind::kChunk && !source.pre &&
          source.buffer != plan::Buffer::kScratch &&
          how_.by_reference(lane.rank, peer.index, peer.channel, ranks_[lane.rank].in_place))
        message.cell = cell(lane, source);
    }
    fifo(lane.rank, peer.index, peer.channel).push_back(std::move(message));
  }

  void check_barrier(int32_t rank) {
    for (const Lane& lane : lanes_)
      if (lane.rank == rank && !finished(lane)) return;
    for (const Rank& other : ranks_)
      if (!other.entered) fault_ = "left the barrier early";
  }

  Value expected(int32_t extent, int32_t tile) {
    const plan::Shape& shape = plan_.shape;
    const int32_t block = extent / shape.chunks_per_block;
    switch (shape.collective) {
      case plan::Collective::kBroadcast:
      case plan::Collective::kScatter:
        return input_of(shape.root, extent, tile);
      case plan::Collective::kAllGather:
      case plan::Collective::kGather:
        return input_of(block, extent, tile);
      case plan::Collective::kAllToAll:
        return input_of(block / shape.n_ranks, extent, tile);
      default:
        break;
    }
    Value sum;
    for (int32_t rank = 0; rank < shape.n_ranks; ++rank)
      sum.push_back(term(Kind::kPre, rank, 0, 0, input_of(rank, extent, tile)));
    std::sort(sum.begin(), sum.end());
    return {term(Kind::kPost, 0, 0, 0, sum)};
  }

  void check_rank(int32_t rank) {
    Rank& r = ranks_[rank];
    if (plan_.shape.collective == plan::Collective::kBarrier && plan_.shape.n_ranks > 1 &&
        !r.entered)
      fault_ = "never entered the barrier";
    for (Lane at{.rank = rank}; at.tile < how_.tiles; ++at.tile) {
      std::vector<bool> is_output(r.inputs, false);
      for (int32_t o = 0; o < r.outputs; ++o) {
        if (r.shared[o] >= 0) is_output[r.shared[o]] = true;
        const int32_t extent = extent_of(plan_.shape, rank, plan::Buffer::kOutput, o);
        if (empty_[at.tile * extent_count(plan_.shape) + extent]) continue;
        if (cell(at, Operand::chunk(plan::Buffer::kOutput, o))->value != expected(extent, at.tile))
          fault_ = "wrong result";
      }
      for (int32_t i = 0; i < r.inputs; ++i) {
        const int32_t extent = extent_of(plan_.shape, rank, plan::Buffer::kInput, i);
        if (!is_output[i] &&
            r.input[at.tile * r.inputs + i].value != input_of(rank, extent, at.tile))
          fault_ = "input changed";
      }
    }
  }

  const plan::Plan& plan_;
  Interleaving how_;
  std::mt19937_64 random_;
  std::vector<Rank> ranks_;
  std::vector<Lane> lanes_;
  std::vector<bool> empty_;  // by tile and extent
  std::map<std::tuple<int32_t, int32_t, int32_t>, std::deque<Message>> fifos_;
  std::map<std::tuple<Kind, int32_t, int32_t, int32_t, Value>, uint32_t> terms_;
  int32_t garbage_ = 0;
  std::string fault_;
};

}  // namespace tutti::testing
