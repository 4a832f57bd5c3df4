// SPDX-License-Identifier: Apache-2.0
// Runs a schedule once, with as many slots as it likes, on values that only say what they are; each
// step that runs becomes steps of the plan.
//
// What a step reads is the same in every order that the schedule allows, unless it has a race, and
// then the plan has it too.
#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <tuple>

#include "src/plan/msccl_schedule.h"

namespace tutti::plan::msccl {
namespace {

// Of all steps of the plan; what a small file may blow up to.
constexpr size_t kMaxSteps = size_t{1} << 20;

struct Value {
  int32_t extent = kNoExtent;
  int32_t contributions = 0;  // inputs in it; each rank's once in a schedule that is right
  bool raw = false;           // an input as the user gave it
  bool post = false;
};

struct Message {
  Value value;
  int32_t count = 0;     // chunks that were sent together
  ptrdiff_t sender = 0;  // offset of its step in the text
};

// A place that holds something, and the operand that stands for it now.
struct Held {
  Value value;
  Operand home;
};

class Resolver {
 public:
  Resolver(const Schedule& schedule, const Locator& locator)
      : schedule_(schedule), shape_(schedule.shape), locator_(locator) {
    plan_.algorithm = schedule.name;
    plan_.shape = shape_;
    plan_.channels = schedule.channels;
    plan_.slots = schedule.slots;
    plan_.ranks.resize(schedule.gpus.size());
    for (int32_t rank = 0; rank < shape_.n_ranks; ++rank) prepare(rank);
  }

  Plan run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (LaneState& lane : lanes_) {
        while (lane.next < steps(lane).size() && try_step(lane)) moved = true;
      }
    }
    for (const LaneState& lane : lanes_) {
      if (lane.next < steps(lane).size()) fail_stuck(lane);
    }
    if (schedule_.aliased) copy_untouched_inputs();
    return std::move(plan_);
  }

 private:
  struct LaneState {
    int32_t rank = 0;
    uint32_t index = 0;
    size_t next = 0;                            // step of the schedule
    std::vector<Wait> pending;                  // of nops, for the next step
    std::vector<std::vector<Wait>> stands_for;  // by finished step: what waiting for it means
    bool may_fuse = false;  // the last step of the plan is a reduction that another may join
  };

  const Block& block(const LaneState& lane) const {
    return schedule_.gpus[static_cast<size_t>(lane.rank)].blocks[lane.index];
  }
  const std::vector<ScheduleStep>& steps(const LaneState& lane) const { return block(lane).steps; }
  std::vector<Step>& made(const LaneState& lane) {
    return plan_.ranks[static_cast<size_t>(lane.rank)].lanes[lane.index].steps;
  }

  void prepare(int32_t rank) {
    const Gpu& gpu = schedule_.gpus[static_cast<size_t>(rank)];
    RankProgram& program = plan_.ranks[static_cast<size_t>(rank)];
    program.scratch_chunks = gpu.scratch_chunks;
    program.lanes.resize(gpu.blocks.size());
    first_lane_.push_back(lanes_.size());
    for (uint32_t i = 0; i < gpu.blocks.size(); ++i) lanes_.push_back({.rank = rank, .index = i});
    const int32_t inputs = blocks_in(shape_, rank, Buffer::kInput) * shape_.chunks_per_block;
    for (int32_t i = 0; i < inputs; ++i) {
      const int32_t extent = extent_of(shape_, rank, Buffer::kInput, i);
      memory_[{rank, canonical(rank, {'i', i})}] = {{extent, 1, true, false},
                                                    Operand::chunk(Buffer::kInput, i)};
    }
  }

  // In place, input and output are one buffer: the larger one's name stands for both.
  Place canonical(int32_t rank, Place place) const {
    if (!schedule_.aliased || place.buffer == 's') return place;
    const int32_t own = rank * shape_.chunks_per_block;
    if (shape_.collective == Collective::kReduceScatter)
      return place.buffer == 'o' ? Place{'i', own + place.offset} : place;
    if (place.buffer == 'o') return place;
    return {'o', (shape_.collective == Collective::kAllGather ? own : 0) + place.offset};
  }

  // The output chunk that the place is, when it is one and of this extent.
  std::optional<Operand> output_at(int32_t rank, const Place& place, int32_t extent) const {
    int32_t output = place.buffer == 'o' ? place.offset : -1;
    if (schedule_.aliased && place.buffer == 'i')
      output = place.offset - rank * shape_.chunks_per_block;
    if (output < 0 || extent_of(shape_, rank, Buffer::kOutput, output) != extent)
      return std::nullopt;
    return Operand::chunk(Buffer::kOutput, output);
  }

