// SPDX-License-Identifier: Apache-2.0
// Finds ways for lines: straight down where columns meet, arcs within a row, around a circle of
// GPUs, else straight or bent so that few boxes are in the way.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>

#include "topology/formats/svg/fabric.h"
#include "topology/formats/svg/lines.h"
#include "topology/formats/svg/machine.h"
#include "topology/formats/svg/names.h"

namespace tutti::topology::drawing {
namespace {

enum class Side : uint8_t { kTop, kBottom, kLeft, kRight };

constexpr double kBusPx = 21;  // higher items are no buses

// How lines of one kind find their way.
enum class Way : uint8_t { kVertical, kLayered, kNeighbours, kArc, kRing, kFree };

struct Plan {
  Way way = Way::kFree;
  int span = 1;   // of arcs
  Point ends[2];  // at from, at to
  bool to_is_lower = true;
};

bool share_columns(const Rect& a, const Rect& b) {
  return std::min(a.right(), b.right()) - std::max(a.x, b.x) > 6;
}

class Router {
 public:
  Router(const Picture& picture, std::vector<Line>& lines) : picture_(picture), lines_(lines) {
    for (int32_t i = 0; i < static_cast<int32_t>(picture.items.size()); ++i) {
      const Item& item = picture.items[i];
      if (item.shape == Shape::kFrame || item.side != RingSide::kNone) continue;
      rows_[{item.block, item.rect.y}].push_back({item.rect.x, i});
    }
    for (auto& [key, row] : rows_) {
      std::sort(row.begin(), row.end());
      for (size_t i = 0; i < row.size(); ++i) place_in_row_[row[i].second] = static_cast<int>(i);
    }
    plans_.resize(lines.size());
  }

  void route() {
    for (size_t l = 0; l < lines_.size(); ++l) plan(l);
    spread_ends();
    route_rings();
    for (size_t l = 0; l < lines_.size(); ++l) draw(l);
  }

  // A quadratic curve whose bend is one of `bends` of its length.
  template <size_t N>
  void bend(Line& line, Point a, Point b, const std::array<double, N>& bends) const {
    int fewest = INT32_MAX;
    Line best = line;
    for (const double bend : bends) {
      Line candidate = line;
      candidate.form = bend == 0 ? Line::Form::kPolyline : Line::Form::kQuadratic;
      candidate.path = {a, b};
      if (bend != 0)
        candidate.path.insert(candidate.path.begin() + 1, {(a.x + b.x) / 2 - (b.y - a.y) * bend,
                                                           (a.y + b.y) / 2 + (b.x - a.x) * bend});
      const int hits = boxes_hit(candidate);
      if (hits >= fewest) continue;
      fewest = hits;
      best = candidate;
    }
    line = best;
  }

  // The point of the item's edge towards `other`.
  static Point edge(const Rect& rect, Point other) {
    const Point c = rect.centre();
    const double dx = other.x - c.x;
    const double dy = other.y - c.y;
    const double reach = std::max(std::abs(dx) / (rect.w / 2), std::abs(dy) / (rect.h / 2));
    return reach == 0 ? c : Point{c.x + dx / reach, c.y + dy / reach};
  }

 private:
  const Item& from(size_t l) const { return picture_.items[lines_[l].from]; }
  const Item& to(size_t l) const { return picture_.items[lines_[l].to]; }

  static bool level_with(const Rect& a, const Rect& b) {
    return a.y < b.bottom() && b.y < a.bottom();
  }

  void plan(size_t l) {
    Plan& plan = plans_[l];
    const Rect& a = from(l).rect;
    const Rect& b = to(l).rect;
    plan.to_is_lower = a.centre().y < b.centre().y;
    const bool ring_a = from(l).side != RingSide::kNone;
    const bool ring_b = to(l).side != RingSide::kNone;
    if (ring_a && ring_b) {
      plan.way = Way::kFree;
    } else if ((ring_a || ring_b) && from(l).block == to(l).block) {
      plan.way = Way::kRing;
    } else if (in_one_row(l)) {
      plan.span = std::abs(place_in_row_.at(lines_[l].from) - place_in_row_.at(lines_[l].to));
      plan.way = plan.span == 1 ? Way::kNeighbours : Way::kArc;
    } else if (!level_with(a, b)) {
      plan.way = share_columns(a, b) ? Way::kVertical : Way::kLayered;
    }
  }

