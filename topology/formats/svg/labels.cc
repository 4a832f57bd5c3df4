// SPDX-License-Identifier: Apache-2.0
// Tries a few places along each line.
#include "topology/formats/svg/labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/names.h"

namespace tutti::topology::drawing {
namespace {

constexpr double kHeight = 13;
constexpr double kCell = 32;  // of the grid that lines are looked up in

// "→20 ←80 %": what goes there and back, by where the line goes.
std::string both_ways(const Line& line, const std::string& there, const std::string& back,
                      const char* unit) {
  const double dx = line.path.back().x - line.path.front().x;
  const double dy = line.path.back().y - line.path.front().y;
  const bool across = std::abs(dx) > std::abs(dy);
  const bool turned = (across ? dx : dy) < 0;
  return fmt::format("{}{} {}{} {}", across ? "→" : "↓", turned ? back : there, across ? "←" : "↑",
                     turned ? there : back, unit);
}

std::string load_text(const Line& line) {
  const double there = line.forward_load * 100;
  const double back = line.reverse_load * 100;
  if (there == 0 && back == 0) return "";
  if (std::abs(there - back) < 0.5) return fmt::format("{:.0f} %", there);
  return both_ways(line, fmt::format("{:.0f}", there), fmt::format("{:.0f}", back), "%");
}

std::string bandwidth_text(const Line& line) {
  if (line.unknown == line.links) return "";
  if (!line.alike || line.links > 1 || line.first_forward == line.first_reverse)
    return line_text(line);
  const auto one = [](int64_t mbit_s) {
    return mbit_s == 0 ? "down"
                       : fmt::format("{:.4g}", static_cast<double>(mbit_s) / kMbitPerGigabyte);
  };
  return both_ways(line, one(line.first_forward), one(line.first_reverse), "GB/s");
}

class Labels {
 public:
  Labels(const Picture& picture, const std::vector<Line>& lines, const std::vector<Arrow>& arrows,
         bool loads)
      : picture_(picture), lines_(lines), loads_(loads) {
    for (const Item& item : picture.items) {
      taken_.push_back(item.shape == Shape::kFrame ? heading_rect(item) : item.rect);
      if (item.shape == Shape::kFrame) frames_.push_back(item.rect);
    }
    for (size_t l = 0; l < lines.size(); ++l) sample(l, lines[l]);
    for (const Arrow& arrow : arrows) sample(lines.size(), arrow.line);
  }

  std::vector<Label> place() {
    // Lines of one sort: in one machine or between machines, of one type, between equal kinds.
    std::map<std::tuple<int32_t, LinkType, NodeKind, NodeKind, bool>, std::vector<size_t>> sorts;
    for (size_t l = 0; l < lines_.size(); ++l) {
      const Item& a = picture_.items[lines_[l].from];
      const Item& b = picture_.items[lines_[l].to];
      const bool more = a.shape == Shape::kMore || b.shape == Shape::kMore;
      sorts[{a.block == b.block ? a.block : -1, lines_[l].type, std::min(a.kind, b.kind),
             std::max(a.kind, b.kind), more}]
          .push_back(l);
    }
    for (const auto& [sort, members] : sorts) place_sort(members);
    return std::move(labels_);
  }

 private:
  std::string text_of(const Line& line) const {
    return loads_ ? load_text(line) : bandwidth_text(line);
  }

  void place_sort(const std::vector<size_t>& members) {
    std::map<std::string, size_t> counts;
    for (const size_t l : members) ++counts[text_of(lines_[l])];
    const auto most =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    const Line& line = lines_[members[0]];
    const bool mesh = picture_.items[line.from].kind == picture_.items[line.to].kind;
    const bool all = counts.size() == 1;
    const bool once = most->second > 2 && (all || (!mesh && most->second * 2 > members.size()));
    bool done = false;
    for (const size_t l : members) {
      std::string text = text_of(lines_[l]);
      const bool usual = once && text == most->first;
      if (text.empty() || (usual && done)) continue;
      if (usual) text += all ? " each" : " unless marked";
      const bool placed = try_places(l, text);
      done = done || (usual && placed);
    }
  }