  // Where the plan keeps a value that the schedule writes to a place.
  Operand home_for(int32_t rank, const Place& place, int32_t extent) {
    if (const auto output = output_at(rank, place, extent)) return *output;
    if (place.buffer == 's') return Operand::chunk(Buffer::kScratch, place.offset);
    const auto [it, fresh] = moved_to_scratch_.try_emplace({rank, place});
    if (fresh) it->second = plan_.ranks[static_cast<size_t>(rank)].scratch_chunks++;
    return Operand::chunk(Buffer::kScratch, it->second);
  }

  [[noreturn]] void fail(const LaneState& lane, const std::string& what) const {
    locator_.fail_step({lane.rank, lane.index, lane.next}, steps(lane)[lane.next], what);
  }

  [[noreturn]] void fail_stuck(const LaneState& lane) const {
    const ScheduleStep& step = steps(lane)[lane.next];
    if (!dependency_done(lane, step)) {
      fail(lane, "deadlock: never gets to run, because tb " + std::to_string(step.dep_block) +
                     " step " + std::to_string(step.dep_step) + " never finishes");
    }
    fail(lane, "deadlock: never gets its message from gpu " + std::to_string(step.from.rank) +
                   " on channel " + std::to_string(step.from.channel));
  }

  bool dependency_done(const LaneState& lane, const ScheduleStep& step) const {
    if (step.dep_block == kNone) return true;
    return target(lane, step).next > static_cast<size_t>(step.dep_step);
  }
  const LaneState& target(const LaneState& lane, const ScheduleStep& step) const {
    return lanes_[first_lane_[static_cast<size_t>(lane.rank)] +
                  static_cast<size_t>(step.dep_block)];
  }

  std::deque<Message>& fifo(int32_t source, int32_t sink, int32_t channel) {
    return fifos_[{source, sink, channel}];
  }
  std::deque<Message>& incoming(const LaneState& lane, const ScheduleStep& step) {
    return fifo(step.from.rank, lane.rank, step.from.channel);
  }

  // Adds waits, one per lane: the latest.
  static void add_waits(const std::vector<Wait>& more, uint32_t own_lane, std::vector<Wait>* to) {
    for (const Wait& wait : more) {
      if (wait.lane == own_lane) continue;  // has run: lanes run in order
      const auto same =
          std::find_if(to->begin(), to->end(), [&](const Wait& w) { return w.lane == wait.lane; });
      if (same == to->end()) {
        to->push_back(wait);
      } else {
        same->step = std::max(same->step, wait.step);
      }
    }
  }

  bool try_step(LaneState& lane) {
    const ScheduleStep& step = steps(lane)[lane.next];
    if (!dependency_done(lane, step)) return false;
    if (row(step.type).receives && incoming(lane, step).size() < static_cast<size_t>(step.count))
      return false;
    if (step.dep_block != kNone) {
      const auto& done = target(lane, step).stands_for[static_cast<size_t>(step.dep_step)];
      add_waits(done, lane.index, &lane.pending);
    }
    if (step.type == StepType::kNop) {
      std::vector<Wait> meaning = lane.pending;
      if (!made(lane).empty()) meaning.push_back(last_of(lane));
      lane.stands_for.push_back(std::move(meaning));
      lane.may_fuse = false;
    } else {
      for (int32_t i = 0; i < step.count; ++i) run(lane, step, i);
      lane.stands_for.push_back({last_of(lane)});
    }
    ++lane.next;
    return true;
  }
  Wait last_of(const LaneState& lane) {
    return {lane.index, static_cast<uint32_t>(made(lane).size() - 1)};
  }

  void run(LaneState& lane, const ScheduleStep& step, int32_t i) {
    const StepTypeRow& type = row(step.type);
    const Place dst = canonical(lane.rank, {step.dst.buffer, step.dst.offset + i});
    Step out;
    Value result;
    if (type.receives) receive(lane, step, &out, &result);
    if (step.type == StepType::kReduce) read(lane, dst, &out, &result);
    if (type.reads) {
      read(lane, canonical(lane.rank, {step.src.buffer, step.src.offset + i}), &out, &result);
    }
    out.extent = result.extent;
    if (reduces(shape_.collective) && result.contributions == shape_.n_ranks && !result.post)
      out.post = result.post = true;
    if (type.writes) {
      const Operand home = home_for(lane.rank, dst, result.extent);
      out.sinks.push_back(home);
      memory_[{lane.rank, dst}] = {result, home};
    }
    if (type.sends) {
      out.sinks.push_back(Operand::peer(step.to.rank, step.to.channel));
      fifo(lane.rank, step.to.rank, step.to.channel).push_back({result, step.count, step.offset});
    }
    add(lane, step, std::move(out));
  }

