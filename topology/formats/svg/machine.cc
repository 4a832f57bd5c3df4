// SPDX-License-Identifier: Apache-2.0
// Gives each part of a machine a column below what it hangs from, and a row by its kind.
#include "topology/formats/svg/machine.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/names.h"
#include "topology/formats/svg/part_text.h"
#include "topology/formats/svg/parts.h"
#include "topology/formats/svg/ring.h"

namespace tutti::topology::drawing {
namespace {

constexpr double kPadding = 14;
constexpr double kHeadingHeight = 26;
constexpr double kRowGap = 34;
constexpr double kBarHeight = 24;
constexpr double kBridgeHeight = 24;

// Rows from top to bottom. Switches of GPUs without CPUs above them are below the GPUs.
enum class Row : uint8_t { kCpu, kBarsAbove, kBridges, kGpu, kBarsBelow, kBridgesBelow, kNic };

class MachineLayout {
 public:
  MachineLayout(const Index& index, const Limits& limits, int32_t machine, bool nested,
                Picture& picture)
      : index_(index),
        machine_(machine),
        nested_(nested),
        picture_(picture),
        tree_(choose_parts(index, machine, limits)) {
    for (const Part& part : tree_.parts) items_.push_back(describe(index.graph, part));
    find_links();
  }

  Block lay_out() {
    const size_t first = picture_.items.size();
    choose_cell();
    if (ring_order_.empty())
      place_row(tree_.roots, 0);
    else
      place_ring();
    place_rows();
    place_bars();
    return emit(first);
  }

 private:
  Part& part(int32_t p) { return tree_.parts[p]; }
  NodeKind kind(int32_t p) const { return tree_.parts[p].kind; }
  bool is_bridge(int32_t p) const {
    return kind(p) == NodeKind::kHostBridge || kind(p) == NodeKind::kPciSwitch;
  }
  bool shown(int32_t p) const {
    return tree_.parts[p].more || tree_.parts[p].node < 0 ||
           tree_.part_of.at(tree_.parts[p].node) == p;
  }
  std::vector<int32_t> shown_of(NodeKind wanted) const {
    std::vector<int32_t> found;
    for (int32_t p = 0; p < static_cast<int32_t>(tree_.parts.size()); ++p)
      if (kind(p) == wanted && shown(p)) found.push_back(p);
    return found;
  }

  // Pairs of parts with a link, each once.
  void find_links() {
    for (const auto& [node, p] : tree_.part_of)
      for (const int32_t link : index_.links_at[node]) {
        const auto other = tree_.part_of.find(index_.other_end(link, node));
        if (other != tree_.part_of.end() && p < other->second)
          links_.emplace_back(p, other->second);
      }
    std::sort(links_.begin(), links_.end());
    links_.erase(std::unique(links_.begin(), links_.end()), links_.end());
    const auto both = [&](NodeKind k) {
      return
          [this, k](const auto& link) { return kind(link.first) == k && kind(link.second) == k; };
    };
    gpu_mesh_ = std::any_of(links_.begin(), links_.end(), both(NodeKind::kGpu));
    cpu_links_ = std::any_of(links_.begin(), links_.end(), [&](const auto& link) {
      return is_cpu(kind(link.first)) && is_cpu(kind(link.second));
    });
    const std::vector<int32_t> gpus = shown_of(NodeKind::kGpu);
    if (!gpu_mesh_ || tree_.cpus_on_top || !tree_.nvswitches.empty() || gpus.size() < 3) return;
    std::vector<std::pair<int, int>> mesh;
    for (const auto& [a, b] : links_) {
      const auto at_a = std::find(gpus.begin(), gpus.end(), a);
      const auto at_b = std::find(gpus.begin(), gpus.end(), b);
      if (at_a != gpus.end() && at_b != gpus.end())
        mesh.emplace_back(static_cast<int>(at_a - gpus.begin()),
                          static_cast<int>(at_b - gpus.begin()));
    }
    for (const int i : ring_order(static_cast<int>(gpus.size()), mesh))
      ring_order_.push_back(gpus[i]);
  }