  bool try_places(size_t l, const std::string& text) {
    constexpr std::array kPlaces = {0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.16, 0.84};
    const double width = text_width(text, kSmallPx) + 4;
    const double half = line_width(lines_[l]) / 2;
    const double beside = width / 2 + half + 4;
    const double above = kHeight / 2 + half + 2;
    // On the line, unless that would hide it; else beside it.
    const std::array<Point, 6> offsets = {
        {{0, 0}, {beside, 0}, {-beside, 0}, {0, -above}, {0, above}, {0, 0}}};
    for (size_t o = 0; o < offsets.size(); ++o)
      for (const double t : kPlaces) {
        const Point at = point_at(lines_[l], t);
        const Rect rect{at.x - width / 2 + offsets[o].x, at.y - kHeight / 2 + offsets[o].y, width,
                        kHeight};
        if (o == 0 && hidden_part(lines_[l], rect) > 0.6) continue;
        if (!is_free(rect, l)) continue;
        taken_.push_back(rect);
        labels_.push_back({text, rect, l});
        return true;
      }
    return false;
  }

  static double hidden_part(const Line& line, const Rect& rect) {
    constexpr int kSamples = 20;
    int hidden = 0;
    for (int s = 0; s <= kSamples; ++s)
      hidden += rect.contains(point_at(line, static_cast<double>(s) / kSamples)) ? 1 : 0;
    return hidden / (kSamples + 1.0);
  }

  bool is_free(const Rect& rect, size_t own) const {
    if (rect.x < 0 || rect.right() > picture_.w) return false;
    for (const Rect& frame : frames_)
      if (frame.overlaps(rect.grown(2)) && !frame.encloses(rect.grown(2))) return false;
    for (const Rect& other : taken_)
      if (other.overlaps(rect.grown(1))) return false;
    const Rect near = rect.grown(3);
    for (int x = cell(near.x); x <= cell(near.right()); ++x)
      for (int y = cell(near.y); y <= cell(near.bottom()); ++y) {
        const auto found = samples_.find({x, y});
        if (found == samples_.end()) continue;
        for (const auto& [line, point] : found->second)
          if (line != own && near.contains(point)) return false;
      }
    return true;
  }

  static int cell(double length) { return static_cast<int>(std::floor(length / kCell)); }

  void sample(size_t l, const Line& line) {
    constexpr double kStep = 5;
    double length = 0;
    const std::vector<Point>& path = line.path;
    for (size_t i = 1; i < path.size(); ++i)
      length += std::hypot(path[i].x - path[i - 1].x, path[i].y - path[i - 1].y);
    const int steps = static_cast<int>(length / kStep) + 1;
    for (int s = 0; s <= steps; ++s) {
      const Point point = point_at(line, static_cast<double>(s) / steps);
      samples_[{cell(point.x), cell(point.y)}].emplace_back(l, point);
    }
  }

  const Picture& picture_;
  const std::vector<Line>& lines_;
  const bool loads_;
  std::vector<Rect> taken_;
  std::vector<Rect> frames_;
  std::map<std::pair<int, int>, std::vector<std::pair<size_t, Point>>> samples_;
  std::vector<Label> labels_;
};

}  // namespace

double bar_name_x(const Item& bar, double width, const std::vector<Line>& lines) {
  constexpr int kSamples = 64;
  const double middle = bar.rect.centre().x;
  std::vector<double> crossings;
  for (const Line& line : lines)
    for (int s = 0; s <= kSamples; ++s) {
      const Point point = point_at(line, static_cast<double>(s) / kSamples);
      if (bar.rect.contains(point)) crossings.push_back(point.x);
    }
  for (double away = 0; away + width / 2 < bar.rect.w / 2; away += 4)
    for (const double x : {middle - away, middle + away})
      if (std::none_of(crossings.begin(), crossings.end(),
                       [&](double c) { return std::abs(c - x) < width / 2 + 4; }))
        return x;
  return middle;
}

Rect heading_rect(const Item& frame) {
  const double width = text_width(frame.lines[0], kHeadingPx * kBold) + 8;
  if (frame.nested) return {frame.rect.x, frame.rect.y, 24, frame.rect.h};
  const double y = frame.flipped ? frame.rect.bottom() - 26 : frame.rect.y + 4;
  return {frame.rect.x + 8, y, width, 22};
}

std::vector<Label> place_labels(const Picture& picture, const std::vector<Line>& lines,
                                const std::vector<Arrow>& arrows, bool loads) {
  return Labels(picture, lines, arrows, loads).place();
}

}  // namespace tutti::topology::drawing
