// SPDX-License-Identifier: Apache-2.0
// Writes names, tooltips and bandwidths for people.
#include "topology/formats/svg/names.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <variant>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology::drawing {
namespace {

// One character at the start of `text`; 0 bytes when it is not UTF-8.
struct Character {
  uint32_t code = 0;
  size_t bytes = 0;
};

Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return {};
  uint32_t code = byte(0) & (0x7f >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr std::array<uint32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return code < kLeast[bytes] || code > 0x10ffff || surrogate ? Character{}
                                                              : Character{code, bytes};
}

bool may_show(uint32_t code) {
  const bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
  const bool reorders = code == 0x61c || (code >= 0x200b && code <= 0x200f) ||
                        (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
                        code == 0xfeff;
  return !control && !reorders && (code & 0xfffe) != 0xfffe;
}

// In units of the font's size. Far-eastern characters are square.
double advance(uint32_t code) {
  if (code >= 0x1100) return code == 0x2026 || code == 0x2194 ? 0.9 : 1.05;
  if (code == 'm' || code == 'M' || code == 'w' || code == 'W' || code == '%') return 0.9;
  if (code >= 'A' && code <= 'Z') return 0.7;
  return code == 'i' || code == 'l' || code == '.' || code == ':' || code == ' ' ? 0.36 : 0.6;
}

std::string value_text(const Attributes& attributes, const AttributeField& field) {
  return std::visit(
      [&](auto member) -> std::string {
        const auto& value = attributes.*member;
        using Value = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::string>)
          return value;
        else if constexpr (std::is_same_v<Value, bool>)
          return value ? "yes" : "";
        else
          return value == kUnknown ? "" : std::to_string(value);
      },
      field);
}

std::string without_machine(const Graph& graph, int32_t node) {
  std::string_view id = graph.nodes[node].id;
  for (int32_t above = graph.nodes[node].parent; above >= 0; above = graph.nodes[above].parent) {
    const std::string_view prefix = graph.nodes[above].id;
    if (graph.nodes[above].kind == NodeKind::kMachine && id.size() > prefix.size() + 1 &&
        id.starts_with(prefix) && id[prefix.size()] == '/')
      id.remove_prefix(prefix.size() + 1);
  }
  return std::string(id);
}

// Both ways when they differ.
std::string two_ways(int64_t forward, int64_t reverse) {
  if (forward == reverse) return gigabytes_text(forward);
  return fmt::format("{}, back {}", gigabytes_text(forward), gigabytes_text(reverse));
}

}  // namespace

std::string clean(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Character character = first_character(text);
    const size_t bytes = std::max<size_t>(character.bytes, 1);
    if (character.bytes > 0 && may_show(character.code))
      out += text.substr(0, bytes);
    else
      out += '?';
    text.remove_prefix(bytes);
  }
  return out;
}

double text_width(std::string_view text, double font_px) {
  double units = 0;
  while (!text.empty()) {
    const Character character = first_character(text);
    units += advance(character.code);
    text.remove_prefix(std::max<size_t>(character.bytes, 1));
  }
  return units * font_px;
}

