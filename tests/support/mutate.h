// SPDX-License-Identifier: Apache-2.0
// Changes a plan in one small random way, mostly for the worse.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::testing {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // A copy with one mutation, or two (one may hide behind the other). Not equal to `plan`.
  plan::Plan mutate(const plan::Plan& plan) {
    plan::Plan mutant = plan;
    for (int more = below(4) == 0 ? 2 : 1; more > 0 || mutant == plan; --more) mutate_once(mutant);
    return mutant;
  }

  // How often each kind of mutation was tried, by name.
  const std::map<std::string, int>& kinds() const { return kinds_; }

 private:
  using Step = plan::Step;
  using Operand = plan::Operand;
  using Steps = std::vector<Step>;

  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }
  template <typename T>
  T& any(std::vector<T>& items) {
    return items[below(items.size())];
  }

  void mutate_once(plan::Plan& plan) {
    plan::RankProgram& rank = any(plan.ranks);
    switch (below(11)) {
      case 0:
        return count("numbers"), mutate_numbers(plan, rank);
      case 1:
        return count("message dropped"), drop_message(plan);
      case 2:
        return count("scratch shared"), share_scratch(rank);
      case 3:
        return count("connection"), mutate_connection(plan);
      default:
        break;
    }
    if (rank.lanes.empty()) return;
    Steps& steps = any(rank.lanes).steps;
    if (steps.empty()) return;
    switch (below(5)) {
      case 0:
        return count("fold"), mutate_fold(rank, steps, below(steps.size()));
      case 1:
      case 2:
        return count("order of steps"), mutate_order(rank, steps);
      default:
        return count("step"), mutate_step(plan, any(steps));
    }
  }
  void count(const char* kind) { ++kinds_[kind]; }

  // The order in which a step folds, or in how many steps: harmless but for the bits of the result.
  void mutate_fold(plan::RankProgram& rank, Steps& steps, size_t i) {
    Step& step = steps[i];
    if (step.sources.size() < 2) return;
    if (below(2) == 0) {
      std::shuffle(step.sources.begin(), step.sources.end(), random_);
      return;
    }
    // The first sources, or all of them before `post`, through a scratch chunk of their own.
    const auto taken = static_cast<std::ptrdiff_t>(2 + below(step.sources.size() - 1));
    const auto partial = Operand::chunk(plan::Buffer::kScratch, rank.scratch_chunks++);
    Step before{.sinks = {partial}, .extent = step.extent};
    before.sources.assign(step.sources.begin(), step.sources.begin() + taken);
    before.waits = std::exchange(step.waits, {});
    step.sources.erase(step.sources.begin(), step.sources.begin() + taken);
    step.sources.insert(step.sources.begin(), partial);
    steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(i), before);
  }

  void mutate_numbers(plan::Plan& plan, plan::RankProgram& rank) {
    switch (below(4)) {
      case 0:
        plan.slots = 1 + static_cast<int32_t>(below(2));
        break;
      case 1:
        plan.tiles_in_flight = 1 + static_cast<int32_t>(below(3));
        break;
      case 2:
        if (rank.scratch_chunks > 0) --rank.scratch_chunks;
        break;
      default:
        if (plan.shape.chunks_per_block > 0) plan.shape.chunks_per_block += below(2) == 0 ? 1 : -1;
    }
  }

  // Which steps run, and in which order.
  void mutate_order(plan::RankProgram& rank, Steps& steps) {
    const size_t i = below(steps.size());
    switch (below(6)) {
      case 0:
        steps.erase(steps.begin() + i);
        break;
      case 1:
        steps.insert(steps.begin() + below(steps.size() + 1), Step(steps[i]));
        break;
      case 2:
        if (i + 1 < steps.size()) std::swap(steps[i], steps[i + 1]);
        break;
      case 3:
        std::swap(steps[i], any(steps));
        break;
      case 4: {  // to the end of another lane
        const Step moved = steps[i];
        steps.erase(steps.begin() + i);
        any(rank.lanes).steps.push_back(moved);
        break;
      }
      default: {  // the rest of the lane becomes a lane of its own
        plan::Lane rest;
        rest.steps.assign(steps.begin() + i, steps.end());
        if (below(2) == 0 && i > 0)
          rest.steps[0].waits.push_back(
              {static_cast<uint32_t>(below(rank.lanes.size())), static_cast<uint32_t>(i - 1)});
        steps.resize(i);
        rank.lanes.push_back(std::move(rest));
      }
    }
  }

  // What one step does.
  void mutate_step(const plan::Plan& plan, Step& step) {
    auto& operands = below(2) == 0 ? step.sources : step.sinks;
    switch (below(9)) {
      case 0:
        step.post = !step.post;
        break;
      case 1:
        if (!step.sources.empty()) any(step.sources).pre ^= true;
        break;
      case 2:
        step.waits.clear();
        break;
      case 3:
        if (!step.waits.empty()) step.waits.erase(step.waits.begin() + below(step.waits.size()));
        break;
      case 4:
        step.waits.push_back({static_cast<uint32_t>(below(3)), static_cast<uint32_t>(below(3))});
        break;
      case 5:
        step.extent = static_cast<int32_t>(below(extent_count(plan.shape) + 1)) - 1;
        break;
      case 6:
        if (!operands.empty()) operands.erase(operands.begin() + below(operands.size()));
        break;
      case 7:
        operands.push_back(random_operand(plan, step));
        break;
      default:
        if (!operands.empty()) mutate_operand(plan, step, any(operands));
    }
  }

  void mutate_operand(const plan::Plan& plan, const Step& step, Operand& operand) {
    switch (below(5)) {
      case 0:
        operand = random_operand(plan, step);
        break;
      case 1:
        operand.index = static_cast<int32_t>(below(plan.shape.n_ranks));
        break;
      case 2:
        operand.channel = static_cast<int32_t>(below(2));
        break;
      case 3:
        operand.buffer = static_cast<plan::Buffer>(below(3));
        break;
      default:
        operand.index += below(2) == 0 ? 1 : -1;
    }
  }

  // Mostly a chunk of the step's extent, so that a good part of the mutants is well formed.
  Operand random_operand(const plan::Plan& plan, const Step& step) {
    if (below(4) == 0) return Operand::peer(static_cast<int32_t>(below(plan.shape.n_ranks)));
    const auto buffer = static_cast<plan::Buffer>(below(3));
    const auto rank = static_cast<int32_t>(below(plan.shape.n_ranks));
    const int32_t chunks = plan::blocks_in(plan.shape, rank, buffer) * plan.shape.chunks_per_block;
    for (int32_t i = 0; i < chunks; ++i)
      if (plan::extent_of(plan.shape, rank, buffer, i) == step.extent)
        return Operand::chunk(buffer, i, below(2) == 0);
    return Operand::chunk(buffer, static_cast<int32_t>(below(2)));
  }

  // Removes the first message of a connection from both of its ends.
  void drop_message(plan::Plan& plan) {
    const auto source = static_cast<int32_t>(below(plan.shape.n_ranks));
    const auto sink = static_cast<int32_t>(below(plan.shape.n_ranks));
    erase_first(plan.ranks[source], Operand::peer(sink), &Step::sinks);
    erase_first(plan.ranks[sink], Operand::peer(source), &Step::sources);
  }
  static void erase_first(plan::RankProgram& rank, const Operand& peer,
                          std::vector<Operand> Step::*side) {
    for (plan::Lane& lane : rank.lanes) {
      for (size_t i = 0; i < lane.steps.size(); ++i) {
        auto& operands = lane.steps[i].*side;
        if (std::erase(operands, peer) == 0) continue;
        if (operands.empty()) lane.steps.erase(lane.steps.begin() + i);
        return;
      }
    }
  }

  // A change that both ends of a connection agree on: a message twice, two messages swapped, or one
  // on another channel.
  void mutate_connection(plan::Plan& plan) {
    const auto source = static_cast<int32_t>(below(plan.shape.n_ranks));
    const auto sink = static_cast<int32_t>(below(plan.shape.n_ranks));
    const uint64_t change = below(3);
    const uint64_t message = below(4);
    if (change == 2) plan.channels = std::max(plan.channels, 2);
    mutate_end(plan.ranks[source], Operand::peer(sink), &Step::sinks, change, message);
    mutate_end(plan.ranks[sink], Operand::peer(source), &Step::sources, change, message);
  }
  static void mutate_end(plan::RankProgram& rank, const Operand& peer,
                         std::vector<Operand> Step::*side, uint64_t change, uint64_t message) {
    for (plan::Lane& lane : rank.lanes) {
      std::vector<size_t> uses;
      for (size_t i = 0; i < lane.steps.size(); ++i)
        if (std::count((lane.steps[i].*side).begin(), (lane.steps[i].*side).end(), peer) != 0)
          uses.push_back(i);
      if (uses.size() <= message) continue;
      const auto at = lane.steps.begin() + uses[message];
      if (change == 0) {
        lane.steps.insert(at, Step(*at));
      } else if (change == 1 && message > 0) {
        std::swap(*at, lane.steps[uses[message - 1]]);
      } else if (change == 2) {
        std::find(((*at).*side).begin(), ((*at).*side).end(), peer)->channel = 1;
      }
      return;
    }
  }

  // Two scratch chunks of a rank become one.
  void share_scratch(plan::RankProgram& rank) {
    if (rank.scratch_chunks < 2) return;
    const auto from = static_cast<int32_t>(below(rank.scratch_chunks));
    const auto to = static_cast<int32_t>(below(rank.scratch_chunks));
    for (plan::Lane& lane : rank.lanes)
      for (Step& step : lane.steps)
        for (auto* operands : {&step.sources, &step.sinks})
          for (Operand& o : *operands)
            if (o.kind == Operand::Kind::kChunk && o.buffer == plan::Buffer::kScratch &&
                o.index == from)
              o.index = to;
  }

  std::mt19937_64 random_;
  std::map<std::string, int> kinds_;
};

}  // namespace tutti::testing
