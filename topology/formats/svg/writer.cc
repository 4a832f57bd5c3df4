// SPDX-License-Identifier: Apache-2.0
// Writes shapes, texts and colours.
#include "topology/formats/svg/writer.h"

#include <array>
#include <cmath>
#include <cstdint>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/svg/names.h"

namespace tutti::topology::drawing {

std::string number(double value) {
  const auto tenths = std::llround(value * 10);
  const char* sign = tenths < 0 ? "-" : "";
  const auto size = std::llabs(tenths);
  return size % 10 == 0 ? fmt::format("{}{}", sign, size / 10)
                        : fmt::format("{}{}.{}", sign, size / 10, size % 10);
}

pugi::xml_node element(pugi::xml_node parent, const char* name,
                       std::initializer_list<Attribute> attributes) {
  pugi::xml_node node = parent.append_child(name);
  for (const auto& [key, value] : attributes) node.append_attribute(key) = value.c_str();
  return node;
}

pugi::xml_node rectangle(pugi::xml_node parent, const Rect& rect, double radius,
                         const std::string& css_class) {
  return element(parent, "rect",
                 {{"class", css_class},
                  {"x", number(rect.x)},
                  {"y", number(rect.y)},
                  {"width", number(rect.w)},
                  {"height", number(rect.h)},
                  {"rx", number(radius)}});
}

pugi::xml_node text(pugi::xml_node parent, Point at, const std::string& css_class,
                    const std::string& words) {
  pugi::xml_node node =
      element(parent, "text", {{"class", css_class}, {"x", number(at.x)}, {"y", number(at.y)}});
  node.text() = clean(words).c_str();
  return node;
}

void title(pugi::xml_node parent, const std::string& words) {
  if (!words.empty()) parent.append_child("title").text() = words.c_str();
}

std::string path_data(const Line& line, double beside) {
  const std::vector<Point>& path = line.path;
  const double dx = path.back().x - path.front().x;
  const double dy = path.back().y - path.front().y;
  const double length = std::max(1.0, std::hypot(dx, dy));
  const Point shift{-dy / length * beside, dx / length * beside};
  std::string data;
  for (size_t i = 0; i < path.size(); ++i) {
    const char* command = " ";
    if (i == 0)
      command = "M";
    else if (line.form == Line::Form::kPolyline)
      command = "L";
    else if (i == 1)
      command = line.form == Line::Form::kCubic ? "C" : "Q";
    data +=
        fmt::format("{}{} {}", command, number(path[i].x + shift.x), number(path[i].y + shift.y));
  }
  return data;
}

// Colours that people of any colour vision tell apart (after Okabe and Ito, and Tol), dark enough
// for thin lines on white.
const char* type_color(LinkType type) {
  switch (type) {
    case LinkType::kNvLink:
      return "#009e73";
    case LinkType::kXgmi:
      return "#d98200";
    case LinkType::kPcie:
      return "#0072b2";
    case LinkType::kSmp:
      return "#c0609a";
    case LinkType::kC2c:
      return "#3fa7d6";
    case LinkType::kNetwork:
      return "#4b3f9e";
    case LinkType::kMemory:
      return "#5f5246";
  }
  return kUnknownColor;
}

const char* arrow_color(int32_t index) {
  constexpr std::array kColors = {"#0072b2", "#d55e00", "#007a5a", "#a8477f",
                                  "#2b8cc4", "#b07900", "#000000", "#6a4c2b"};
  return kColors[static_cast<size_t>(index) % kColors.size()];
}

// From light to dark, so that it reads without colour too.
std::string load_color(double load) {
  struct Stop {
    double load;
    std::array<double, 3> rgb;
  };
  constexpr std::array<Stop, 5> kStops = {{{0, {208, 208, 208}},
                                           {0.01, {253, 219, 120}},
                                           {0.5, {250, 140, 40}},
                                           {0.8, {205, 75, 20}},
                                           {1, {110, 20, 10}}}};
  size_t i = 1;
  while (i + 1 < kStops.size() && load > kStops[i].load) ++i;
  const Stop& low = kStops[i - 1];
  const Stop& high = kStops[i];
  const double t = std::min(1.0, (load - low.load) / (high.load - low.load));
  std::string color = "#";
  for (size_t c = 0; c < 3; ++c)
    color += fmt::format("{:02x}", std::lround(low.rgb[c] + (high.rgb[c] - low.rgb[c]) * t));
  return color;
}

const char* style_sheet() {
  return R"(
text{font-family:"Helvetica Neue",Helvetica,Arial,"DejaVu Sans",sans-serif;font-size:10px;fill:#1c1c1c}
.h{font-size:19px;font-weight:bold}
.sub{font-size:12px;fill:#444}
.cap{font-size:13px}
.m{text-anchor:middle}
.b{font-size:11px;font-weight:bold}
.fh{font-size:14px;font-weight:bold}
.nh{font-size:11px;font-weight:bold}
.frame{fill:#fafafa;stroke:#9a9a9a;stroke-width:1.2}
.framecut{fill:#fff6d6;stroke:#8a6d00;stroke-width:1.6}
.node{fill:#fff;stroke:#444;stroke-width:1}
.numa,.package,.core{fill:#f8ecd8;stroke:#8a6a2f}
.gpu{fill:#d3f0e2;stroke:#00694c}
.nic{fill:#dde6f7;stroke:#2f4f8f}
.pci_switch,.host_bridge{fill:#e9eef2;stroke:#5b6b78}
.nvswitch{fill:#a9dec8;stroke:#00694c}
.net_switch{fill:#ded9f3;stroke:#4b3f9e}
.more{fill:#fff;stroke:#777;stroke-dasharray:5 4}
.sq{fill:#fff;stroke:#8a6a2f;stroke-width:.8}
.busy{fill:#c9b48a}
.cut{fill:#ffd54a;stroke:#8a6d00;stroke-dasharray:4 2}
.l{fill:none;stroke-linejoin:round}
.halo{fill:#fff;fill-opacity:.9}
)";
}

}  // namespace tutti::topology::drawing
