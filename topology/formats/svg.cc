// SPDX-License-Identifier: Apache-2.0
// Checks an overlay, chooses how much can be drawn, and writes the picture's layers.
#include "topology/formats/svg.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include <pugixml.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/formats/svg/index.h"
#include "topology/formats/svg/layout.h"
#include "topology/formats/svg/legend.h"
#include "topology/formats/svg/lines.h"
#include "topology/formats/svg/names.h"
#include "topology/formats/svg/painter.h"
#include "topology/formats/svg/writer.h"

namespace tutti::topology {
namespace {

using namespace drawing;  // NOLINT(google-build-using-namespace): the steps of this file

constexpr double kMargin = 24;
constexpr double kLeastWidth = 620;
constexpr size_t kMostItems = 1200;
constexpr size_t kMostLines = 1800;
constexpr size_t kMostArrows = 500;

template <typename Values>
void check_size(const Values& values, size_t expected, const char* what) {
  if (values.empty() || values.size() == expected) return;
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("overlay: expected {} {}, one for each of the topology's, got {}",
                          expected, what, values.size()));
}

void check(const Graph& graph, const Overlay& overlay) {
  check_size(overlay.links, graph.links.size(), "links");
  check_size(overlay.cut_nodes, graph.nodes.size(), "nodes");
  for (size_t l = 0; l < overlay.links.size(); ++l)
    for (const double load : {overlay.links[l].forward_load, overlay.links[l].reverse_load})
      if (!std::isfinite(load) || load < 0)
        throw Error(
            StatusCode::kInvalidArgument,
            fmt::format("overlay: link {}: expected a load of at least 0, got {}", l, load));
  const auto n_nodes = static_cast<int32_t>(graph.nodes.size());
  for (const OverlayArrow& arrow : overlay.arrows) {
    const bool ends =
        arrow.from >= 0 && arrow.from < n_nodes && arrow.to >= 0 && arrow.to < n_nodes;
    if (!ends || arrow.color < 0)
      throw Error(
          StatusCode::kInvalidArgument,
          fmt::format("overlay: expected an arrow between nodes 0 to {} with a colour of at "
                      "least 0, got {} to {}, colour {}",
                      n_nodes - 1, arrow.from, arrow.to, arrow.color));
  }
}

std::string heading_text(const Graph& graph) {
  const Node& root = graph.nodes[0];
  if (root.kind == NodeKind::kMachine)
    return root.attributes.model.empty() ? short_name(graph, 0) : clean(root.attributes.model);
  std::map<std::string, size_t> models;
  for (const Node& node : graph.nodes)
    if (node.kind == NodeKind::kMachine && node.parent == 0) ++models[node.attributes.model];
  std::vector<std::string> words;
  words.reserve(models.size());
  for (const auto& [model, count] : models)
    words.push_back(model.empty() ? count_of(count, NodeKind::kMachine)
                                  : fmt::format("{} x {}", count, clean(model)));
  constexpr size_t kMostModels = 4;
  if (words.empty() || words.size() > kMostModels) return short_name(graph, 0);
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string counts_text(const Index& index) {
  std::map<NodeKind, size_t> counts;
  for (int32_t n = 0; n < static_cast<int32_t>(index.graph.nodes.size()); ++n)
    if (index.machines(n).empty()) ++counts[index.kind(n)];
  std::vector<std::string> words;
  for (const NodeKind kind : {NodeKind::kMachine, NodeKind::kNuma, NodeKind::kCore, NodeKind::kGpu,
                              NodeKind::kNvSwitch, NodeKind::kNic, NodeKind::kNetSwitch})
    if (counts[kind] > 0) words.push_back(count_of(counts[kind], kind));
  return fmt::format("{}", fmt::join(words, ", "));
}

double write_head(pugi::xml_node page, const Index& index, const std::string& caption,
                  double width) {
  pugi::xml_node group = element(page, "g", {{"class", "title"}});
  text(group, {0, 16}, "h", fit(heading_text(index.graph), width, 19 * kBold));
  text(group, {0, 36}, "sub", fit(counts_text(index), width, 12));
  if (caption.empty()) return 54;
  text(group, {0, 57}, "cap", fit(clean(caption), width, 13));
  return 76;
}

// What the drawing itself leaves out comes before what the report says.
std::vector<Note> notes_of(const Report& report, const Scene& scene, size_t dropped_lines) {
  std::vector<Note> notes;
  const size_t arrows = scene.overlay.arrows.size();
  if (scene.arrows.size() < arrows)
    notes.push_back({"drawing", fmt::format("{} of {} arrows are not drawn: their ends are drawn "
                                            "as one, or there are too many",
                                            arrows - scene.arrows.size(), arrows)});
  if (dropped_lines > 0)
    notes.push_back(
        {"drawing", fmt::format("{} lines of least bandwidth are not drawn", dropped_lines)});
  notes.insert(notes.end(), report.notes.begin(), report.notes.end());
  return notes;
}

std::string write_page(const Report& report, const Scene& scene, size_t dropped_lines) {
  const Picture& picture = scene.picture;
  pugi::xml_document document;
  pugi::xml_node root =
      element(document, "svg", {{"xmlns", "http://www.w3.org/2000/svg"}, {"role", "img"}});
  title(root, heading_text(report.graph) + ": " + counts_text(scene.index));
  root.append_child("style").text() = style_sheet();
  pugi::xml_node background = element(root, "rect", {{"fill", "#ffffff"}});
  const double width = std::max(picture.w, kLeastWidth);
  pugi::xml_node page =
      element(root, "g", {{"transform", fmt::format("translate({0} {0})", kMargin)}});
  double y = write_head(page, scene.index, scene.overlay.caption, width);
  paint(element(page, "g",
                {{"class", "topology"},
                 {"transform",
                  fmt::format("translate({} {})", number((width - picture.w) / 2), number(y))}}),
        scene);
  y = write_legend(page, scene.lines, scene.overlay, y + picture.h + 26, width);
  y = write_notes(page, notes_of(report, scene, dropped_lines), y, width);
  const std::string w = number(width + 2 * kMargin);
  const std::string h = number(y + 2 * kMargin);
  root.append_attribute("viewBox") = fmt::format("0 0 {} {}", w, h).c_str();
  for (pugi::xml_node node : {root, background}) {
    node.append_attribute("width") = w.c_str();
    node.append_attribute("height") = h.c_str();
  }
  std::ostringstream out;
  document.save(out, "", pugi::format_raw | pugi::format_no_declaration, pugi::encoding_utf8);
  return out.str() + "\n";
}

// Keeps bottlenecks and the widest. Returns how many are gone.
size_t drop_thin_lines(std::vector<Line>& lines) {
  if (lines.size() <= kMostLines) return 0;
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) {
    return std::pair(!a.bottleneck, -line_width(a)) < std::pair(!b.bottleneck, -line_width(b));
  });
  const size_t dropped = lines.size() - kMostLines;
  lines.resize(kMostLines);
  return dropped;
}

}  // namespace

std::string svg(const Report& report, const Overlay& overlay) {
  check(report.graph, overlay);
  const Index index(report.graph);
  Picture picture = lay_out(index, overlay, {});
  if (picture.items.size() > kMostItems) picture = lay_out(index, overlay, {.collapse = true});
  Scene scene{.index = index,
              .overlay = overlay,
              .picture = picture,
              .lines = merge_links(report.graph, overlay, picture),
              .arrows = route_arrows(picture, overlay, kMostArrows)};
  const size_t dropped = drop_thin_lines(scene.lines);
  route(picture, scene.lines);
  return write_page(report, scene, dropped);
}

}  // namespace tutti::topology
