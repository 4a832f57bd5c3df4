// SPDX-License-Identifier: Apache-2.0
// A random interleaving of all lanes of all ranks, one whole step at a time.
#include "tests/support/plan_interpreter.h"

#include <algorithm>
#include <bit>
#include <deque>
#include <map>
#include <random>
#include <tuple>
#include <vector>

namespace tutti::test {
namespace {

using plan::Buffer;
using plan::Operand;
using plan::Plan;
using plan::Step;

constexpr uint64_t kPre = 3;  // what `pre` and `post` multiply integers by
constexpr uint64_t kPost = 5;
constexpr double kPreFloat = 1.1;
constexpr double kPostFloat = 1.0 / 3;

struct Value {
  uint64_t exact = 0xdeadbeefdeadbeef;  // what memory holds before anybody writes it
  float rounded = -1;
  bool operator==(const Value&) const = default;
};
struct Message {
  int32_t extent = plan::kNoExtent;
  Value value;
  uint64_t heard_of = 0;  // ranks whose entry precedes this message
};

Value input_value(int32_t rank, int32_t extent, int32_t tile) {
  uint64_t z = (static_cast<uint64_t>(rank) << 40) ^ (static_cast<uint64_t>(extent) << 16) ^
               static_cast<uint64_t>(tile);
  z = (z + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
  z ^= z >> 29;
  return {z, static_cast<float>(z % 100003) / 1009.0F};
}

// One rank's memory in one tile. Chunks that are the same memory share a cell.
class Memory {
 public:
  Memory(const Plan& plan, int32_t rank, int32_t tile, bool in_place) {
    const plan::Shape& shape = plan.shape;
    for (const Buffer buffer : {Buffer::kInput, Buffer::kOutput}) {
      std::vector<size_t>& cells = cells_[static_cast<size_t>(buffer)];
      const int32_t chunks = plan::blocks_in(shape, rank, buffer) * shape.chunks_per_block;
      for (int32_t i = 0; i < chunks; ++i) {
        const int32_t extent = plan::extent_of(shape, rank, buffer, i);
        const auto [it, fresh] = by_extent_.try_emplace(
            {in_place ? 0 : static_cast<int>(buffer), extent}, values_.size());
        if (fresh) values_.emplace_back();
        cells.push_back(it->second);
        if (buffer == Buffer::kInput) values_[it->second] = input_value(rank, extent, tile);
      }
    }
  }
  Value& at(Buffer buffer, int32_t index) {
    return values_[cells_[static_cast<size_t>(buffer)][static_cast<size_t>(index)]];
  }

 private:
  std::vector<Value> values_;
  std::vector<size_t> cells_[2];
  std::map<std::pair<int, int32_t>, size_t> by_extent_;
};

class Interpreter {
 public:
  Interpreter(const Plan& plan, const InterpreterOptions& options)
      : plan_(plan), options_(options), random_(options.seed), n_(plan.shape.n_ranks) {
    for (int32_t rank = 0; rank < n_; ++rank) {
      const plan::RankProgram& program = plan.ranks[static_cast<size_t>(rank)];
      for (size_t lane = 0; lane < program.lanes.size(); ++lane) {
        if (!program.lanes[lane].steps.empty()) cursors_.push_back({rank, lane});
      }
      by_rank_.emplace_back(program.lanes.size(), nullptr);
      scratch_.emplace_back(static_cast<size_t>(program.scratch_chunks * plan.tiles_in_flight));
      for (int32_t tile = 0; tile < options.tiles; ++tile) {
        memory_.emplace_back(plan, rank, tile, options.in_place);
        heard_of_.push_back(uint64_t{1} << rank);
      }
    }
    for (Cursor& cursor : cursors_)
      by_rank_[static_cast<size_t>(cursor.rank)][cursor.lane] = &cursor;
  }

  std::string run() {
    std::vector<Cursor*> order;
    for (Cursor& cursor : cursors_) order.push_back(&cursor);
    while (!order.empty()) {
      std::shuffle(order.begin(), order.end(), random_);
      bool advanced = false;
      for (Cursor* cursor : order) advanced |= advance(*cursor);
      if (!fault_.empty()) return fault_;
      if (!advanced)
        return "deadlock: " + where(*order.front()) + " and " + std::to_string(order.size() - 1) +
               " more";
      std::erase_if(order, [&](const Cursor* cursor) { return cursor->tile == options_.tiles; });
    }
    for (const auto& [id, queue] : queues_) {
      if (!queue.empty()) {
        return "left over: a message from rank " + std::to_string(std::get<0>(id)) + " to rank " +
               std::to_string(std::get<1>(id));
      }
    }
    return check_results();
  }

 private:
  struct Cursor {
    int32_t rank;
    size_t lane;
    size_t step = 0;
    int32_t tile = 0;
  };

  std::string where(const Cursor& c) const {
    return "rank " + std::to_string(c.rank) + " lane " + std::to_string(c.lane) + " step " +
           std::to_string(c.step) + " tile " + std::to_string(c.tile);
  }
  const std::vector<Step>& steps(const Cursor& c) const {
    return plan_.ranks[static_cast<size_t>(c.rank)].lanes[c.lane].steps;
  }
  std::deque<Message>& queue(int32_t from, int32_t to, int32_t channel) {
    return queues_[{from, to, channel}];
  }
  size_t tile_of(int32_t rank, int32_t tile) const {
    return static_cast<size_t>(rank) * static_cast<size_t>(options_.tiles) +
           static_cast<size_t>(tile);
  }
  Value& chunk(const Cursor& c, const Operand& o) {
    if (o.buffer != Buffer::kScratch) return memory_[tile_of(c.rank, c.tile)].at(o.buffer, o.index);
    const auto chunks =
        static_cast<size_t>(plan_.ranks[static_cast<size_t>(c.rank)].scratch_chunks);
    const auto slot = static_cast<size_t>(c.tile % plan_.tiles_in_flight);
    return scratch_[static_cast<size_t>(c.rank)][slot * chunks + static_cast<size_t>(o.index)];
  }

  // Has the lane finished step `step` of tile `tile`?
  static bool has_finished(const Cursor& c, size_t step, int32_t tile) {
    return c.tile > tile || (c.tile == tile && c.step > step);
  }

  bool is_ready(const Cursor& c, const Step& step) {
    const std::vector<Cursor*>& lanes = by_rank_[static_cast<size_t>(c.rank)];
    const bool window_open = std::all_of(lanes.begin(), lanes.end(), [&](const Cursor* lane) {
      return lane == nullptr || lane->tile > c.tile - plan_.tiles_in_flight;
    });
    if (c.step == 0 && !window_open) return false;
    for (const plan::Wait& wait : step.waits) {
      if (!has_finished(*lanes[wait.lane], wait.step, c.tile)) return false;
    }
    for (const Operand& o : step.sources) {
      if (o.kind == Operand::Kind::kPeer && queue(o.index, c.rank, o.channel).empty()) return false;
    }
    return std::all_of(step.sinks.begin(), step.sinks.end(), [&](const Operand& o) {
      return o.kind != Operand::Kind::kPeer ||
             queue(c.rank, o.index, o.channel).size() < static_cast<size_t>(options_.slots);
    });
  }

  bool advance(Cursor& c) {
    if (c.tile == options_.tiles) return false;
    const Step& step = steps(c)[c.step];
    if (!is_ready(c, step)) return false;
    execute(c, step);
    if (++c.step == steps(c).size()) {
      c.step = 0;
      ++c.tile;
    }
    return true;
  }

  void execute(const Cursor& c, const Step& step) {
    uint64_t exact = 0;
    double rounded = 0;
    uint64_t& heard_of = heard_of_[tile_of(c.rank, c.tile)];
    for (const Operand& o : step.sources) {
      Value value;
      if (o.kind == Operand::Kind::kPeer) {
        std::deque<Message>& from = queue(o.index, c.rank, o.channel);
        if (from.front().extent != step.extent && fault_.empty())
          fault_ = "messages out of order: " + where(c);
        value = from.front().value;
        heard_of |= from.front().heard_of;
        from.pop_front();
      } else {
        value = chunk(c, o);
      }
      exact += value.exact * (o.pre ? kPre : 1);
      // A scaled source is rounded as if it had been stored (src/kernels/reduce_copy.h).
      rounded += static_cast<float>(value.rounded * (o.pre ? kPreFloat : 1.0));
    }
    const Value result{exact * (step.post ? kPost : 1),
                       static_cast<float>(rounded * (step.post ? kPostFloat : 1.0))};
    for (const Operand& o : step.sinks) {
      if (o.kind == Operand::Kind::kPeer) {
        queue(c.rank, o.index, o.channel).push_back({step.extent, result, heard_of});
      } else {
        chunk(c, o) = result;
      }
    }
  }

  // What the output chunk of `extent` must hold.
  Value expected(int32_t extent, int32_t tile) const {
    const plan::Shape& shape = plan_.shape;
    Value sum{0, 0};
    for (int32_t rank = 0; rank < n_; ++rank) {
      if (plan::position_of(shape, rank, Buffer::kInput, extent / shape.chunks_per_block) < 0)
        continue;
      const Value own = input_value(rank, extent, tile);
      if (!plan::reduces(shape.collective)) return own;
      sum.exact += own.exact * kPre * kPost;
    }
    return sum;
  }

  std::string check_chunk(int32_t rank, int32_t tile, Buffer buffer, int32_t index) {
    const int32_t extent = plan::extent_of(plan_.shape, rank, buffer, index);
    const Value found = memory_[tile_of(rank, tile)].at(buffer, index);
    const std::string place = std::string(plan::name(buffer)) + "[" + std::to_string(index) +
                              "] of rank " + std::to_string(rank) + " in tile " +
                              std::to_string(tile);
    if (buffer == Buffer::kInput) {
      if (options_.in_place || found == input_value(rank, extent, tile)) return {};
      return "written input: " + place;
    }
    const Value wanted = expected(extent, tile);
    if (found.exact != wanted.exact) return "wrong result: " + place;
    if (!plan::reduces(plan_.shape.collective)) return {};
    const auto [first, fresh] =
        bits_.try_emplace({extent, tile}, std::bit_cast<uint32_t>(found.rounded));
    if (!fresh && first->second != std::bit_cast<uint32_t>(found.rounded))
      return "different bits: " + place;
    return {};
  }

  std::string check_results() {
    const uint64_t everybody = n_ == 64 ? ~uint64_t{0} : (uint64_t{1} << n_) - 1;
    for (int32_t rank = 0; rank < n_; ++rank) {
      for (int32_t tile = 0; tile < options_.tiles; ++tile) {
        if (plan_.shape.collective == plan::Collective::kBarrier &&
            heard_of_[tile_of(rank, tile)] != everybody) {
          return "left the barrier too early: rank " + std::to_string(rank);
        }
        for (const Buffer buffer : {Buffer::kInput, Buffer::kOutput}) {
          const int32_t chunks =
              plan::blocks_in(plan_.shape, rank, buffer) * plan_.shape.chunks_per_block;
          for (int32_t i = 0; i < chunks; ++i) {
            std::string fault = check_chunk(rank, tile, buffer, i);
            if (!fault.empty()) return fault;
          }
        }
      }
    }
    return {};
  }

  const Plan& plan_;
  const InterpreterOptions options_;
  std::mt19937_64 random_;
  const int32_t n_;
  std::deque<Cursor> cursors_;                 // lanes that have steps; addresses are stable
  std::vector<std::vector<Cursor*>> by_rank_;  // by rank and lane; null for lanes without steps
  std::vector<Memory> memory_;                 // by rank and tile
  std::vector<uint64_t> heard_of_;             // by rank and tile: ranks whose entry precedes
  std::vector<std::vector<Value>> scratch_;
  std::map<std::tuple<int32_t, int32_t, int32_t>, std::deque<Message>> queues_;
  std::map<std::pair<int32_t, int32_t>, uint32_t>
      bits_;  // (extent, tile) -> bits of the first rank's result
  std::string fault_;
};

}  // namespace

std::string interpret(const Plan& plan, const InterpreterOptions& options) {
  return Interpreter(plan, options).run();
}

}  // namespace tutti::test
