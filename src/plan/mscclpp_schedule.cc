// SPDX-License-Identifier: Apache-2.0
// Writes operations as steps of a schedule.
#include <algorithm>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/plan/mscclpp_links.h"
#include "src/plan/mscclpp_program.h"

namespace tutti::plan::mscclpp {
namespace {

using msccl::ScheduleStep;
using msccl::StepType;

constexpr size_t kMostSteps = size_t{1} << 20;
constexpr int32_t kLeastSlots = 8;
constexpr int32_t kMostSlots = 64;

Place chunk(const Chunks& chunks, int32_t i) {
  return {chunks.first.buffer, chunks.first.offset + i};
}

class Writer {
 public:
  Writer(const Program& program, std::string_view file)
      : program_(program), file_(file), links_(link(program, file)) {
    schedule_.name = program.name;
    schedule_.shape = program.shape;
    schedule_.aliased = program.in_place;
    schedule_.channels = program.channels;
    schedule_.gpus.resize(program.gpus.size());
  }

  msccl::Schedule run() {
    for (int32_t gpu = 0; gpu < program_.shape.n_ranks; ++gpu) write_gpu(gpu);
    int64_t most = 0;
    for (const auto& [key, count] : messages_) most = std::max(most, count);
    schedule_.slots = static_cast<int32_t>(std::clamp<int64_t>(most, kLeastSlots, kMostSlots));
    return std::move(schedule_);
  }

 private:
  // A nop of this GPU that waits for what a threadblock has done before an operation.
  struct Dependency {
    size_t block = 0;
    size_t step = 0;
    OpPlace target;
  };

  void write_gpu(int32_t gpu) {
    const Gpu& source = program_.gpus[static_cast<size_t>(gpu)];
    msccl::Gpu& made = schedule_.gpus[static_cast<size_t>(gpu)];
    made.scratch_chunks = source.scratch_chunks;
    made.blocks.resize(source.blocks.size());
    meetings_ = meetings(gpu);
    begins_.assign(source.blocks.size(), {});
    dependencies_.clear();
    for (size_t b = 0; b < source.blocks.size(); ++b) {
      for (size_t o = 0; o < source.blocks[b].ops.size(); ++o) {
        begins_[b].push_back(made.blocks[b].steps.size());
        at_ = {gpu, b, o};
        write(source.blocks[b].ops[o]);
      }
    }
    for (const Dependency& dependency : dependencies_) resolve(&made, dependency);
  }

  void resolve(msccl::Gpu* gpu, const Dependency& dependency) const {
    const OpPlace& target = dependency.target;
    const size_t begin = begins_[target.block][target.op];
    if (begin == 0) return;  // it has done nothing before
    ScheduleStep& nop = gpu->blocks[dependency.block].steps[dependency.step];
    nop.dep_block = static_cast<int32_t>(target.block);
    nop.dep_step = static_cast<int32_t>(begin - 1);
    gpu->blocks[target.block].steps[begin - 1].has_dependent = true;
  }

  [[noreturn]] void fail(const OpPlace& at, const std::string& what) const {
    const Op& op = program_.gpus[static_cast<size_t>(at.gpu)].blocks[at.block].ops[at.op];
    refuse(file_, at, op.row->name, what);
  }

  // ---- threadblocks that wait for each other ----

  // For each operation that waits, those of other threadblocks that it waits for.
  using Meetings = std::map<OpPlace, std::vector<OpPlace>>;
  using Occurrences = std::map<size_t, std::vector<OpPlace>>;  // by threadblock, in order

  Meetings meetings(int32_t gpu) const {
    std::map<int32_t, Occurrences> barriers;
    std::map<int32_t, Occurrences> acquires;
    std::map<int32_t, Occurrences> releases;
    const auto& blocks = program_.gpus[static_cast<size_t>(gpu)].blocks;
    for (size_t b = 0; b < blocks.size(); ++b) {
      for (size_t o = 0; o < blocks[b].ops.size(); ++o) {
        const Op& op = blocks[b].ops[o];
        const OpPlace at{gpu, b, o};
        if (op.row->kind == OpKind::kBarrier) barriers[op.barrier][b].push_back(at);
        for (const int32_t semaphore : op.semaphores)
          (op.row->kind == OpKind::kAcquire ? acquires : releases)[semaphore][b].push_back(at);
      }
    }
    Meetings found;
    for (const auto& [id, occurrences] : barriers) join_barrier(occurrences, &found);
    for (const auto& [id, occurrences] : acquires)
      join_semaphore(gpu, id, occurrences, releases[id], &found);
    return found;
  }

