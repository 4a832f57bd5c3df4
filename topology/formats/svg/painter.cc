// SPDX-License-Identifier: Apache-2.0
// Turns items and lines into groups with shapes, texts and tooltips.
#include "topology/formats/svg/painter.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/labels.h"
#include "topology/formats/svg/names.h"
#include "topology/formats/svg/part_text.h"
#include "topology/formats/svg/writer.h"

namespace tutti::topology::drawing {
namespace {

class Painter {
 public:
  explicit Painter(const Scene& scene)
      : scene_(scene),
        graph_(scene.index.graph),
        overlay_(scene.overlay),
        picture_(scene.picture),
        lines_(scene.lines),
        nodes_of_item_(picture_.items.size()) {
    for (size_t n = 0; n < picture_.shown_at.size(); ++n)
      if (picture_.shown_at[n] >= 0)
        nodes_of_item_[picture_.shown_at[n]].push_back(static_cast<int32_t>(n));
  }

  // Bars are below lines, so that one sees which lines pass and which end; boxes are above.
  void write_all(pugi::xml_node parent) {
    for (size_t i = 0; i < picture_.items.size(); ++i)
      if (picture_.items[i].shape == Shape::kFrame) write_frame(parent, i);
    for (size_t i = 0; i < picture_.items.size(); ++i)
      if (picture_.items[i].shape == Shape::kBar) write_box(parent, i);
    for (const Line& line : lines_) write_line(parent, line);
    for (size_t i = 0; i < picture_.items.size(); ++i)
      if (picture_.items[i].shape == Shape::kBox || picture_.items[i].shape == Shape::kMore)
        write_box(parent, i);
    for (const Item& item : picture_.items)
      if (item.shape == Shape::kBar) write_bar_text(parent, item);
    for (const Arrow& arrow : scene_.arrows) write_arrow(parent, arrow);
    for (const Label& label : place_labels(picture_, lines_, scene_.arrows, loads())) {
      rectangle(parent, label.rect, 2, "halo");
      text(parent, {label.rect.centre().x, label.rect.y + 10}, "m label", label.text);
    }
  }

 private:
  bool loads() const { return !overlay_.links.empty(); }

  bool in_cut(size_t item) const {
    if (overlay_.cut_nodes.empty() || nodes_of_item_[item].empty()) return false;
    const std::vector<int32_t>& nodes = nodes_of_item_[item];
    if (picture_.items[item].node >= 0) return overlay_.cut_nodes[picture_.items[item].node];
    return std::all_of(nodes.begin(), nodes.end(),
                       [&](int32_t n) { return overlay_.cut_nodes[n]; });
  }

  pugi::xml_node item_group(pugi::xml_node parent, size_t i) const {
    const Item& item = picture_.items[i];
    pugi::xml_node group =
        element(parent, "g", {{"data-nodes", std::to_string(nodes_of_item_[i].size())}});
    if (item.node >= 0)
      group.append_attribute("data-id") = clean(graph_.nodes[item.node].id).c_str();
    title(group, item.tooltip);
    return group;
  }

  void write_frame(pugi::xml_node parent, size_t i) const {
    const Item& item = picture_.items[i];
    pugi::xml_node group = item_group(parent, i);
    rectangle(group, item.rect, 8, in_cut(i) ? "framecut" : "frame");
    const Rect at = heading_rect(item);
    if (!item.nested) {
      text(group, {at.x + 4, at.y + 16}, "fh", item.lines[0]);
      return;
    }
    const Point middle{at.x + 16, at.centre().y};
    text(group, middle, "nh m", item.lines[0]).append_attribute("transform") =
        fmt::format("rotate(-90 {} {})", number(middle.x), number(middle.y)).c_str();
  }

  void write_box(pugi::xml_node parent, size_t i) const {
    const Item& item = picture_.items[i];
    if (in_cut(i)) rectangle(parent, item.rect.grown(5), 7, "cut");
    pugi::xml_node group = item_group(parent, i);
    const bool more = item.shape == Shape::kMore;
    rectangle(group, item.rect, 4, more ? "node more" : std::string("node ") + to_text(item.kind));
    if (item.shape == Shape::kBar) return;
    const double core_rows =
        std::ceil(static_cast<double>(item.cores.size()) / static_cast<double>(kCoreSquaresPerRow));
    const double block = 14 * static_cast<double>(item.lines.size()) + kCorePx * core_rows;
    double y = item.rect.y + (item.rect.h - block) / 2 + 11;
    for (size_t l = 0; l < item.lines.size(); ++l, y += 14)
      text(group, {item.rect.centre().x, y}, l == 0 ? "m b" : "m", item.lines[l]);
    write_cores(group, item, y - 8);
  }