  // GPUs and NICs are equally wide.
  void choose_cell() {
    for (size_t p = 0; p < items_.size(); ++p)
      if (kind(p) == NodeKind::kGpu || kind(p) == NodeKind::kNic)
        cell_ = std::max(cell_, std::min(132.0, text_width(items_[p]) + 12));
  }

  double own_width(int32_t p) const {
    if (is_cpu(kind(p))) return std::clamp(text_width(items_[p]) + 20, 120.0, 260.0);
    return is_bridge(p) ? std::clamp(text_width(items_[p]) + 12, 60.0, 170.0) : cell_;
  }

  double gap(const std::vector<int32_t>& row) const {
    if (!row.empty() && is_cpu(kind(row[0]))) return cpu_links_ ? 90 : 24;
    const bool gpus =
        std::any_of(row.begin(), row.end(), [&](int32_t p) { return kind(p) == NodeKind::kGpu; });
    if (!gpus || !gpu_mesh_) return 10;
    return tree_.cpus_on_top ? 32 : 96;
  }

  // What hangs below, as rows that share columns: GPUs are above their PCIe switch and NICs below
  // it when there is no CPU, else all is below.
  std::vector<std::vector<int32_t>> rows_below(int32_t p) const {
    const std::vector<int32_t>& below = tree_.parts[p].below;
    if (tree_.cpus_on_top || !is_bridge(p)) return {below};
    std::vector<std::vector<int32_t>> rows(2);
    for (const int32_t q : below)
      if (kind(q) != NodeKind::kGpu)
        rows[1].push_back(q);
      else if (ring_order_.empty())
        rows[0].push_back(q);
    return rows;
  }

  double row_width(const std::vector<int32_t>& row) {
    double width = row.empty() ? 0 : gap(row) * static_cast<double>(row.size() - 1);
    for (const int32_t p : row) width += span(p);
    return width;
  }

  double span(int32_t p) {
    double width = own_width(p);
    for (const std::vector<int32_t>& row : rows_below(p)) width = std::max(width, row_width(row));
    return width;
  }

  void place_row(const std::vector<int32_t>& row, double x) {
    const double between = gap(row);
    for (const int32_t p : row) {
      part(p).x = x;
      part(p).w = span(p);
      for (const std::vector<int32_t>& below : rows_below(p))
        place_row(below, x + (part(p).w - row_width(below)) / 2);
      x += part(p).w + between;
    }
  }

