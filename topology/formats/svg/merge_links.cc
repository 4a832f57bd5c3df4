// SPDX-License-Identifier: Apache-2.0
// Adds up parallel links.
#include <map>
#include <tuple>
#include <utility>

#include "topology/formats/svg/lines.h"

namespace tutti::topology::drawing {
namespace {

// Adds up what the directions of links carry, and what they could.
struct Load {
  double used = 0;
  double capacity = 0;
  double most = 0;

  void add(double load, int64_t mbit_s) {
    most = std::max(most, load);
    if (mbit_s <= 0) return;
    used += load * static_cast<double>(mbit_s);
    capacity += static_cast<double>(mbit_s);
  }
  double of_all() const { return capacity > 0 ? used / capacity : most; }
};

void add_link(const Link& link, bool turned, Line& line) {
  const int64_t forward = turned ? link.reverse_mbit_s : link.forward_mbit_s;
  const int64_t reverse = turned ? link.forward_mbit_s : link.reverse_mbit_s;
  if (line.links == 0) {
    line.first_forward = forward;
    line.first_reverse = reverse;
    line.latency_ns = link.latency_ns;
  }
  line.alike = line.alike && forward == line.first_forward && reverse == line.first_reverse;
  ++line.links;
  if (forward == 0 || reverse == 0)
    ++line.down;
  else if (forward == kUnknown || reverse == kUnknown)
    ++line.unknown;
  line.forward_mbit_s += std::max<int64_t>(forward, 0);
  line.reverse_mbit_s += std::max<int64_t>(reverse, 0);
}

}  // namespace

std::vector<Line> merge_links(const Graph& graph, const Overlay& overlay, const Picture& picture) {
  struct Sum {
    Line line;
    Load forward;
    Load reverse;
  };
  std::map<std::tuple<int32_t, int32_t, LinkType>, Sum> merged;
  for (size_t l = 0; l < graph.links.size(); ++l) {
    const Link& link = graph.links[l];
    const int32_t from = picture.shown_at[link.from];
    const int32_t to = picture.shown_at[link.to];
    if (from < 0 || to < 0 || from == to) continue;
    const bool turned = from > to;
    Sum& sum = merged[{std::min(from, to), std::max(from, to), link.type}];
    add_link(link, turned, sum.line);
    if (overlay.links.empty()) continue;
    const LinkPaint& paint = overlay.links[l];
    (turned ? sum.reverse : sum.forward).add(paint.forward_load, link.forward_mbit_s);
    (turned ? sum.forward : sum.reverse).add(paint.reverse_load, link.reverse_mbit_s);
    sum.line.bottleneck = sum.line.bottleneck || paint.bottleneck;
  }
  std::vector<Line> lines;
  for (auto& [key, sum] : merged) {
    std::tie(sum.line.from, sum.line.to, sum.line.type) = key;
    for (const int32_t item : {sum.line.from, sum.line.to})
      sum.line.of_many = sum.line.of_many || picture.items[item].shape == Shape::kMore;
    sum.line.forward_load = sum.forward.of_all();
    sum.line.reverse_load = sum.reverse.of_all();
    lines.push_back(std::move(sum.line));
  }
  for (size_t first = 0; first < lines.size();) {
    size_t last = first + 1;
    while (last < lines.size() && lines[last].from == lines[first].from &&
           lines[last].to == lines[first].to)
      ++last;
    for (size_t i = first; i < last; ++i) {
      lines[i].lane = static_cast<int>(i - first);
      lines[i].lanes = static_cast<int>(last - first);
    }
    first = last;
  }
  return lines;
}

}  // namespace tutti::topology::drawing