std::string fit(const std::string& text, double width, double font_px) {
  if (text_width(text, font_px) <= width) return text;
  std::vector<std::string_view> characters;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t bytes = std::max<size_t>(first_character(rest).bytes, 1);
    characters.push_back(rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  for (size_t kept = characters.size() - 1; kept > 0; --kept) {
    const size_t head = kept * 2 / 5;
    std::string shorter;
    for (size_t i = 0; i < head; ++i) shorter += characters[i];
    shorter += "…";
    for (size_t i = characters.size() - (kept - head); i < characters.size(); ++i)
      shorter += characters[i];
    if (text_width(shorter, font_px) <= width) return shorter;
  }
  return "…";
}

std::string short_name(const Graph& graph, int32_t node) {
  std::string name = without_machine(graph, node);
  const NodeKind kind = graph.nodes[node].kind;
  const std::string prefix = std::string(to_text(kind)) + ":";
  if (name.starts_with(prefix) && name.size() > prefix.size()) {
    name.erase(0, prefix.size());
    if (name.starts_with("0000:") && name.size() > 5) name.erase(0, 5);
    const int64_t number = graph.nodes[node].attributes.os_index;
    if (kind == NodeKind::kGpu && number != kUnknown) return fmt::format("GPU {}", number);
    if (kind != NodeKind::kNic) name = std::string(kind_name(kind, false)) + " " + name;
  }
  return clean(name);
}

std::string tooltip(const Graph& graph, int32_t node) {
  const Node& n = graph.nodes[node];
  std::string text = fmt::format("{} ({})", n.id, kind_name(n.kind, false));
  for (const AttributeRow& row : attribute_table()) {
    const std::string value = value_text(n.attributes, row.field);
    if (!value.empty()) text += fmt::format("; {}: {}", row.name, value);
  }
  return clean(text);
}

const char* kind_name(NodeKind kind, bool plural) {
  switch (kind) {
    case NodeKind::kCluster:
      return plural ? "clusters" : "cluster";
    case NodeKind::kMachine:
      return plural ? "machines" : "machine";
    case NodeKind::kPackage:
      return plural ? "packages" : "package";
    case NodeKind::kNuma:
      return plural ? "NUMA nodes" : "NUMA node";
    case NodeKind::kCache:
      return plural ? "caches" : "cache";
    case NodeKind::kCore:
      return plural ? "cores" : "core";
    case NodeKind::kHostBridge:
      return plural ? "host bridges" : "host bridge";
    case NodeKind::kPciSwitch:
      return plural ? "PCIe switches" : "PCIe switch";
    case NodeKind::kGpu:
      return plural ? "GPUs" : "GPU";
    case NodeKind::kNic:
      return plural ? "NICs" : "NIC";
    case NodeKind::kNvSwitch:
      return plural ? "NVSwitches" : "NVSwitch";
    case NodeKind::kNetSwitch:
      return plural ? "network switches" : "network switch";
  }
  return "";
}

std::string count_of(size_t count, NodeKind kind) {
  return fmt::format("{} {}", count, kind_name(kind, count != 1));
}

const char* type_name(LinkType type) {
  switch (type) {
    case LinkType::kMemory:
      return "memory";
    case LinkType::kSmp:
      return "between CPUs";
    case LinkType::kPcie:
      return "PCIe";
    case LinkType::kNvLink:
      return "NVLink";
    case LinkType::kXgmi:
      return "xGMI";
    case LinkType::kC2c:
      return "NVLink-C2C";
    case LinkType::kNetwork:
      return "network";
  }
  return "";
}

std::string gigabytes_text(int64_t mbit_s) {
  if (mbit_s == kUnknown) return "unknown";
  if (mbit_s == 0) return "down";
  const double gigabytes = static_cast<double>(mbit_s) / kMbitPerGigabyte;
  return gigabytes < 9999 ? fmt::format("{:.4g} GB/s", gigabytes)
                          : fmt::format("{:.4g} TB/s", gigabytes / 1000);
}

std::string line_text(const Line& line) {
  if (line.alike) {
    const std::string one = two_ways(line.first_forward, line.first_reverse);
    return line.links == 1 ? one : fmt::format("{} x {}", line.links, one);
  }
  std::string text = line.unknown == line.links
                         ? "unknown"
                         : two_ways(line.forward_mbit_s, line.reverse_mbit_s) + " in all";
  if (line.unknown > 0 && line.unknown < line.links)
    text += fmt::format(", {} unknown", line.unknown);
  if (line.down > 0) text += fmt::format(", {} of {} down", line.down, line.links);
  return text;
}

std::string item_name(const Graph& graph, const Item& item) {
  if (item.shape != Shape::kMore && item.node >= 0) return clean(graph.nodes[item.node].id);
  return fmt::format("{}", fmt::join(item.lines, " "));
}

std::string line_tooltip(const Graph& graph, const Picture& picture, const Line& line,
                         bool with_loads) {
  std::string text =
      fmt::format("{} ↔ {}: {} {}", item_name(graph, picture.items[line.from]),
                  item_name(graph, picture.items[line.to]), type_name(line.type), line_text(line));
  text += line.unknown == line.links ? "" : " each way";
  if (line.latency_ns != kUnknown) text += fmt::format(", {} ns", line.latency_ns);
  if (with_loads)
    text += fmt::format("; load {:.3g} % there, {:.3g} % back", line.forward_load * 100,
                        line.reverse_load * 100);
  if (line.bottleneck) text += "; bottleneck";
  return text;
}

double width_of(int64_t mbit_s) {
  const double gigabytes = static_cast<double>(mbit_s) / kMbitPerGigabyte;
  return std::min(12.0, 1.2 + 1.15 * std::log2(1 + gigabytes / 10));
}

double line_width(const Line& line) {
  const int64_t all = std::max(line.forward_mbit_s, line.reverse_mbit_s);
  const int64_t known = line.links - line.down - line.unknown;
  return width_of(line.of_many && known > 0 ? all / known : all);
}

}  // namespace tutti::topology::drawing