  void join_barrier(const Occurrences& occurrences, Meetings* found) const {
    const std::vector<OpPlace>& first = occurrences.begin()->second;
    for (const auto& [block, places] : occurrences) {
      for (const OpPlace& at : places) {
        const Op& op = program_.gpus[static_cast<size_t>(at.gpu)].blocks[block].ops[at.op];
        if (static_cast<size_t>(op.threadblocks) != occurrences.size())
          fail(at, fmt::format("expected the {} threadblocks that have this barrier, got {}",
                               occurrences.size(), op.threadblocks));
      }
      if (places.size() != first.size())
        fail(places.front(), fmt::format("threadblock {} comes to this barrier {} times, this one "
                                         "{}; expected as many",
                                         first.front().block, first.size(), places.size()));
      for (const auto& [other, others] : occurrences)
        for (size_t i = 0; other != block && i < std::min(places.size(), others.size()); ++i)
          (*found)[places[i]].push_back(others[i]);
    }
  }

  void join_semaphore(int32_t gpu, int32_t id, const Occurrences& acquires,
                      const Occurrences& releases, Meetings* found) const {
    const OpPlace& at = acquires.begin()->second.front();
    if (program_.gpus[static_cast<size_t>(gpu)].semaphores[static_cast<size_t>(id)] != 0)
      fail(at, fmt::format("semaphore {} begins above 0, so that it is open which release an "
                           "acquire waits for",
                           id));
    if (acquires.size() != 1 || releases.size() != 1)
      fail(at, fmt::format("semaphore {}: expected one threadblock that acquires and one that "
                           "releases, got {} and {}",
                           id, acquires.size(), releases.size()));
    const std::vector<OpPlace>& taken = acquires.begin()->second;
    const std::vector<OpPlace>& given = releases.begin()->second;
    if (taken.size() != given.size())
      fail(at, fmt::format("semaphore {} is acquired {} times and released {} times; expected as "
                           "many",
                           id, taken.size(), given.size()));
    for (size_t i = 0; i < taken.size(); ++i)
      if (taken[i].block != given[i].block) (*found)[taken[i]].push_back(given[i]);
  }

  // ---- operations ----

  void write(const Op& op) {
    switch (op.row->kind) {
      case OpKind::kPut:
        return write_put(op);
      case OpKind::kGet:
        for (size_t i = 0; i < op.sources.size(); ++i)
          for (int32_t c = 0; c < op.sources[i].count; ++c)
            add({.type = StepType::kRecv,
                 .dst = chunk(op.sinks[i], c),
                 .count = 1,
                 .from = {op.sources[i].gpu, links_.source_channels.at(at_)[i]}});
        return;
      case OpKind::kCopy:
        return add({.type = StepType::kCopy,
                    .src = op.sources[0].first,
                    .dst = op.sinks[0].first,
                    .count = op.sources[0].count});
      case OpKind::kReduce:
        return write_reduce(op);
      case OpKind::kSignal:
        for (const Peer& channel : op.channels) write_signal(channel);
        return;
      case OpKind::kWait:
        for (const Peer& channel : op.channels) write_wait(channel);
        return;
      case OpKind::kBarrier:
      case OpKind::kAcquire:
        for (const OpPlace& other : meetings_[at_]) {
          add({.type = StepType::kNop});
          dependencies_.push_back({at_.block, steps().size() - 1, other});
        }
        return;
      default:
        return;
    }
  }

  void write_put(const Op& op) {
    for (size_t i = 0; i < op.sinks.size(); ++i) {
      send(op.sources[i].first, op.sources[i].count, op.sinks[i].gpu, i);
      if (op.row->signals) write_signal(op.channels[i]);
    }
  }

