// SPDX-License-Identifier: Apache-2.0
// Contributions come together in each box, then over the boxes; results go the same ways back.
#include "src/planner/forest/switch_writer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace tutti::planner {
namespace {

using plan::Buffer;
using plan::Collective;
using plan::Operand;
using Operands = std::vector<Operand>;

constexpr int32_t kTilesInFlight = 8;
constexpr int32_t kSlots = 16;
// Channels. The last are of sums within the box, one for each group of boxes that own them.
constexpr int32_t kOutOfOwner = 0;  // within the box
constexpr int32_t kIntoOwner = 1;   // between boxes, where there are several
constexpr int32_t kToBoxes = 2;     // likewise

bool has_several(const SwitchLevels& levels) { return levels.n_boxes() > 1; }
int32_t first_into_box(const SwitchLevels& levels) { return has_several(levels) ? 3 : 1; }

// Of `n`, dealt out to at most `most` groups of nearly equal sizes: how many groups.
int32_t groups_of(int32_t n, int32_t most) {
  const int32_t size = (n + std::max(1, most) - 1) / std::max(1, most);
  return (n + size - 1) / size;
}

// What a lane is for; lanes of several groups are numbered from these.
enum class Role : uint8_t {
  kUp,     // this rank's contributions, to the owners' places of its box; by group of places
  kSum,    // sums of the box, on to the boxes that own them; by group of boxes
  kOwner,  // this rank's own chunk
  kDown,   // results that come from other boxes, and the own one, into the box
  kTake,   // results from the box; by group of places
};

class RankWriter {
 public:
  RankWriter(plan::Plan* plan, const SwitchLevels& levels, const PlanBudget& budget, int32_t box,
             int32_t place)
      : plan_(*plan), levels_(levels), box_(box), place_(place), rank_(levels.boxes[box][place]) {
    const int32_t spare = budget.lanes - 2;
    place_groups_ = groups_of(levels.n_places(), several() ? spare / 4 : spare / 2);
    box_groups_ = several()
                      ? groups_of(levels.n_boxes(),
                                  std::min(spare / 2, budget.channels - first_into_box(levels)))
                      : 1;
  }

  void write() {
    const Collective collective = plan_.shape.collective;
    const bool in = collective != Collective::kAllGather;
    const bool out = collective != Collective::kReduceScatter;
    if (in) contribute();
    if (in && several()) sum_box();
    own(in, out);
    if (out && several()) pass_on(in);
    if (out) take();
  }

 private:
  bool several() const { return has_several(levels_); }

  // The order in which a box's ranks go through the chunks of their places. Boxes begin with
  // different ones, so that not all send to one; but a switch that sums over boxes waits for all of
  // them, so where lanes have several chunks the order is one for all.
  std::vector<int32_t> owners() const {
    const bool rotate = !levels_.rails_by_switch || box_groups_ == levels_.n_boxes();
    std::vector<int32_t> order;
    order.reserve(levels_.boxes.size());
    for (int32_t step = 0; step < levels_.n_boxes(); ++step)
      order.push_back(rotate ? (box_ + 1 + step) % levels_.n_boxes() : step);
    return order;
  }

  void contribute() {
    for (const int32_t box : owners())
      for (int32_t place = 0; place < levels_.n_places(); ++place) {
        if (place == place_) continue;
        const int32_t extent = levels_.boxes[box][place];
        add(Role::kUp, place % place_groups_,
            {.sources = {chunk(Buffer::kInput, extent, true)},
             .sinks = {Operand::peer(in_box(place), into_box(box))},
             .extent = extent});
      }
  }

  void sum_box() {
    for (const int32_t box : owners()) {
      const int32_t extent = levels_.boxes[box][place_];
      const Operand sink =
          box == box_ ? Operand::chunk(Buffer::kScratch, 0) : Operand::peer(extent, kIntoOwner);
      const plan::Wait at =
          add(Role::kSum, box % box_groups_,
              {.sources = box_contributions(box), .sinks = {sink}, .extent = extent});
      if (box == box_) box_sum_ = at;
    }
    plan_.ranks[rank_].scratch_chunks = 1;
  }

