// SPDX-License-Identifier: Apache-2.0
// Draws samples of lines and marks with their meanings.
#include "topology/formats/svg/legend.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/names.h"
#include "topology/formats/svg/writer.h"

namespace tutti::topology::drawing {
namespace {

constexpr double kSample = 34;
constexpr double kRow = 20;
constexpr size_t kMostWidths = 5;  // of one type

struct Entry {
  std::string words;
  std::function<void(pugi::xml_node, Point)> draw;  // at the left end of the sample's middle
};

Entry stroke(std::string words, std::string color, double width, const std::string& dashes = "") {
  return {std::move(words), [=](pugi::xml_node parent, Point at) {
            pugi::xml_node path =
                element(parent, "path",
                        {{"class", "l"},
                         {"d", fmt::format("M{} {}h{}", number(at.x), number(at.y), kSample)},
                         {"stroke", color},
                         {"stroke-width", number(width)}});
            if (!dashes.empty()) path.append_attribute("stroke-dasharray") = dashes.c_str();
          }};
}

// Each type's widths; the greatest when there are many.
void add_widths(const std::vector<Line>& lines, bool loads, std::vector<Entry>& entries) {
  std::map<LinkType, std::map<int64_t, std::string>> widths;
  for (const Line& line : lines) {
    const int64_t mbit_s = std::max(line.forward_mbit_s, line.reverse_mbit_s);
    if (mbit_s > 0 && !line.of_many) widths[line.type].emplace(mbit_s, line_text(line));
  }
  for (const auto& [type, values] : widths) {
    const size_t skip = values.size() > kMostWidths ? values.size() - kMostWidths : 0;
    size_t i = 0;
    for (const auto& [mbit_s, words] : values) {
      if (i++ < skip) continue;
      entries.push_back(stroke(fmt::format("{} {}", type_name(type), words),
                               loads ? "#777777" : type_color(type), width_of(mbit_s)));
    }
  }
}

void add_states(const std::vector<Line>& lines, std::vector<Entry>& entries) {
  bool down = false;
  bool unknown = false;
  for (const Line& line : lines) {
    down = down || line.down > 0;
    unknown = unknown || line.unknown == line.links;
  }
  if (unknown) entries.push_back(stroke("bandwidth unknown", kUnknownColor, 2, "5 4"));
  if (down) entries.push_back(stroke("down", kDownColor, 2, "5 3"));
}

Entry load_scale() {
  return {"load, idle to full; traffic keeps to the right", [](pugi::xml_node parent, Point at) {
            constexpr int kSteps = 6;
            for (int i = 0; i < kSteps; ++i)
              element(parent, "rect",
                      {{"x", number(at.x + i * kSample / kSteps)},
                       {"y", number(at.y - 5)},
                       {"width", number(kSample / kSteps + 0.3)},
                       {"height", "10"},
                       {"fill", load_color(i / (kSteps - 1.0))}});
          }};
}

void add_marks(const std::vector<Line>& lines, const Overlay& overlay,
               std::vector<Entry>& entries) {
  if (!overlay.links.empty()) entries.push_back(load_scale());
  if (std::any_of(lines.begin(), lines.end(), [](const Line& line) { return line.bottleneck; }))
    entries.push_back(stroke("bottleneck", kBottleneckColor, 9));
  if (!overlay.cut_nodes.empty())
    entries.push_back({"inside the cut", [](pugi::xml_node parent, Point at) {
                         rectangle(parent, {at.x, at.y - 7, kSample, 14}, 4, "cut");
                       }});
  std::set<int32_t> colors;
  for (const OverlayArrow& arrow : overlay.arrows) colors.insert(arrow.color);
  constexpr size_t kMostTrees = 8;
  for (const int32_t color : colors) {
    if (color >= static_cast<int32_t>(kMostTrees)) break;
    entries.push_back(stroke(fmt::format("tree {}", color), arrow_color(color), 2.5));
  }
}

}  // namespace

double write_legend(pugi::xml_node parent, const std::vector<Line>& lines, const Overlay& overlay,
                    double top, double width) {
  std::vector<Entry> entries;
  add_widths(lines, !overlay.links.empty(), entries);
  add_states(lines, entries);
  add_marks(lines, overlay, entries);
  if (entries.empty()) return top;
  pugi::xml_node group = element(parent, "g", {{"class", "legend"}});
  text(group, {0, top + 12}, "b", "Bandwidth each way");
  double x = 0;
  double y = top + 30;
  for (const Entry& entry : entries) {
    const double needed = kSample + 6 + text_width(entry.words, kFontPx) + 18;
    if (x > 0 && x + needed > width) {
      x = 0;
      y += kRow;
    }
    entry.draw(group, {x, y});
    text(group, {x + kSample + 6, y + 4}, "sub", entry.words);
    x += needed;
  }
  return y + kRow;
}

double write_notes(pugi::xml_node parent, const std::vector<Note>& notes, double top,
                   double width) {
  constexpr size_t kMostNotes = 8;
  if (notes.empty()) return top;
  pugi::xml_node group = element(parent, "g", {{"class", "notes"}});
  double y = top + 16;
  text(group, {0, y}, "b", "Notes");
  for (size_t i = 0; i < std::min(notes.size(), kMostNotes); ++i) {
    y += 15;
    const std::string words = clean(notes[i].source + ": " + notes[i].text);
    pugi::xml_node line = text(group, {0, y}, "note", fit(words, width, kFontPx));
    title(line, words);
  }
  if (notes.size() > kMostNotes) {
    y += 15;
    text(group, {0, y}, "note", fmt::format("and {} more", notes.size() - kMostNotes));
  }
  return y + 8;
}

}  // namespace tutti::topology::drawing