  bool in_one_row(size_t l) const {
    return from(l).block == to(l).block && from(l).rect.y == to(l).rect.y &&
           place_in_row_.contains(lines_[l].from) && place_in_row_.contains(lines_[l].to);
  }

  // An arc leaves its row on the side where nothing else of the machine is in the way: CPUs are the
  // machine's first row, GPUs have their PCIe switch above.
  bool arc_is_above(size_t l) const {
    const NodeKind kind = from(l).kind;
    const bool first_row = kind != NodeKind::kGpu && kind != NodeKind::kNic;
    return first_row != from(l).flipped;
  }

  struct End {
    double order = 0;
    size_t line = 0;
    int which = 0;
  };

  // Ends at one side of an item share it out, in the order of where the lines go.
  void spread_ends() {
    std::map<std::pair<int32_t, Side>, std::vector<End>> sides;
    for (size_t l = 0; l < lines_.size(); ++l) {
      const Plan& plan = plans_[l];
      if (plan.way != Way::kVertical && plan.way != Way::kLayered && plan.way != Way::kArc)
        continue;
      for (const int which : {0, 1}) {
        const bool lower_side =
            plan.way == Way::kArc ? !arc_is_above(l) : (which == 0) == plan.to_is_lower;
        const int32_t item = which == 0 ? lines_[l].from : lines_[l].to;
        sides[{item, lower_side ? Side::kBottom : Side::kTop}].push_back(
            {end_order(l, which), l, which});
      }
    }
    for (auto& [key, ends] : sides) {
      const Item& item = picture_.items[key.first];
      const Rect& rect = item.rect;
      std::stable_sort(ends.begin(), ends.end(),
                       [](const End& a, const End& b) { return a.order < b.order; });
      for (size_t i = 0; i < ends.size(); ++i) {
        const double share = static_cast<double>(i + 1) / static_cast<double>(ends.size() + 1);
        const bool up = is_uplink(ends[i].line);
        const double uplink = kUplinkPitch * (static_cast<double>(i) + 0.5);
        const double x = rect.x + (up && is_bus(item) ? uplink : rect.w * share);
        plans_[ends[i].line].ends[ends[i].which] = {
            x, key.second == Side::kTop ? rect.y : rect.bottom()};
      }
    }
  }

  static bool is_bus(const Item& item) {
    return item.block < 0 && (item.shape == Shape::kBar || item.rect.h < kBusPx);
  }
  bool is_uplink(size_t l) const { return from(l).block < 0 && to(l).block < 0; }

  // Arcs to the right of an item nest: the farthest leaves first.
  double end_order(size_t l, int which) const {
    const Rect& here = which == 0 ? from(l).rect : to(l).rect;
    const Rect& there = which == 0 ? to(l).rect : from(l).rect;
    const double away = there.centre().x - here.centre().x;
    if (plans_[l].way != Way::kArc) return there.centre().x + lines_[l].lane;
    return (away < 0 ? -1e6 : 1e6) - away;
  }

  // Straight down in the columns of the narrower item.
  void draw_vertical(size_t l) {
    const Rect& a = from(l).rect;
    const Rect& b = to(l).rect;
    const Plan& plan = plans_[l];
    const bool a_narrower = is_uplink(l) ? is_bus(from(l)) : a.w <= b.w;
    double x = plan.ends[a_narrower ? 0 : 1].x;
    x = std::clamp(x, std::max(a.x, b.x) + 2, std::min(a.right(), b.right()) - 2);
    lines_[l].path = {{x, plan.ends[0].y}, {x, plan.ends[1].y}};
    if (boxes_hit(lines_[l]) > 0)
      bend(lines_[l], lines_[l].path[0], lines_[l].path[1],
           std::array{0.0, 0.25, -0.25, 0.5, -0.5});
  }

  void draw_arc(size_t l) {
    const Plan& plan = plans_[l];
    const double away = arc_depth(plan.span) * (arc_is_above(l) ? -4.0 : 4.0) / 3;
    lines_[l].form = Line::Form::kCubic;
    lines_[l].path = {plan.ends[0],
                      {plan.ends[0].x, plan.ends[0].y + away},
                      {plan.ends[1].x, plan.ends[1].y + away},
                      plan.ends[1]};
  }