  // The sum of all, or the own data; and out it goes. One level has no more to do than this.
  void own(bool in, bool out) {
    plan::Step step{.extent = rank_, .post = in};
    step.sinks.push_back(chunk(Buffer::kOutput, rank_));
    if (!in)
      step.sources.push_back(chunk(Buffer::kInput, rank_));
    else
      step.sources = several() ? sums_of_boxes() : box_contributions(box_);
    if (box_sum_) step.waits.push_back(*box_sum_);
    if (out) append(several() ? other_boxes(kToBoxes) : others_in_box(kOutOfOwner), &step.sinks);
    own_ = add(Role::kOwner, 0, std::move(step));
  }

  void pass_on(bool in) {
    plan::Step own{.sources = {chunk(in ? Buffer::kOutput : Buffer::kInput, rank_)},
                   .sinks = others_in_box(kOutOfOwner),
                   .extent = rank_};
    if (in) own.waits.push_back(own_);
    add(Role::kDown, 0, std::move(own));
    for (const int32_t box : results()) {
      const int32_t extent = levels_.boxes[box][place_];
      if (box == box_) continue;
      plan::Step step{.sources = {Operand::peer(extent, kToBoxes)},
                      .sinks = {chunk(Buffer::kOutput, extent)},
                      .extent = extent};
      append(others_in_box(kOutOfOwner), &step.sinks);
      add(Role::kDown, 0, std::move(step));
    }
  }

  void take() {
    for (const int32_t box : results())
      for (int32_t place = 0; place < levels_.n_places(); ++place) {
        if (place == place_) continue;
        const int32_t extent = levels_.boxes[box][place];
        add(Role::kTake, place % place_groups_,
            {.sources = {Operand::peer(in_box(place), kOutOfOwner)},
             .sinks = {chunk(Buffer::kOutput, extent)},
             .extent = extent});
      }
  }

  // The order in which results go into the box: its own are there first.
  std::vector<int32_t> results() const {
    std::vector<int32_t> order;
    order.reserve(levels_.boxes.size());
    for (int32_t step = 0; step < levels_.n_boxes(); ++step)
      order.push_back((box_ + step) % levels_.n_boxes());
    return order;
  }

  int32_t in_box(int32_t place) const { return levels_.boxes[box_][place]; }
  int32_t into_box(int32_t box) const { return first_into_box(levels_) + box % box_groups_; }

  Operand chunk(Buffer buffer, int32_t extent, bool pre = false) const {
    const int32_t per_block = plan_.shape.chunks_per_block;
    const int32_t position = plan::position_of(plan_.shape, rank_, buffer, extent / per_block);
    return Operand::chunk(buffer, position * per_block + extent % per_block, pre);
  }

  // To the chunk of this place that `box` owns; places ascend by rank.
  Operands box_contributions(int32_t box) const {
    Operands sources;
    for (int32_t place = 0; place < levels_.n_places(); ++place)
      sources.push_back(place == place_ ? chunk(Buffer::kInput, levels_.boxes[box][place], true)
                                        : Operand::peer(in_box(place), into_box(box)));
    return sources;
  }

  Operands sums_of_boxes() const {
    Operands sources;
    for (int32_t box = 0; box < levels_.n_boxes(); ++box)
      sources.push_back(box == box_ ? Operand::chunk(Buffer::kScratch, 0)
                                    : Operand::peer(levels_.boxes[box][place_], kIntoOwner));
    return sources;
  }

  Operands others_in_box(int32_t channel) const {
    Operands peers;
    for (const int32_t rank : levels_.boxes[box_])
      if (rank != rank_) peers.push_back(Operand::peer(rank, channel));
    return peers;
  }

