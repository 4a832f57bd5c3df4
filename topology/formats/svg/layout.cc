// SPDX-License-Identifier: Apache-2.0
// Arranges machines, racks of machines and the network among each other.
#include "topology/formats/svg/layout.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/alike.h"
#include "topology/formats/svg/fabric.h"
#include "topology/formats/svg/machine.h"
#include "topology/formats/svg/names.h"
#include "topology/formats/svg/part_text.h"

namespace tutti::topology::drawing {
namespace {

constexpr double kGap = 30;  // between machines
constexpr double kRackPadding = 14;
constexpr double kRackHeading = 34;
constexpr double kBarPitch = 34;
constexpr double kFabricGap = 56;    // between machines and buses
constexpr double kSlantedGap = 120;  // between machines and rows of switches
constexpr double kWidestRow = 2200;

// What is in a machine, as numbers.
Block lay_out_collapsed(const Index& index, int32_t machine, Picture& picture) {
  std::map<NodeKind, size_t> counts;
  Item item{.kind = NodeKind::kMachine,
            .node = machine,
            .lines = {machine < 0 ? "other parts" : short_name(index.graph, machine)},
            .tooltip = machine < 0 ? "" : tooltip(index.graph, machine),
            .block = picture.blocks++};
  const std::vector<int32_t> nodes = machine < 0 ? index.parts(-1) : subtree(index, machine);
  for (const int32_t node : nodes)
    if (node != machine) ++counts[index.kind(node)];
  for (const auto& [kind, count] : counts) item.lines.push_back(count_of(count, kind));
  item.rect = {0, 0, 150, text_height(item)};
  for (std::string& line : item.lines) line = fit(line, item.rect.w - 10, kFontPx);
  const Block block{picture.items.size(), picture.items.size() + 1, item.rect.w, item.rect.h};
  const int32_t at = picture.add(std::move(item));
  for (const int32_t node : nodes) picture.shown_at[node] = at;
  return block;
}

class Layout {
 public:
  Layout(const Index& index, const Overlay& overlay, const Limits& limits)
      : index_(index), overlay_(overlay), limits_(limits) {
    picture_.shown_at.assign(index.graph.nodes.size(), -1);
  }

  Picture lay_out() {
    const std::vector<int32_t>& machines = index_.machines(-1);
    std::vector<Block> blocks = group(machines, limits_.machines, 3, false);
    std::vector<int32_t> switches;
    for (int32_t n = 0; n < static_cast<int32_t>(index_.graph.nodes.size()); ++n)
      if (index_.kind(n) == NodeKind::kNetSwitch) switches.push_back(n);
    add_outside(blocks, switches);
    Fabric fabric(index_, overlay_, switches, picture_);
    place(blocks, fabric);
    finish();
    return std::move(picture_);
  }

 private:
  // A block for each machine that is drawn, and for those that are not.
  std::vector<Block> group(const std::vector<int32_t>& machines, size_t most, size_t first,
                           bool nested) {
    const std::vector<Entry> entries = choose_machines(index_, overlay_, machines, most, first);
    std::vector<Block> blocks;
    blocks.reserve(entries.size());
    for (const Entry& entry : entries)
      blocks.push_back(entry.machine < 0 ? more(entry)
                                         : machine(entry.machine, nested, entries.size() > 1));
    return blocks;
  }

  Block machine(int32_t node, bool nested, bool several) {
    if (limits_.collapse) return lay_out_collapsed(index_, node, picture_);
    const bool rack_of_machines = node >= 0 && !index_.machines(node).empty();
    return !rack_of_machines ? lay_out_machine(index_, limits_, node, nested, picture_)
                             : rack(node, several);
  }

  // Parts outside of all machines: switches join the network when there is nothing else.
  void add_outside(std::vector<Block>& blocks, std::vector<int32_t>& switches) {
    const std::vector<int32_t>& parts = index_.parts(-1);
    if (only_nvswitches(parts)) {
      switches.insert(switches.end(), parts.begin(), parts.end());
      std::sort(switches.begin(), switches.end());
    } else {
      blocks.push_back(machine(-1, false, false));
    }
  }

  bool only_nvswitches(const std::vector<int32_t>& parts) const {
    return std::all_of(parts.begin(), parts.end(),
                       [&](int32_t n) { return index_.kind(n) == NodeKind::kNvSwitch; });
  }