  void write_cores(pugi::xml_node group, const Item& item, double y) const {
    for (size_t i = 0; i < item.cores.size(); ++i) {
      const size_t in_row = std::min<size_t>(item.cores.size(), kCoreSquaresPerRow);
      const double left = item.rect.centre().x - kCorePx * static_cast<double>(in_row) / 2;
      const size_t row = i / kCoreSquaresPerRow;
      const Rect at{left + kCorePx * static_cast<double>(i % kCoreSquaresPerRow) + 1.5,
                    y + kCorePx * static_cast<double>(row), kCorePx - 3, kCorePx - 3};
      const bool usable = !graph_.nodes[item.cores[i]].attributes.usable_cpus.empty();
      title(rectangle(group, at, 2, usable ? "sq" : "sq busy"), tooltip(graph_, item.cores[i]));
    }
  }

  // A bus of machines has room for its name at its left, others are named in their middle.
  void write_bar_text(pugi::xml_node parent, const Item& item) const {
    double y = item.rect.centre().y + 4 - 7 * static_cast<double>(item.lines.size() - 1);
    for (size_t l = 0; l < item.lines.size(); ++l, y += 14) {
      const std::string name = fit(item.lines[l], item.rect.w - 8, kFontPx);
      const double width = text_width(name, kFontPx * kBold);
      const std::string css_class = l == 0 ? "b m" : "m";
      const double middle = bar_name_x(item, width, lines_);
      text(parent, {item.label > 0 ? item.rect.x + item.label / 2 : middle, y}, css_class, name);
    }
  }

  void write_stroke(pugi::xml_node parent, const Line& line, const std::string& color, double width,
                    double beside = 0, const char* dashes = nullptr) const {
    pugi::xml_node path = element(parent, "path",
                                  {{"class", "l"},
                                   {"d", path_data(line, beside)},
                                   {"stroke", color},
                                   {"stroke-width", number(width)}});
    if (dashes != nullptr) path.append_attribute("stroke-dasharray") = dashes;
  }

  void write_line(pugi::xml_node parent, const Line& line) const {
    pugi::xml_node group = element(parent, "g", {{"class", to_text(line.type)}});
    title(group, line_tooltip(graph_, picture_, line, loads()));
    const double width = line_width(line);
    if (line.bottleneck) write_stroke(group, line, kBottleneckColor, width + 7);
    const bool down = line.down == line.links;
    const bool unknown = line.unknown == line.links;
    if (down) {
      write_stroke(group, line, kDownColor, 2, 0, "5 3");
    } else if (loads()) {
      write_stroke(group, line, load_color(line.forward_load), width / 2, width / 4 + 0.3);
      write_stroke(group, line, load_color(line.reverse_load), width / 2, -width / 4 - 0.3);
    } else if (unknown) {
      write_stroke(group, line, kUnknownColor, 2, 0, "5 4");
    } else {
      write_stroke(group, line, type_color(line.type), width);
    }
    if (!down && line.down > 0) write_stroke(group, line, kDownColor, 1.5, 0, "5 3");
    write_dots(group, line, down ? kDownColor : unknown ? kUnknownColor : type_color(line.type));
  }

  void write_dots(pugi::xml_node group, const Line& line, const char* color) const {
    for (const auto& [item, at] :
         {std::pair(line.from, line.path.front()), std::pair(line.to, line.path.back())}) {
      if (picture_.items[item].shape != Shape::kBar) continue;
      element(group, "circle",
              {{"cx", number(at.x)},
               {"cy", number(at.y)},
               {"r", number(std::max(3.0, line_width(line) / 2 + 1))},
               {"fill", loads() ? "#333333" : color}});
    }
  }

  void write_arrow(pugi::xml_node parent, const Arrow& arrow) const {
    const auto& [from, to, color] = arrow.arrow;
    pugi::xml_node group = element(parent, "g", {{"class", "arrow"}});
    title(group, fmt::format("tree {}: {} → {}", color, clean(graph_.nodes[from].id),
                             clean(graph_.nodes[to].id)));
    write_stroke(group, arrow.line, "#ffffff", 5);
    write_stroke(group, arrow.line, arrow_color(color), 2.5);
    write_arrow_head(group, arrow.line, arrow_color(color));
  }

  static void write_arrow_head(pugi::xml_node group, const Line& line, const char* color) {
    const Point tip = line.path.back();
    const Point before = line.path[line.path.size() - 2];
    const double length = std::max(1.0, std::hypot(tip.x - before.x, tip.y - before.y));
    const Point along{(tip.x - before.x) / length, (tip.y - before.y) / length};
    const Point base{tip.x - along.x * 11, tip.y - along.y * 11};
    element(group, "path",
            {{"d", fmt::format("M{} {}L{} {}L{} {}Z", number(tip.x), number(tip.y),
                               number(base.x - along.y * 5), number(base.y + along.x * 5),
                               number(base.x + along.y * 5), number(base.y - along.x * 5))},
             {"fill", color}});
  }

  const Scene& scene_;
  const Graph& graph_;
  const Overlay& overlay_;
  const Picture& picture_;
  const std::vector<Line>& lines_;
  std::vector<std::vector<int32_t>> nodes_of_item_;
};

}  // namespace

void paint(pugi::xml_node parent, const Scene& scene) { Painter(scene).write_all(parent); }

}  // namespace tutti::topology::drawing