  // Straight from edge to edge; several lines between the same items are side by side.
  void draw_free(size_t l) {
    Line& line = lines_[l];
    Point a = edge(from(l).rect, to(l).rect.centre());
    Point b = edge(to(l).rect, from(l).rect.centre());
    if (plans_[l].way == Way::kNeighbours) {
      const bool rightwards = from(l).rect.x < to(l).rect.x;
      const double y = from(l).rect.centre().y;
      a = {rightwards ? from(l).rect.right() : from(l).rect.x, y};
      b = {rightwards ? to(l).rect.x : to(l).rect.right(), y};
    }
    const double length = std::max(1.0, std::hypot(b.x - a.x, b.y - a.y));
    const double beside = (line.lane - (line.lanes - 1) / 2.0) * 10;
    const Point shift{-(b.y - a.y) / length * beside, (b.x - a.x) / length * beside};
    bend(line, {a.x + shift.x, a.y + shift.y}, {b.x + shift.x, b.y + shift.y},
         std::array{0.0, 0.1, -0.1, 0.2, -0.2, 0.35, -0.35, 0.55, -0.55});
  }

  void draw(size_t l) {
    switch (plans_[l].way) {
      case Way::kVertical:
        return draw_vertical(l);
      case Way::kLayered:
        return bend(lines_[l], plans_[l].ends[0], plans_[l].ends[1],
                    std::array{0.0, 0.08, -0.08, 0.16, -0.16});
      case Way::kArc:
        return draw_arc(l);
      case Way::kRing:
        return;
      case Way::kNeighbours:
      case Way::kFree:
        return draw_free(l);
    }
  }

  struct RingLine {
    size_t line = 0;
    int32_t gpu = 0;
    int32_t below = 0;
    double distance = 0;  // of the GPU from what is below
  };

  // Lanes at both sides of a circle: whoever comes from farthest takes the outermost.
  void route_rings() {
    std::map<std::tuple<int32_t, RingSide>, std::vector<RingLine>> sides;
    for (size_t l = 0; l < lines_.size(); ++l) {
      if (plans_[l].way != Way::kRing) continue;
      const bool from_ring = from(l).side != RingSide::kNone;
      RingLine ring{l, from_ring ? lines_[l].from : lines_[l].to,
                    from_ring ? lines_[l].to : lines_[l].from, 0};
      const Item& gpu = picture_.items[ring.gpu];
      ring.distance = std::abs(picture_.items[ring.below].rect.y - gpu.rect.y);
      sides[{gpu.block, gpu.side}].push_back(ring);
    }
    std::map<int32_t, std::vector<std::pair<double, size_t>>> ports;
    for (auto& [key, members] : sides) {
      std::stable_sort(members.begin(), members.end(), [](const RingLine& a, const RingLine& b) {
        return a.distance > b.distance;
      });
      for (size_t i = 0; i < members.size(); ++i) {
        const auto order = static_cast<double>(i);
        const bool left = std::get<1>(key) == RingSide::kLeft;
        ports[members[i].below].emplace_back(left ? order : 1e6 - order, members[i].line);
      }
    }
    std::map<size_t, double> port_of;
    for (auto& [item, ends] : ports) {
      std::sort(ends.begin(), ends.end());
      const Rect& rect = picture_.items[item].rect;
      for (size_t i = 0; i < ends.size(); ++i)
        port_of[ends[i].second] =
            rect.x + rect.w * static_cast<double>(i + 1) / static_cast<double>(ends.size() + 1);
    }
    for (const auto& [key, members] : sides)
      for (size_t i = 0; i < members.size(); ++i)
        draw_ring(members[i], i, members.size(), port_of.at(members[i].line));
  }

