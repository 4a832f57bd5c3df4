// SPDX-License-Identifier: Apache-2.0
// Runs a plan on real numbers under one random schedule and compares with the collective's
// definition. Shares nothing with the verifier but the definition of the plan: it is what the
// verifier is tested against.
#pragma once

#include <algorithm>
#include <array>
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

// What a reduction does with two numbers, from the most forgiving to the least.
enum class Sums : uint8_t {
  kCommute,        // wrapping addition: every order is right
  kOrdered,        // neither commutative nor associative: right only folded left to right, 0 .. n-1
  kOrderedNarrow,  // the same, and what is stored or sent loses the accumulator's low bits
};

struct BruteForceOptions {
  uint64_t seed = 0;
  int32_t tiles = 3;
  int32_t extra_slots = 0;         // slots beyond those the plan declares
  bool some_chunks_empty = false;  // empty chunks are neither sent nor written
  Sums sums = Sums::kCommute;
  // Do messages of this connection travel as references when the sender runs in place (or not)?
  // Null: all as bytes.
  std::function<bool(int32_t source, int32_t sink, int32_t channel, bool in_place)> by_reference;
};

class BruteForce {
 public:
  BruteForce(const plan::Plan& plan, BruteForceOptions options)
      : plan_(plan), options_(std::move(options)), random_(options_.seed) {
    if (plan.shape.collective == plan::Collective::kBarrier) options_.tiles = 1;
    for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) make_rank(rank);
    make_empty_chunks();
    by_priority_ = random_() % 2 == 0;
    std::shuffle(lanes_.begin(), lanes_.end(), random_);
  }

  // Empty when everything went right, else what did not.
  std::string run() {
    while (fault_.empty() && run_one_lane()) {
    }
    for (const LaneState& lane : lanes_)
      if (fault_.empty() && !finished(lane)) fault_ = "deadlock";
    for (const auto& [key, fifo] : fifos_)
      if (fault_.empty() && !fifo.empty()) fault_ = "a message is left over";
    for (int32_t rank = 0; rank < plan_.shape.n_ranks && fault_.empty(); ++rank) check_rank(rank);
    return fault_;
  }

 private:
  using Step = plan::Step;
  using Operand = plan::Operand;
  // Two elements: the first is computed when a step starts, the second when it ends.
  using Chunk = std::array<uint64_t, 2>;
  struct Message {
    int32_t extent;
    Chunk bytes;
    const Chunk* reference;  // null: bytes
  };
  struct LaneState {
    int32_t rank = 0;
    uint32_t lane = 0;
    int32_t tile = 0;
    uint32_t step = 0;
    bool half_done = false;
    bool read_early = false;  // the second element's sources were read when the step started
    uint64_t early = 0;
  };
  struct RankState {
    bool in_place = false;
    bool started = false;
    uint64_t factor = 1, term = 0;     // pre(x) = factor * x + term
    std::vector<int32_t> output_home;  // input index an output chunk lies in, -1 for its own
    std::vector<std::vector<Chunk>> input, output;  // [tile][index]
    std::vector<std::vector<Chunk>> scratch;        // [tile % tiles_in_flight][index]
    std::vector<std::vector<Chunk>> given;          // copy of input
  };
  using Fifo = std::deque<Message>;

  Chunk random_chunk() { return {stored(random_()), stored(random_())}; }
  std::vector<std::vector<Chunk>> random_chunks(int32_t tiles, int32_t count) {
    std::vector<std::vector<Chunk>> chunks(tiles);
    for (auto& tile : chunks)
      for (int32_t i = 0; i < count; ++i) tile.push_back(random_chunk());
    return chunks;
  }

  void make_rank(int32_t rank) {
    const plan::Shape& shape = plan_.shape;
    RankState state;
    state.in_place = random_() % 2 == 0 && shape.collective != plan::Collective::kAllToAll;
    state.factor = random_() | 1;
    state.term = random_();
    const int32_t inputs = blocks_in(shape, rank, plan::Buffer::kInput) * shape.chunks_per_block;
    const int32_t outputs = blocks_in(shape, rank, plan::Buffer::kOutput) * shape.chunks_per_block;
    state.input = random_chunks(options_.tiles, inputs);
    state.given = state.input;
    state.output = random_chunks(options_.tiles, outputs);
    state.scratch = random_chunks(plan_.tiles_in_flight, plan_.ranks[rank].scratch_chunks);
    state.output_home.assign(outputs, -1);
    for (int32_t o = 0; state.in_place && o < outputs; ++o)
      for (int32_t i = 0; i < inputs; ++i)
        if (extent_of(shape, rank, plan::Buffer::kInput, i) ==
            extent_of(shape, rank, plan::Buffer::kOutput, o))
          state.output_home[o] = i;
    ranks_.push_back(std::move(state));
    for (uint32_t lane = 0; lane < plan_.ranks[rank].lanes.size(); ++lane)
      lanes_.push_back({.rank = rank, .lane = lane});
  }

  void make_empty_chunks() {
    for (int32_t tile = 0; tile < options_.tiles; ++tile) {
      std::vector<bool> row;
      for (int32_t e = 0; e < extent_count(plan_.shape); ++e)
        row.push_back(options_.some_chunks_empty && random_() % 2 == 0);
      empty_.push_back(std::move(row));
    }
  }

  const std::vector<Step>& steps(const LaneState& lane) const {
    return plan_.ranks[lane.rank].lanes[lane.lane].steps;
  }
  bool finished(const LaneState& lane) const {
    return lane.tile >= options_.tiles || steps(lane).empty();
  }
  bool elided(const LaneState& lane, const Step& step) const {
    return step.extent != plan::kNoExtent && empty_[lane.tile][step.extent];
  }
  Fifo& fifo(int32_t source, const Operand& peer, int32_t sink) {
    return fifos_[{source, sink, peer.channel}];
  }

  Chunk* home(const LaneState& lane, const Operand& chunk) {
    RankState& rank = ranks_[lane.rank];
    if (chunk.buffer == plan::Buffer::kScratch)
      return &rank.scratch[lane.tile % plan_.tiles_in_flight][chunk.index];
    if (chunk.buffer == plan::Buffer::kInput) return &rank.input[lane.tile][chunk.index];
    const int32_t alias = rank.output_home[chunk.index];
    return alias >= 0 ? &rank.input[lane.tile][alias] : &rank.output[lane.tile][chunk.index];
  }

  bool has_finished(int32_t rank, uint32_t lane, int32_t tile, uint32_t step) const {
    for (const LaneState& other : lanes_)
      if (other.rank == rank && other.lane == lane)
        return finished(other) || other.tile > tile || (other.tile == tile && other.step > step);
    return false;
  }

  bool can_start(const LaneState& lane, const Step& step) {
    for (const LaneState& other : lanes_)
      if (other.rank == lane.rank && !finished(other) &&
          other.tile <= lane.tile - plan_.tiles_in_flight)
        return false;
    for (const plan::Wait& wait : step.waits)
      if (!has_finished(lane.rank, wait.lane, lane.tile, wait.step)) return false;
    if (elided(lane, step)) return true;
    for (const Operand& source : step.sources)
      if (source.kind == Operand::Kind::kPeer && fifo(source.index, source, lane.rank).empty())
        return false;
    const auto slots = static_cast<size_t>(plan_.slots + options_.extra_slots);
    for (const Operand& sink : step.sinks)
      if (sink.kind == Operand::Kind::kPeer && fifo(lane.rank, sink, sink.index).size() >= slots)
        return false;
    return true;
  }

  // One half of one step of some lane that can move; false when none can.
  bool run_one_lane() {
    const size_t first = by_priority_ ? 0 : random_() % std::max<size_t>(lanes_.size(), 1);
    for (size_t i = 0; i < lanes_.size(); ++i) {
      LaneState& lane = lanes_[(first + i) % lanes_.size()];
      if (finished(lane)) continue;
      const Step& step = steps(lane)[lane.step];
      if (!lane.half_done && !can_start(lane, step)) continue;
      lane.half_done ? end(lane, step) : start(lane, step);
      if (by_priority_ && random_() % 16 == 0) std::shuffle(lanes_.begin(), lanes_.end(), random_);
      return true;
    }
    return false;
  }

  void start(LaneState& lane, const Step& step) {
    ranks_[lane.rank].started = true;
    lane.half_done = true;
    if (elided(lane, step) || step.extent == plan::kNoExtent) return;
    for (const Operand& source : step.sources) {
      if (source.kind != Operand::Kind::kPeer) continue;
      if (fifo(source.index, source, lane.rank).front().extent != step.extent)
        fault_ = "sizes differ";
    }
    store(lane, step, 0, fold(lane, step, 0));
    lane.read_early = random_() % 2 == 0;
    if (lane.read_early) lane.early = fold(lane, step, 1);
  }

  void end(LaneState& lane, const Step& step) {
    lane.half_done = false;
    if (!elided(lane, step)) {
      if (step.extent != plan::kNoExtent)
        store(lane, step, 1, lane.read_early ? lane.early : fold(lane, step, 1));
      for (const Operand& source : step.sources)
        if (source.kind == Operand::Kind::kPeer) {
          Fifo& in = fifo(source.index, source, lane.rank);
          if (in.empty() || in.front().extent != step.extent) fault_ = "sizes differ";
          if (!in.empty()) in.pop_front();
        }
      for (const Operand& sink : step.sinks)
        if (sink.kind == Operand::Kind::kPeer) send(lane, step, sink);
    }
    if (++lane.step == steps(lane).size()) {
      lane.step = 0;
      ++lane.tile;
      if (plan_.shape.collective == plan::Collective::kBarrier) check_barrier(lane.rank);
    }
  }

  uint64_t fold(const LaneState& lane, const Step& step, size_t element) {
    uint64_t sum = 0;
    bool first = true;
    for (const Operand& source : step.sources) {
      uint64_t value = 0;
      if (source.kind == Operand::Kind::kPeer) {
        const Fifo& in = fifo(source.index, source, lane.rank);
        if (in.empty()) {
          fault_ = "two steps took one message";
          return 0;
        }
        const Message& message = in.front();
        value = (message.reference != nullptr ? *message.reference : message.bytes)[element];
      } else {
        value = (*home(lane, source))[element];
      }
      if (source.pre) value = pre(lane.rank, value);
      sum = first ? value : add(sum, value);
      first = false;
    }
    return stored(step.post ? post(sum) : sum);
  }

  uint64_t add(uint64_t a, uint64_t b) const {
    return options_.sums == Sums::kCommute ? a + b : mixed(a) * 0xda942042e4dd58b5ULL + b;
  }
  // What memory and messages keep of an accumulator; a value that was stored before stays as it is.
  uint64_t stored(uint64_t x) const {
    return options_.sums == Sums::kOrderedNarrow ? x & ~uint64_t{0xff} : x;
  }
  // A contribution is a value of the datatype, wherever it is scaled.
  uint64_t pre(int32_t rank, uint64_t x) const {
    return stored(ranks_[rank].factor * x + ranks_[rank].term);
  }
  static uint64_t mixed(uint64_t x) { return x ^ (x >> 29) ^ (x >> 47); }
  static uint64_t post(uint64_t x) { return (x ^ (x >> 31)) * 0x9e3779b97f4a7c15ULL; }

  void store(LaneState& lane, const Step& step, size_t element, uint64_t value) {
    pending_[{lane.rank, lane.lane}][element] = value;
    for (const Operand& sink : step.sinks) {
      if (sink.kind != Operand::Kind::kChunk) continue;
      const bool onto_itself = step.sources.size() == 1 && !step.post && !step.sources[0].pre &&
                               step.sources[0].kind == Operand::Kind::kChunk &&
                               home(lane, step.sources[0]) == home(lane, sink);
      if (!onto_itself) (*home(lane, sink))[element] = value;
    }
  }

  void send(LaneState& lane, const Step& step, const Operand& sink) {
    Message message{step.extent, pending_[{lane.rank, lane.lane}], nullptr};
    const Operand* source = step.sources.size() == 1 ? &step.sources[0] : nullptr;
    if (options_.by_reference && source != nullptr && source->kind == Operand::Kind::kChunk &&
        !source->pre && !step.post && source->buffer != plan::Buffer::kScratch &&
        options_.by_reference(lane.rank, sink.index, sink.channel, ranks_[lane.rank].in_place))
      message.reference = home(lane, *source);
    fifo(lane.rank, sink, sink.index).push_back(message);
  }

  void check_barrier(int32_t rank) {
    for (const LaneState& lane : lanes_)
      if (lane.rank == rank && !finished(lane)) return;
    for (const RankState& other : ranks_)
      if (!other.started) fault_ = "a rank left the barrier before another entered it";
  }

  uint64_t given(int32_t rank, int32_t tile, int32_t extent, size_t element) const {
    const plan::Shape& shape = plan_.shape;
    for (size_t i = 0; i < ranks_[rank].given[tile].size(); ++i)
      if (extent_of(shape, rank, plan::Buffer::kInput, i) == extent)
        return ranks_[rank].given[tile][i][element];
    return 0;
  }

  uint64_t expected(int32_t tile, int32_t extent, size_t element) const {
    const plan::Shape& shape = plan_.shape;
    const int32_t block = extent / shape.chunks_per_block;
    switch (shape.collective) {
      case plan::Collective::kBroadcast:
      case plan::Collective::kScatter:
        return given(shape.root, tile, extent, element);
      case plan::Collective::kAllGather:
      case plan::Collective::kGather:
        return given(block, tile, extent, element);
      case plan::Collective::kAllToAll:
        return given(block / shape.n_ranks, tile, extent, element);
      default:
        break;
    }
    uint64_t sum = pre(0, given(0, tile, extent, element));
    for (int32_t rank = 1; rank < shape.n_ranks; ++rank)
      sum = add(sum, pre(rank, given(rank, tile, extent, element)));
    return stored(post(sum));
  }

  void check_rank(int32_t rank) {
    RankState& state = ranks_[rank];
    if (plan_.shape.collective == plan::Collective::kBarrier && !state.started &&
        plan_.shape.n_ranks > 1)
      fault_ = "a rank never entered the barrier";
    for (LaneState lane{.rank = rank}; lane.tile < options_.tiles; ++lane.tile) {
      std::vector<bool> shared(state.input[lane.tile].size(), false);
      for (int32_t i = 0; i < static_cast<int32_t>(state.output[lane.tile].size()); ++i) {
        if (state.output_home[i] >= 0) shared[state.output_home[i]] = true;
        const int32_t extent = extent_of(plan_.shape, rank, plan::Buffer::kOutput, i);
        if (empty_[lane.tile][extent]) continue;
        for (const size_t element : {0, 1})
          if ((*home(lane, Operand::chunk(plan::Buffer::kOutput, i)))[element] !=
              expected(lane.tile, extent, element))
            fault_ = "wrong result";
      }
      for (size_t i = 0; i < shared.size(); ++i)
        if (!shared[i] && state.input[lane.tile][i] != state.given[lane.tile][i])
          fault_ = "input changed";
    }
  }

  const plan::Plan& plan_;
  BruteForceOptions options_;
  std::mt19937_64 random_;
  bool by_priority_ = false;
  std::vector<RankState> ranks_;
  std::vector<LaneState> lanes_;                                 // in order of priority
  std::vector<std::vector<bool>> empty_;                         // [tile][extent]
  std::map<std::tuple<int32_t, int32_t, int32_t>, Fifo> fifos_;  // (source, sink, channel)
  std::map<std::pair<int32_t, uint32_t>, Chunk> pending_;        // by lane: what its step computes
  std::string fault_;
};

}  // namespace tutti::testing