  Block more(const Entry& entry) {
    Item item{.shape = Shape::kMore, .kind = NodeKind::kMachine, .block = picture_.blocks++};
    item.lines = {
        fmt::format("… {} more box{}", entry.hidden.size(), entry.hidden.size() == 1 ? "" : "es"),
        entry.alike ? "like these" : "of other kinds"};
    item.tooltip = clean(fmt::format("{} to {}, not drawn", index_.graph.nodes[entry.hidden[0]].id,
                                     index_.graph.nodes[entry.hidden.back()].id));
    const Block block{picture_.items.size(), picture_.items.size() + 1, 200, 64};
    item.rect = {0, 0, block.w, block.h};
    const int32_t at = picture_.add(std::move(item));
    for (const int32_t machine : entry.hidden)
      for (const int32_t node : subtree(index_, machine)) picture_.shown_at[node] = at;
    return block;
  }

  // Machines in a machine, with the NVSwitches that join them above.
  Block rack(int32_t node, bool several) {
    Block block{.first_item = picture_.items.size()};
    const int32_t frame = picture_.add({.shape = Shape::kFrame,
                                        .node = node,
                                        .lines = {heading(index_.graph, node)},
                                        .tooltip = tooltip(index_.graph, node),
                                        .block = picture_.blocks++});
    const std::vector<int32_t>& parts = index_.parts(node);
    std::vector<Block> inner;
    if (!only_nvswitches(parts))
      inner.push_back(lay_out_machine(index_, limits_, node, true, picture_));
    for (Block& b : group(index_.machines(node), several ? 2 : 6, several ? 1 : 3, true))
      inner.push_back(b);
    picture_.shown_at[node] = frame;
    const bool bars = only_nvswitches(parts);
    const double top =
        kRackHeading + (bars ? kBarPitch * static_cast<double>(parts.size()) + 24 : 0);
    const auto [w, h] = row(inner, kRackPadding, top);
    block.w = w + 2 * kRackPadding;
    block.h = top + h + kRackPadding;
    picture_.items[frame].rect = {0, 0, block.w, block.h};
    std::string& name = picture_.items[frame].lines[0];
    name = fit(name, block.w - 2 * kRackPadding, kHeadingPx * kBold);
    for (size_t i = 0; bars && i < parts.size(); ++i) {
      Item item = describe(index_.graph, {.kind = NodeKind::kNvSwitch, .node = parts[i]});
      item.shape = Shape::kBar;
      item.rect = {kRackPadding, kRackHeading + kBarPitch * static_cast<double>(i), w, 24};
      item.block = picture_.items[frame].block;
      picture_.shown_at[parts[i]] = picture_.add(std::move(item));
    }
    block.last_item = picture_.items.size();
    return block;
  }

  // Side by side from (x, y) on, with equal lower edges. Returns the width and the height.
  std::pair<double, double> row(const std::vector<Block>& blocks, double x, double y) {
    double height = 0;
    for (const Block& block : blocks) height = std::max(height, block.h);
    const double left = x;
    for (const Block& block : blocks) {
      const bool more = picture_.items[block.first_item].shape == Shape::kMore;
      const double down = more ? (height - block.h) / 2 : height - block.h;
      picture_.shift(block, x, y + down);
      x += block.w + kGap;
    }
    return {std::max(0.0, x - left - kGap), height};
  }

  void flip(const Block& block) {
    for (size_t i = block.first_item; i < block.last_item; ++i) {
      Item& item = picture_.items[i];
      item.flipped = true;
      item.rect.y = block.h - item.rect.bottom();
      item.ring.y = block.h - item.ring.bottom();
    }
  }

  void place(std::vector<Block>& blocks, Fabric& fabric) {
    double total = 0;
    for (const Block& block : blocks) total += block.w + kGap;
    if (fabric.empty()) {
      place_rows(blocks, std::max(1.0, std::ceil(total / kWidestRow)));
    } else if (fabric.buses() && fabric.one_level() && blocks.size() > 3 &&
               total > kWidestRow / 1.5) {
      place_around(blocks, fabric);
    } else {
      const auto [w, h] = row(blocks, 0, 0);
      fabric.place(h + (fabric.buses() ? kFabricGap : kSlantedGap), w);
    }
  }

  void place_rows(const std::vector<Block>& blocks, double rows) {
    const auto per_row = static_cast<size_t>(std::ceil(static_cast<double>(blocks.size()) / rows));
    double y = 0;
    for (size_t i = 0; i < blocks.size(); i += per_row) {
      const size_t end = std::min(blocks.size(), i + per_row);
      y += row({blocks.begin() + static_cast<std::ptrdiff_t>(i),
                blocks.begin() + static_cast<std::ptrdiff_t>(end)},
               0, y)
               .second +
           kGap;
    }
  }

