// SPDX-License-Identifier: Apache-2.0
// Sorts switches into levels by their distance from the machines, and places the levels.
#include "topology/formats/svg/fabric.h"

#include <algorithm>
#include <map>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/names.h"
#include "topology/formats/svg/part_text.h"

namespace tutti::topology::drawing {
namespace {

constexpr size_t kMostLeaves = 16;
constexpr size_t kMostSpines = 8;
constexpr size_t kMostSpineBuses = 4;  // of more spines, those of equal neighbours are one
constexpr size_t kMostLevels = 6;
constexpr double kBusPitch = 30;
constexpr double kBusHeight = 20;
constexpr double kLongestName = 260;  // of a bus
constexpr double kLevelGap = 80;

}  // namespace

Fabric::Fabric(const Index& index, const Overlay& overlay, const std::vector<int32_t>& switches,
               Picture& picture)
    : index_(index), overlay_(overlay), picture_(picture) {
  if (switches.empty()) return;
  find_levels(switches);
  buses_ = !has_links_within_leaves();
  choose_leaves();
  for (size_t l = 1; l < levels_.size(); ++l) choose_spines(levels_[l]);
}

void Fabric::find_levels(const std::vector<int32_t>& switches) {
  std::map<int32_t, size_t> level_of;
  std::vector<int32_t> queue;
  const auto is_switch = [&](int32_t node) {
    return std::binary_search(switches.begin(), switches.end(), node);
  };
  for (const int32_t node : switches)
    for (const int32_t l : index_.links_at[node])
      if (!is_switch(index_.other_end(l, node)) && level_of.emplace(node, 0).second)
        queue.push_back(node);
  for (size_t i = 0; i < queue.size(); ++i)
    for (const int32_t l : index_.links_at[queue[i]]) {
      const int32_t other = index_.other_end(l, queue[i]);
      const size_t next = std::min(level_of.at(queue[i]) + 1, kMostLevels - 1);
      if (is_switch(other) && level_of.emplace(other, next).second) queue.push_back(other);
    }
  for (const int32_t node : switches) {
    const auto found = level_of.find(node);
    const size_t level = found == level_of.end() ? 0 : found->second;
    if (levels_.size() <= level) levels_.resize(level + 1);
    levels_[level].push_back({{node}});
  }
}

bool Fabric::has_links_within_leaves() const {
  std::vector<int32_t> leaves;
  for (const Group& group : levels_[0]) leaves.push_back(group.nodes[0]);
  return std::any_of(leaves.begin(), leaves.end(), [&](int32_t node) {
    return std::any_of(index_.links_at[node].begin(), index_.links_at[node].end(), [&](int32_t l) {
      return std::binary_search(leaves.begin(), leaves.end(), index_.other_end(l, node));
    });
  });
}

bool Fabric::joins_shown_part(int32_t node) const {
  return std::any_of(index_.links_at[node].begin(), index_.links_at[node].end(), [&](int32_t l) {
    const int32_t item = picture_.shown_at[index_.other_end(l, node)];
    return item >= 0 && picture_.items[item].shape != Shape::kMore;
  });
}

// Those of machines that are drawn.
void Fabric::choose_leaves() {
  if (levels_[0].size() <= kMostLeaves) return;
  Level kept;
  Group more{{}, true};
  for (const Group& group : levels_[0])
    if (kept.size() < kMostLeaves && joins_shown_part(group.nodes[0]))
      kept.push_back(group);
    else
      more.nodes.push_back(group.nodes[0]);
  if (!more.nodes.empty()) kept.push_back(std::move(more));
  levels_[0] = std::move(kept);
}

std::string Fabric::neighbours(int32_t node) const {
  std::vector<std::string> links;
  for (const int32_t l : index_.links_at[node]) {
    const Link& link = index_.graph.links[l];
    const bool bottleneck = !overlay_.links.empty() && overlay_.links[l].bottleneck;
    links.push_back(fmt::format("{},{},{},{}", index_.other_end(l, node), link.forward_mbit_s,
                                link.reverse_mbit_s, bottleneck));
  }
  std::sort(links.begin(), links.end());
  const bool cut = !overlay_.cut_nodes.empty() && overlay_.cut_nodes[node];
  return fmt::format("{}: {}", cut, fmt::join(links, ";"));
}

// Where many leaves meet many spines, every line would cross every other: such spines are one.
void Fabric::choose_spines(Level& level) {
  if (level.size() <= kMostSpineBuses) return;
  std::map<std::string, size_t> place_of;
  Level groups;
  for (const Group& group : level) {
    const auto [found, is_new] = place_of.emplace(neighbours(group.nodes[0]), groups.size());
    if (is_new) groups.emplace_back();
    groups[found->second].nodes.push_back(group.nodes[0]);
  }
  if (groups.size() > kMostSpines) {
    Group more{{}, true};
    for (size_t i = kMostSpines - 1; i < groups.size(); ++i)
      more.nodes.insert(more.nodes.end(), groups[i].nodes.begin(), groups[i].nodes.end());
    groups.resize(kMostSpines - 1);
    groups.push_back(std::move(more));
  }
  level = std::move(groups);
}

Item Fabric::item_of(const Group& group) const {
  const NodeKind kind = index_.kind(group.nodes[0]);
  if (group.more) {
    Item item = describe(index_.graph, {.kind = kind, .more = true, .stands_for = group.nodes});
    if (buses_) item.lines = {fmt::format("{} {}", item.lines[0], item.lines[1])};
    return item;
  }
  Item item = describe(index_.graph, {.kind = kind, .node = group.nodes[0]});
  if (group.nodes.size() == 1) return item;
  item.node = -1;
  item.tooltip = fmt::format(
      "{} with the same neighbours, {} to {}", count_of(group.nodes.size(), kind),
      short_name(index_.graph, group.nodes[0]), short_name(index_.graph, group.nodes.back()));
  item.lines = {
      fmt::format("{} to {}", item.lines[0], short_name(index_.graph, group.nodes.back())),
      fmt::format("{} with the same neighbours", count_of(group.nodes.size(), kind))};
  return item;
}

void Fabric::add(const Group& group, Item item) {
  const int32_t placed = picture_.add(std::move(item));
  for (const int32_t node : group.nodes) picture_.shown_at[node] = placed;
}

// The mean of where its drawn neighbours are; -1: it has none.
double Fabric::middle(const std::vector<int32_t>& nodes) const {
  double sum = 0;
  int count = 0;
  for (const int32_t node : nodes)
    for (const int32_t l : index_.links_at[node]) {
      const int32_t item = picture_.shown_at[index_.other_end(l, node)];
      if (item < 0) continue;
      sum += picture_.items[item].rect.centre().x;
      ++count;
    }
  return count == 0 ? -1 : sum / count;
}

double Fabric::place(double top, double width) {
  double y = top;
  double left = 0;
  double right = width;
  for (size_t l = 0; l < levels_.size(); ++l) {
    if (l > 0) y += kLevelGap;
    if (!buses_ || levels_[l].size() > kMostSpineBuses)
      y = l == 0 && buses_ ? place_buses(y) : place_row(levels_[l], y, left, right - left);
    else
      y = l == 0 ? place_buses(y) : place_spine_buses(levels_[l], y, left, right - left);
    for (const Item& item : picture_.items) {
      left = std::min(left, item.rect.x);
      right = std::max(right, item.rect.right());
    }
  }
  return y;
}

// From the leftmost to the rightmost of what the group joins.
Rect Fabric::extent(const Group& group) const {
  constexpr double kNone = 1e9;
  double left = kNone;
  double right = 0;
  for (const int32_t node : group.nodes)
    for (const int32_t l : index_.links_at[node]) {
      const int32_t other = picture_.shown_at[index_.other_end(l, node)];
      if (other < 0) continue;
      left = std::min(left, picture_.items[other].rect.x);
      right = std::max(right, picture_.items[other].rect.right());
    }
  return left == kNone ? Rect{} : Rect{left, 0, right - left, 0};
}

double Fabric::place_buses(double top) {
  std::stable_sort(levels_[0].begin(), levels_[0].end(), [&](const Group& a, const Group& b) {
    return std::pair(a.more, extent(a).x) < std::pair(b.more, extent(b).x);
  });
  std::vector<Item> buses = arrange_buses(top, true);
  if (levels_.size() > 1) {
    make_room_for_uplinks(buses);
    const auto overlap = [](const std::vector<Item>& items) {
      for (size_t a = 0; a < items.size(); ++a)
        for (size_t b = a + 1; b < items.size(); ++b)
          if (items[a].rect.overlaps(items[b].rect)) return true;
      return false;
    };
    if (overlap(buses)) {
      buses = arrange_buses(top, false);
      make_room_for_uplinks(buses);
    }
  }
  double bottom = top;
  for (size_t i = 0; i < buses.size(); ++i) {
    bottom = std::max(bottom, buses[i].rect.y + kBusPitch);
    add(levels_[0][i], std::move(buses[i]));
  }
  return bottom;
}

// In rows; those that end before others begin may share one.
std::vector<Item> Fabric::arrange_buses(double top, bool share_rows) const {
  std::vector<double> row_ends;
  std::vector<Item> buses;
  for (const Group& group : levels_[0]) {
    Item item = item_of(group);
    if (!group.more) item.shape = Shape::kBar;
    const std::string name = fmt::format("{}", fmt::join(item.lines, ", "));
    item.lines = {fit(name, kLongestName, kFontPx * kBold)};
    item.rect = extent(group);
    const double label = group.more ? 0 : text_width(item) + 24;
    item.rect.x -= label;
    item.rect.w = std::max(group.more ? text_width(item) + 16 : 0, item.rect.w + label);
    item.rect.h = kBusHeight;
    item.label = label;
    size_t row = share_rows ? 0 : row_ends.size();
    while (row < row_ends.size() && row_ends[row] > item.rect.x) ++row;
    if (row == row_ends.size()) row_ends.push_back(0);
    row_ends[row] = item.rect.right() + 40;
    item.rect.y = top + kBusPitch * static_cast<double>(row);
    buses.push_back(std::move(item));
  }
  return buses;
}

// Lines to spines leave at a bus's left end, and should meet no bus below.
void Fabric::make_room_for_uplinks(std::vector<Item>& buses) const {
  const double step = kUplinkPitch * static_cast<double>(levels_[1].size()) + 4;
  std::vector<Item*> upwards;
  upwards.reserve(buses.size());
  for (Item& bus : buses) upwards.push_back(&bus);
  std::stable_sort(upwards.begin(), upwards.end(),
                   [](const Item* a, const Item* b) { return a->rect.y > b->rect.y; });
  for (size_t i = 0; i < upwards.size(); ++i) {
    Rect& rect = upwards[i]->rect;
    double left = rect.x;
    for (size_t j = 0; j < i; ++j) {
      const Rect& lower = upwards[j]->rect;
      if (lower.y > rect.y && lower.x < left + step && left < lower.right() + step)
        left = lower.x - step;
    }
    rect.w += rect.x - left;
    rect.x = left;
  }
}

// Each as wide as the picture.
double Fabric::place_spine_buses(const Level& level, double top, double left, double width) {
  for (const Group& group : level) {
    Item item = item_of(group);
    if (!group.more) item.shape = Shape::kBar;
    item.rect = {left, top, width, std::max(kBusHeight, text_height(item))};
    top = item.rect.bottom() + kBusPitch - kBusHeight;
    add(group, std::move(item));
  }
  return top;
}

double Fabric::place_row(const Level& level, double top, double left, double width) {
  std::vector<std::pair<double, const Group*>> order;
  double box = 70;
  double height = 0;
  for (const Group& group : level) {
    const Item item = item_of(group);
    order.emplace_back(group.more && &level != levels_.data() ? 1e9 : middle(group.nodes), &group);
    box = std::max(box, std::min(150.0, text_width(item) + 16));
    height = std::max(height, text_height(item));
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  const double pitch = std::max(box + 26, width / static_cast<double>(level.size()));
  const double unused = width - pitch * static_cast<double>(level.size());
  double x = left + unused / 2 + (pitch - box) / 2;
  for (const auto& [at, group] : order) {
    Item item = item_of(*group);
    item.rect = {x, top, box, height};
    for (std::string& line : item.lines) line = fit(line, box - 6, kFontPx);
    add(*group, std::move(item));
    x += pitch;
  }
  return top + height;
}

}  // namespace tutti::topology::drawing