  // To the i-th sink at a peer.
  void send(const Place& place, int32_t count, int32_t gpu, size_t i) {
    add({.type = StepType::kSend,
         .src = place,
         .count = count,
         .to = {gpu, links_.sink_channels.at(at_)[i]}});
  }

  void write_reduce(const Op& op) {
    const Chunks& sum = op.sinks[0];
    for (int32_t c = 0; c < sum.count; ++c) {
      if (op.row->reads)
        write_reads(op, c);
      else
        write_folds(op, c);
    }
    for (size_t i = 1; i < op.sinks.size(); ++i) send(sum.first, sum.count, op.sinks[i].gpu, i - 1);
  }

  void write_reads(const Op& op, int32_t c) {
    const Place sum = chunk(op.sinks[0], c);
    for (size_t i = 1; i < op.sources.size(); ++i)
      add({.type = StepType::kRecvReduceCopy,
           .src = i == 1 ? chunk(op.sources[0], c) : sum,
           .dst = sum,
           .count = 1,
           .from = {op.sources[i].gpu, links_.source_channels.at(at_)[i - 1]}});
  }

  // The chunk that holds the sum is the first operand, wherever it is among the sources.
  void write_folds(const Op& op, int32_t c) {
    const Place sum = chunk(op.sinks[0], c);
    const auto own = std::ranges::find_if(
        op.sources, [&](const Chunks& source) { return chunk(source, c) == sum; });
    const auto first = own == op.sources.end() ? op.sources.begin() : own;
    if (own == op.sources.end())
      add({.type = StepType::kCopy, .src = chunk(*first, c), .dst = sum, .count = 1});
    for (auto source = op.sources.begin(); source != op.sources.end(); ++source)
      if (source != first)
        add({.type = StepType::kReduce, .src = chunk(*source, c), .dst = sum, .count = 1});
  }

  void write_signal(const Peer& channel) {
    const ConnectionKey key{at_.gpu, channel.rank, channel.channel};
    const Signal& signal = links_.signals.at(key)[signalled_[key]++];
    if (signal.puts.empty()) add({.type = StepType::kSignal, .count = 1, .to = channel});
    for (const Chunks& read : signal.reads)
      for (int32_t c = 0; c < read.count; ++c)
        add({.type = StepType::kSend, .src = chunk(read, c), .count = 1, .to = channel});
  }

  void write_wait(const Peer& channel) {
    const ConnectionKey key{channel.rank, at_.gpu, channel.channel};
    const Signal& signal = links_.signals.at(key)[waited_[key]++];
    if (signal.puts.empty()) add({.type = StepType::kAwait, .count = 1, .from = channel});
    for (const Chunks& put : signal.puts)
      add({.type = StepType::kRecv, .dst = put.first, .count = put.count, .from = channel});
  }

  std::vector<ScheduleStep>& steps() {
    return schedule_.gpus[static_cast<size_t>(at_.gpu)].blocks[at_.block].steps;
  }

  void add(ScheduleStep step) {
    if (++n_steps_ > kMostSteps) fail(at_, fmt::format("expected at most {} steps", kMostSteps));
    if (msccl::row(step.type).sends)
      messages_[{at_.gpu, step.to.rank, step.to.channel}] += step.count;
    step.offset = static_cast<ptrdiff_t>(at_.op);
    steps().push_back(step);
  }

  const Program& program_;
  std::string_view file_;
  Links links_;
  msccl::Schedule schedule_;
  size_t n_steps_ = 0;
  std::map<ConnectionKey, int64_t> messages_;
  std::map<ConnectionKey, size_t> signalled_;
  std::map<ConnectionKey, size_t> waited_;
  // Of the GPU at hand.
  Meetings meetings_;
  std::vector<std::vector<size_t>> begins_;  // by threadblock and operation: its first step
  std::vector<Dependency> dependencies_;
  OpPlace at_;  // the operation at hand
};

}  // namespace

msccl::Schedule schedule_of(const Program& program, std::string_view file) {
  return Writer(program, file).run();
}

}  // namespace tutti::plan::mscclpp