  // Two rows of machines, NICs towards the buses between them.
  void place_around(const std::vector<Block>& blocks, Fabric& fabric) {
    const auto half = static_cast<std::ptrdiff_t>((blocks.size() + 1) / 2);
    const std::vector<Block> lower(blocks.begin() + half, blocks.end());
    const auto [upper_w, top] = row({blocks.begin(), blocks.begin() + half}, 0, 0);
    double lower_w = -kGap;
    for (const Block& block : lower) {
      lower_w += block.w + kGap;
      flip(block);
    }
    // Columns are known, so that buses can be placed; then the machines go below them.
    row(lower, 0, 0);
    const double shift =
        column_shift({blocks.begin(), blocks.begin() + half}, lower, upper_w - lower_w);
    for (const Block& block : lower) picture_.shift(block, shift, 0);
    const double end = fabric.place(top + kFabricGap, 0) + kFabricGap - 10;
    for (const Block& block : lower) {
      const Item& frame = picture_.items[block.first_item];
      picture_.shift(block, 0, frame.shape == Shape::kMore ? end : end - frame.rect.y);
    }
  }

  struct Column {
    double x = 0;
    int32_t bus = 0;  // node
  };

  // Where lines come out of machines towards buses.
  std::vector<Column> columns(const std::vector<Block>& blocks) const {
    std::map<int32_t, std::vector<int32_t>> buses_of;  // by item
    for (int32_t n = 0; n < static_cast<int32_t>(index_.graph.nodes.size()); ++n) {
      if (index_.kind(n) != NodeKind::kNetSwitch) continue;
      for (const int32_t l : index_.links_at[n]) {
        const int32_t item = picture_.shown_at[index_.other_end(l, n)];
        if (item < 0) continue;
        std::vector<int32_t>& buses = buses_of[item];
        if (buses.empty() || buses.back() != n) buses.push_back(n);
      }
    }
    std::vector<Column> found;
    for (const auto& [item, buses] : buses_of)
      for (const Block& block : blocks) {
        const auto i = static_cast<size_t>(item);
        if (i < block.first_item || i >= block.last_item) continue;
        const Rect& rect = picture_.items[i].rect;
        for (size_t b = 0; b < buses.size(); ++b)
          found.push_back(
              {rect.x + rect.w * static_cast<double>(b + 1) / static_cast<double>(buses.size() + 1),
               buses[b]});
      }
    return found;
  }

  // How far to move the lower machines so that no line from above runs into one from below; those
  // that meet at the same bus may. About in the middle of the room that is left.
  double column_shift(const std::vector<Block>& upper, const std::vector<Block>& lower,
                      double room) const {
    constexpr double kEnough = 14;
    constexpr int kTries = 40;
    const std::vector<Column> above = columns(upper);
    const std::vector<Column> below = columns(lower);
    const double middle = upper.size() == lower.size() ? 0 : room / 2;
    double best = middle;
    double best_distance = -1;
    for (int i = 0; i < kTries; ++i) {
      const int steps = (i + 1) / 2;
      const double shift = middle + (i % 2 == 0 ? 4.0 : -4.0) * steps;
      double distance = kEnough;
      for (const Column& a : above)
        for (const Column& b : below)
          if (a.bus != b.bus) distance = std::min(distance, std::abs(a.x - b.x - shift));
      if (distance <= best_distance) continue;
      best_distance = distance;
      best = shift;
    }
    return best;
  }

  // Moves everything so that it begins at (0, 0).
  void finish() {
    double left = 1e9;
    double top = 1e9;
    for (const Item& item : picture_.items) {
      left = std::min(left, item.rect.x);
      top = std::min(top, item.rect.y);
    }
    picture_.shift({0, picture_.items.size(), 0, 0}, -left, -top);
    for (const Item& item : picture_.items) {
      picture_.w = std::max(picture_.w, item.rect.right());
      picture_.h = std::max(picture_.h, item.rect.bottom());
    }
  }

  const Index& index_;
  const Overlay& overlay_;
  const Limits& limits_;
  Picture picture_;
};

}  // namespace

Picture lay_out(const Index& index, const Overlay& overlay, const Limits& limits) {
  return Layout(index, overlay, limits).lay_out();
}

}  // namespace tutti::topology::drawing