  // Counter-clockwise from the top, so that what is below the circle keeps the order in which links
  // come down around it.
  void place_ring() {
    const auto n = static_cast<double>(ring_order_.size());
    const double chord = cell_ + 22;
    radius_ = std::max(80 + 11 * n, chord / (2 * std::sin(std::numbers::pi / n)));
    std::map<int32_t, double> place_of;
    for (size_t i = 0; i < ring_order_.size(); ++i)
      place_of[ring_order_[i]] = static_cast<double>(i);
    std::vector<std::pair<double, int32_t>> below;
    for (const int32_t p : tree_.roots)
      if (kind(p) != NodeKind::kGpu) below.emplace_back(mean_place(p, place_of), p);
    for (const int32_t gpu : ring_order_)
      for (const int32_t p : std::exchange(part(gpu).below, {}))
        below.emplace_back(mean_place(p, place_of), p);
    std::stable_sort(below.begin(), below.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<int32_t> row;
    row.reserve(below.size());
    for (const auto& [place, p] : below) row.push_back(p);
    for (const auto& [a, b] : links_) {
      const int32_t gpu = kind(a) == NodeKind::kGpu ? a : b;
      if ((kind(a) == NodeKind::kGpu) == (kind(b) == NodeKind::kGpu)) continue;
      (place_of[gpu] < n / 2 ? lanes_left_ : lanes_right_) += 1;
    }
    ring_width_ = 2 * radius_ + cell_ + 2 * kLanePx * (std::max(lanes_left_, lanes_right_) + 1);
    const double width = row_width(row);
    place_row(row, std::max(0.0, (ring_width_ - width) / 2));
    const double centre = std::max(ring_width_, width) / 2;
    for (size_t i = 0; i < ring_order_.size(); ++i) {
      const double angle = std::numbers::pi * (0.5 + (2 * static_cast<double>(i) + 1) / n);
      Part& gpu = part(ring_order_[i]);
      gpu.w = cell_;
      gpu.x = centre + radius_ * std::cos(angle) - cell_ / 2;
      ring_y_.push_back(radius_ - radius_ * std::sin(angle));
    }
  }

  double mean_place(int32_t p, const std::map<int32_t, double>& place_of) const {
    double sum = 0;
    int count = 0;
    for (const auto& [a, b] : links_) {
      if (a != p && b != p) continue;
      const auto found = place_of.find(a == p ? b : a);
      if (found == place_of.end()) continue;
      sum += found->second;
      ++count;
    }
    return count == 0 ? -1 : sum / count;
  }

  Row row_of(int32_t p) const {
    if (is_cpu(kind(p))) return Row::kCpu;
    if (kind(p) == NodeKind::kGpu) return Row::kGpu;
    if (kind(p) == NodeKind::kNic) return Row::kNic;
    if (kind(p) == NodeKind::kNvSwitch)
      return tree_.cpus_on_top ? Row::kBarsBelow : Row::kBarsAbove;
    return tree_.cpus_on_top ? Row::kBridges : Row::kBridgesBelow;
  }

  // Of bridges below bridges.
  int depth(int32_t p) const {
    int steps = 0;
    if (is_bridge(p))
      for (int32_t up = part_up(p); up >= 0 && is_bridge(up); up = part_up(up)) ++steps;
    return steps;
  }
  int32_t part_up(int32_t p) const { return tree_.parts[p].up; }

  // How much room arcs between parts of a row need, beyond neighbours.
  double arcs_height(Row row) const {
    std::vector<std::pair<double, int32_t>> members;
    for (int32_t p = 0; p < static_cast<int32_t>(tree_.parts.size()); ++p)
      if (shown(p) && row_of(p) == row) members.emplace_back(tree_.parts[p].x, p);
    std::sort(members.begin(), members.end());
    std::map<int32_t, int> place;
    for (size_t i = 0; i < members.size(); ++i) place[members[i].second] = static_cast<int>(i);
    int widest = 1;
    for (const auto& [a, b] : links_)
      if (place.contains(a) && place.contains(b))
        widest = std::max(widest, std::abs(place[a] - place[b]));
    return widest < 2 ? 0 : arc_depth(widest);
  }

  void place_rows() {
    std::map<std::pair<Row, int>, std::vector<int32_t>> rows;
    for (int32_t p = 0; p < static_cast<int32_t>(tree_.parts.size()); ++p)
      if (shown(p)) rows[{row_of(p), depth(p)}].push_back(p);
    double y = 0;
    for (const auto& [row, members] : rows) {
      if (y > 0) y += kRowGap;
      if (row.first == Row::kCpu) y += arcs_height(Row::kCpu);
      if (row.first == Row::kGpu && !ring_order_.empty()) {
        y = place_ring_rows(y);
        continue;
      }
      double height = 0;
      for (const int32_t p : members) height = std::max(height, height_of(p));
      for (const int32_t p : members) {
        items_[p].rect = {part(p).x, y, part(p).w, height};
        if (kind(p) == NodeKind::kNvSwitch) y += kBarHeight + 10;
      }
      y += kind(members[0]) == NodeKind::kNvSwitch ? -10 : height;
      if (row.first == Row::kGpu) y += arcs_height(Row::kGpu);
    }
    height_ = y;
  }

  double place_ring_rows(double y) {
    double height = 0;
    for (const int32_t p : ring_order_) height = std::max(height, height_of(p));
    Rect ring{1e9, y, 0, 2 * radius_ + height};
    double right = 0;
    for (size_t i = 0; i < ring_order_.size(); ++i) {
      Item& item = items_[ring_order_[i]];
      item.rect = {part(ring_order_[i]).x, y + ring_y_[i], cell_, height};
      item.side = 2 * i < ring_order_.size() ? RingSide::kLeft : RingSide::kRight;
      ring.x = std::min(ring.x, item.rect.x);
      right = std::max(right, item.rect.right());
    }
    ring.w = right - ring.x;
    for (const int32_t p : ring_order_) items_[p].ring = ring;
    return ring.bottom() + kLanePx * std::max(lanes_left_, lanes_right_);
  }

  double height_of(int32_t p) const {
    if (kind(p) == NodeKind::kNvSwitch) return kBarHeight;
    return is_bridge(p) ? kBridgeHeight : text_height(items_[p]);
  }

  // An NVSwitch spans the GPUs that it joins.
  void place_bars() {
    for (const int32_t bar : tree_.nvswitches) {
      double left = 1e9;
      double right = 0;
      for (const auto& [a, b] : links_) {
        if (a != bar && b != bar) continue;
        const Rect& end = items_[a == bar ? b : a].rect;
        left = std::min(left, end.x);
        right = std::max(right, end.right());
      }
      const double width = text_width(items_[bar]) + 24;
      Rect& rect = items_[bar].rect;
      rect.x = right == 0 ? 0 : left;
      rect.w = std::max(width, right - left);
      items_[bar].shape = Shape::kBar;
    }
  }

  Block emit(size_t first) {
    double right = ring_width_;
    for (size_t p = 0; p < items_.size(); ++p)
      if (shown(p)) right = std::max(right, items_[p].rect.right());
    // The parts of a machine that has machines in it are beside those, in its frame.
    const bool own_frame = machine_ >= 0 && index_.machines(machine_).empty();
    const std::string name = own_frame ? heading(index_.graph, machine_) : "other parts";
    const double top = nested_ ? kPadding : kHeadingHeight + 8;
    const double left = nested_ ? kHeadingHeight : kPadding;
    const double least =
        nested_ ? 60 : std::min(280.0, text_width(name, kHeadingPx * kBold)) + 2 * kPadding;
    Block block{.first_item = first, .w = std::max(least, right + left + kPadding)};
    block.h = std::max(nested_ ? 70.0 : 0.0, top + height_ + kPadding);
    const int32_t id = picture_.blocks++;
    const double room = nested_ ? block.h : block.w;
    const int32_t frame = picture_.add(
        {.shape = Shape::kFrame,
         .node = own_frame ? machine_ : -1,
         .rect = {0, 0, block.w, block.h},
         .lines = {fit(name, room - 2 * kPadding, (nested_ ? kFontPx : kHeadingPx) * kBold)},
         .tooltip = own_frame ? tooltip(index_.graph, machine_) : name,
         .block = id,
         .nested = nested_});
    if (own_frame) picture_.shown_at[machine_] = frame;
    const double shift = left + std::max(0.0, block.w - left - kPadding - right) / 2;
    for (size_t p = 0; p < items_.size(); ++p) {
      if (!shown(p)) continue;
      Item item = items_[p];
      for (Rect* rect : {&item.rect, &item.ring}) {
        rect->x += shift;
        rect->y += top;
      }
      item.block = id;
      if (item.shape == Shape::kBox || item.shape == Shape::kMore) shorten(item);
      item_of_[static_cast<int32_t>(p)] = picture_.add(std::move(item));
    }
    for (const auto& [node, p] : tree_.part_of) picture_.shown_at[node] = item_of_.at(p);
    block.last_item = picture_.items.size();
    return block;
  }

  static void shorten(Item& item) {
    for (size_t i = 0; i < item.lines.size(); ++i)
      item.lines[i] = fit(item.lines[i], item.rect.w - 6, i == 0 ? kFontPx * kBold : kSmallPx);
  }

  const Index& index_;
  const int32_t machine_;
  const bool nested_;
  Picture& picture_;
  Parts tree_;
  std::vector<Item> items_;  // by part
  std::vector<std::pair<int32_t, int32_t>> links_;
  bool gpu_mesh_ = false;
  bool cpu_links_ = false;
  std::vector<int32_t> ring_order_;  // parts; empty: no circle
  std::vector<double> ring_y_;
  double radius_ = 0;
  double ring_width_ = 0;
  int lanes_left_ = 0;
  int lanes_right_ = 0;
  double cell_ = 56;
  double height_ = 0;
  std::map<int32_t, int32_t> item_of_;  // by part
};

}  // namespace

Block lay_out_machine(const Index& index, const Limits& limits, int32_t machine, bool nested,
                      Picture& picture) {
  return MachineLayout(index, limits, machine, nested, picture).lay_out();
}

}  // namespace tutti::topology::drawing