  void draw_ring(const RingLine& ring, size_t place, size_t lanes, double port) {
    const Item& gpu = picture_.items[ring.gpu];
    const Rect& below = picture_.items[ring.below].rect;
    const bool left = gpu.side == RingSide::kLeft;
    const double down = gpu.flipped ? -1 : 1;
    const double inner = static_cast<double>(lanes - 1 - place);
    const double out = kLanePx * (inner + 1);
    const double lane = left ? gpu.ring.x - out : gpu.ring.right() + out;
    // Lines that turn outwards turn before those outside of them, others before those inside.
    const bool outwards = left ? port < lane : port > lane;
    const double before = outwards ? static_cast<double>(place) : inner;
    const double jog =
        (gpu.flipped ? gpu.ring.y : gpu.ring.bottom()) + down * (8 + kLanePx * before);
    const double end = gpu.flipped ? below.bottom() : below.y;
    const Point start{left ? gpu.rect.x : gpu.rect.right(), gpu.rect.centre().y};
    Line& line = lines_[ring.line];
    line.path = {start, {lane, start.y}, {lane, jog}, {port, jog}, {port, end}};
    if (place + 1 == lanes) {
      const Point bottom{gpu.rect.centre().x, gpu.flipped ? gpu.rect.y : gpu.rect.bottom()};
      line.path = {bottom, {bottom.x, jog}, {port, jog}, {port, end}};
    }
    if (line.from != ring.gpu) std::reverse(line.path.begin(), line.path.end());
  }

  int boxes_hit(const Line& line) const {
    constexpr int kSamples = 32;
    std::array<Point, kSamples - 1> samples;
    for (int s = 1; s < kSamples; ++s)
      samples[s - 1] = point_at(line, static_cast<double>(s) / kSamples);
    int hits = 0;
    for (int32_t i = 0; i < static_cast<int32_t>(picture_.items.size()); ++i) {
      const Item& item = picture_.items[i];
      if (i == line.from || i == line.to || item.shape == Shape::kFrame ||
          item.shape == Shape::kBar)
        continue;
      const Rect rect = item.rect.grown(3);
      hits += std::any_of(samples.begin(), samples.end(),
                          [&](Point point) { return rect.contains(point); })
                  ? 1
                  : 0;
    }
    return hits;
  }

  const Picture& picture_;
  std::vector<Line>& lines_;
  std::vector<Plan> plans_;  // by line
  std::map<std::pair<int32_t, double>, std::vector<std::pair<double, int32_t>>> rows_;
  std::map<int32_t, int> place_in_row_;  // by item
};

Point mix(Point a, Point b, double t) { return {a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t}; }

Point on_polyline(const std::vector<Point>& path, double t) {
  double total = 0;
  for (size_t i = 1; i < path.size(); ++i)
    total += std::hypot(path[i].x - path[i - 1].x, path[i].y - path[i - 1].y);
  double rest = total * t;
  for (size_t i = 1; i < path.size(); ++i) {
    const double length = std::hypot(path[i].x - path[i - 1].x, path[i].y - path[i - 1].y);
    if (rest <= length && length > 0) return mix(path[i - 1], path[i], rest / length);
    rest -= length;
  }
  return path.back();
}

}  // namespace

void route(const Picture& picture, std::vector<Line>& lines) { Router(picture, lines).route(); }

std::vector<Arrow> route_arrows(const Picture& picture, const Overlay& overlay, size_t most) {
  std::vector<Line> none;
  const Router router(picture, none);
  std::vector<Arrow> arrows;
  for (const OverlayArrow& arrow : overlay.arrows) {
    Line line{.from = picture.shown_at[arrow.from], .to = picture.shown_at[arrow.to]};
    if (line.from < 0 || line.to < 0 || line.from == line.to || arrows.size() == most) continue;
    const Rect& a = picture.items[line.from].rect;
    const Rect& b = picture.items[line.to].rect;
    // Trees that use the same pair are beside each other.
    const double more = 0.06 * (arrow.color % 4);
    router.bend(line, Router::edge(a, b.centre()), Router::edge(b, a.centre()),
                std::array{0.12 + more, 0.18 + more, 0.26 + more, -0.12 - more, -0.18 - more,
                           -0.26 - more, 0.45, -0.45});
    arrows.push_back({arrow, std::move(line)});
  }
  return arrows;
}

Point point_at(const Line& line, double t) {
  if (line.form == Line::Form::kPolyline) return on_polyline(line.path, t);
  std::vector<Point> points = line.path;  // de Casteljau
  for (size_t n = points.size() - 1; n > 0; --n)
    for (size_t i = 0; i < n; ++i) points[i] = mix(points[i], points[i + 1], t);
  return points[0];
}

}  // namespace tutti::topology::drawing