  void add(LaneState& lane, const ScheduleStep& step, Step out) {
    std::vector<Step>& list = made(lane);
    const bool fusable = step.type == StepType::kReduce && step.count == 1;
    if (fusable && lane.may_fuse && lane.pending.empty() && joins(list.back(), out)) {
      list.back().sources.push_back(out.sources[1]);
      list.back().post = out.post;
    } else {
      if (++n_steps_ > kMaxSteps)
        fail(lane, "expected at most " + std::to_string(kMaxSteps) + " steps of single chunks");
      out.waits = std::move(lane.pending);
      lane.pending.clear();
      list.push_back(std::move(out));
    }
    lane.may_fuse = fusable && !step.has_dependent && !list.back().post;
  }

  // Several `re` in a row into one chunk, which nobody waits for in between, are one wide
  // reduction.
  static bool joins(const Step& last, const Step& next) {
    return last.sinks == next.sinks && next.sources[0] == last.sinks[0] &&
           std::find(last.sources.begin(), last.sources.end(), next.sources[1]) ==
               last.sources.end() &&
           next.sources[1] != last.sinks[0];
  }

  void receive(LaneState& lane, const ScheduleStep& step, Step* out, Value* result) {
    const Message message = incoming(lane, step).front();
    if (message.count != step.count) {
      fail(lane, "cnt: expected " + std::to_string(message.count) +
                     " as in the step that sends it, line " +
                     std::to_string(locator_.line(message.sender)) + ", got " +
                     std::to_string(step.count));
    }
    incoming(lane, step).pop_front();
    *result = message.value;
    out->sources.push_back(Operand::peer(step.from.rank, step.from.channel));
  }

  void read(LaneState& lane, const Place& place, Step* out, Value* result) {
    const auto name = [&] {
      return std::string(1, place.buffer) + "[" + std::to_string(place.offset) + "]";
    };
    const auto found = memory_.find({lane.rank, place});
    if (found == memory_.end())
      fail(lane, "reads " + name() + ", which holds no input and which nothing has written yet");
    Value value = found->second.value;
    Operand operand = found->second.home;
    if (value.raw && reduces(shape_.collective)) {
      operand.pre = true;
      value.raw = false;
    }
    if (!out->sources.empty()) {
      if (value.extent != result->extent) {
        fail(lane, "expected " + name() + " to hold chunk " + std::to_string(result->extent) +
                       " of the collective like the other operand, got chunk " +
                       std::to_string(value.extent));
      }
      value.contributions = std::min(value.contributions + result->contributions,
                                     shape_.n_ranks + 1);  // too many stay too many
      value.post = value.post || result->post;
    }
    *result = value;
    out->sources.push_back(operand);
  }

  // A schedule for in-place calls leaves alone what is in its place already. One lane per rank.
  void copy_untouched_inputs() {
    std::map<int32_t, Lane> copies;
    for (const auto& [key, held] : memory_) {
      const auto& [rank, place] = key;
      if (held.home.buffer != Buffer::kInput) continue;
      const auto output = output_at(rank, place, held.value.extent);
      if (!output) continue;
      Step copy;
      copy.sources = {held.home};
      copy.sinks = {*output};
      copy.extent = held.value.extent;
      copy.sources[0].pre = copy.post = reduces(shape_.collective);
      copies[rank].steps.push_back(std::move(copy));
    }
    for (auto& [rank, lane] : copies)
      plan_.ranks[static_cast<size_t>(rank)].lanes.push_back(std::move(lane));
  }

  const Schedule& schedule_;
  const Shape shape_;
  const Locator& locator_;
  Plan plan_;
  std::vector<LaneState> lanes_;
  std::vector<size_t> first_lane_;  // by rank
  std::map<std::pair<int32_t, Place>, Held> memory_;
  std::map<std::pair<int32_t, Place>, int32_t> moved_to_scratch_;
  std::map<std::tuple<int32_t, int32_t, int32_t>, std::deque<Message>> fifos_;
  size_t n_steps_ = 0;
};

}  // namespace

Plan resolve(const Schedule& schedule, const Locator& locator) {
  return Resolver(schedule, locator).run();
}

}  // namespace tutti::plan::msccl