  Operands other_boxes(int32_t channel) const {
    Operands peers;
    for (const auto& box : levels_.boxes)
      if (box[place_] != rank_) peers.push_back(Operand::peer(box[place_], channel));
    return peers;
  }

  static void append(const Operands& more, Operands* list) {
    list->insert(list->end(), more.begin(), more.end());
  }

  plan::Wait add(Role role, int32_t group, plan::Step step) {
    auto& lanes = plan_.ranks[rank_].lanes;
    const auto [found, fresh] =
        lane_of_.try_emplace({role, group}, static_cast<uint32_t>(lanes.size()));
    if (fresh) lanes.emplace_back();
    auto& steps = lanes[found->second].steps;
    steps.push_back(std::move(step));
    return {found->second, static_cast<uint32_t>(steps.size() - 1)};
  }

  plan::Plan& plan_;
  const SwitchLevels& levels_;
  const int32_t box_;
  const int32_t place_;
  const int32_t rank_;
  int32_t place_groups_ = 1;
  int32_t box_groups_ = 1;
  std::map<std::pair<Role, int32_t>, uint32_t> lane_of_;
  std::optional<plan::Wait> box_sum_;  // where the box's sum of the own chunk is made
  plan::Wait own_;
};

int32_t highest_channel(const plan::Plan& plan) {
  int32_t highest = 0;
  for (const plan::RankProgram& rank : plan.ranks)
    for (const plan::Lane& lane : rank.lanes)
      for (const plan::Step& step : lane.steps)
        for (const Operands* operands : {&step.sources, &step.sinks})
          for (const Operand& operand : *operands) highest = std::max(highest, operand.channel);
  return highest;
}

// Of one rank: all that its steps use and a switch serves.
std::vector<plan::SwitchChannel> switch_channels(const plan::RankProgram& program, int32_t rank,
                                                 const SwitchLevels& levels) {
  using Kind = plan::SwitchChannel::Kind;
  std::vector<plan::SwitchChannel> found;
  const auto note = [&](const Operand& operand, Kind kind) {
    if (operand.kind != Operand::Kind::kPeer) return;
    const int32_t channel = operand.channel;
    const bool rails = has_several(levels) && (channel == kIntoOwner || channel == kToBoxes);
    const bool into = rails ? channel == kIntoOwner : channel >= first_into_box(levels);
    if ((kind == Kind::kReduce) != into) return;
    if (rails ? levels.rails_by_switch : levels.box_by_switch)
      found.push_back({rank, channel, kind});
  };
  for (const plan::Lane& lane : program.lanes)
    for (const plan::Step& step : lane.steps) {
      for (const Operand& source : step.sources) note(source, Kind::kReduce);
      for (const Operand& sink : step.sinks) note(sink, Kind::kMulticast);
    }
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace

plan::Plan switch_plan(const char* algorithm, Collective collective, const SwitchLevels& levels,
                       const PlanBudget& budget) {
  const int32_t n = levels.n_boxes() * levels.n_places();
  plan::Plan plan{.algorithm = algorithm,
                  .shape = {.collective = collective,
                            .n_ranks = n,
                            .root = 0,
                            .chunks_per_block = collective == Collective::kAllReduce ? n : 1},
                  .slots = kSlots,
                  .tiles_in_flight = kTilesInFlight};
  plan.ranks.resize(static_cast<size_t>(n));
  for (int32_t box = 0; box < levels.n_boxes(); ++box)
    for (int32_t place = 0; place < levels.n_places(); ++place)
      RankWriter(&plan, levels, budget, box, place).write();
  plan.channels = highest_channel(plan) + 1;
  for (int32_t rank = 0; rank < n; ++rank) {
    const auto more = switch_channels(plan.ranks[rank], rank, levels);
    plan.switch_channels.insert(plan.switch_channels.end(), more.begin(), more.end());
  }
  return plan;
}

}  // namespace tutti::planner
