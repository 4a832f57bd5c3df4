// SPDX-License-Identifier: Apache-2.0
// Sums up what a part is in a few short lines.
#include "topology/formats/svg/part_text.h"

#include <algorithm>
#include <map>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/size_text.h"
#include "topology/formats/svg/names.h"

namespace tutti::topology::drawing {
namespace {

// What the name says already is left out.
void add_detail(Item& item, const std::string& text) {
  if (!text.empty() && item.lines[0].find(text) == std::string::npos)
    item.lines.push_back(clean(text));
}

// "2 x L3 32 MiB"
void add_caches(const Graph& graph, const std::vector<int32_t>& nodes, Item& item) {
  std::map<std::pair<int64_t, int64_t>, int> caches;
  for (const int32_t node : nodes)
    if (graph.nodes[node].kind == NodeKind::kCache)
      ++caches[{graph.nodes[node].attributes.cache_level,
                graph.nodes[node].attributes.cache_bytes}];
  for (const auto& [cache, count] : caches) {
    std::string text = count == 1 ? "" : fmt::format("{} x ", count);
    text += cache.first == kUnknown ? "cache" : fmt::format("L{} cache", cache.first);
    if (cache.second != kUnknown) text += " " + bytes_text(cache.second);
    item.lines.push_back(text);
  }
}

void add_cores(const Graph& graph, const std::vector<int32_t>& nodes, Item& item) {
  for (const int32_t node : nodes)
    if (graph.nodes[node].kind == NodeKind::kCore) item.cores.push_back(node);
  if (item.cores.empty()) return;
  const auto usable = std::count_if(item.cores.begin(), item.cores.end(), [&](int32_t core) {
    return !graph.nodes[core].attributes.usable_cpus.empty();
  });
  std::string text = count_of(item.cores.size(), NodeKind::kCore);
  if (usable != static_cast<std::ptrdiff_t>(item.cores.size()) && usable > 0)
    text += fmt::format(", {} usable", usable);
  item.lines.push_back(text);
  if (item.cores.size() > kMaxCoreSquares) item.cores.clear();
}

void describe_cpu(const Graph& graph, const Part& part, Item& item) {
  const int32_t parent = part.node < 0 ? -1 : graph.nodes[part.node].parent;
  const bool in_package = parent >= 0 && graph.nodes[parent].kind == NodeKind::kPackage;
  const auto numas = std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return node.kind == NodeKind::kNuma && node.parent == parent;
  });
  if (part.node >= 0) add_detail(item, graph.nodes[part.node].attributes.model);
  if (in_package && numas > 1) add_detail(item, "in " + short_name(graph, parent));
  for (const int32_t node : part.stands_for)
    if (graph.nodes[node].kind == NodeKind::kPackage) {
      add_detail(item, graph.nodes[node].attributes.model);
      item.tooltip += "\n" + tooltip(graph, node);
    }
  const int64_t memory = part.node < 0 ? kUnknown : graph.nodes[part.node].attributes.memory_bytes;
  if (memory != kUnknown) add_detail(item, bytes_text(memory) + " memory");
  add_caches(graph, part.stands_for, item);
  add_cores(graph, part.stands_for, item);
}

std::string speed_text(int64_t mbit_s) {
  return mbit_s == kUnknown ? "" : fmt::format("{:.4g} Gbit/s", static_cast<double>(mbit_s) / 1000);
}

void describe_device(const Attributes& a, Item& item) {
  add_detail(item, a.model.empty() ? a.arch : a.model);
  if (item.kind == NodeKind::kGpu) {
    const bool usual = a.pci_address.starts_with("0000:") && a.pci_address.size() > 5;
    add_detail(item, usual ? a.pci_address.substr(5) : a.pci_address);
  }
  if (item.kind == NodeKind::kNic) {
    add_detail(item, a.verbs_device.empty() ? a.device : a.verbs_device);
    add_detail(item, speed_text(a.speed_mbit_s));
  }
  if (item.lines.size() > 3) item.lines.erase(item.lines.begin() + 1);  // its model
  std::string abilities = a.reduces ? ", reduces" : "";
  if (a.multicasts) abilities += ", multicasts";
  item.lines[0] += abilities;
}

Item describe_more(const Graph& graph, const Part& part) {
  const size_t count = std::count_if(part.stands_for.begin(), part.stands_for.end(),
                                     [&](int32_t n) { return graph.nodes[n].kind == part.kind; });
  return {.shape = Shape::kMore,
          .kind = part.kind,
          .lines = {fmt::format("… {} more", count), kind_name(part.kind, true)},
          .tooltip =
              clean(fmt::format("{} that are not drawn, the first is {}",
                                count_of(count, part.kind), graph.nodes[part.stands_for[0]].id))};
}

}  // namespace

Item describe(const Graph& graph, const Part& part) {
  if (part.more) return describe_more(graph, part);
  Item item{.kind = part.kind, .node = part.node};
  if (part.node < 0) {
    item.lines = {"CPU"};
    item.tooltip = "cores that are in no package";
  } else {
    item.lines = {short_name(graph, part.node)};
    item.tooltip = tooltip(graph, part.node);
  }
  if (is_cpu(part.kind))
    describe_cpu(graph, part, item);
  else
    describe_device(graph.nodes[part.node].attributes, item);
  return item;
}

std::string heading(const Graph& graph, int32_t machine) {
  const Attributes& a = graph.nodes[machine].attributes;
  std::string text = short_name(graph, machine);
  for (const std::string& detail : {a.model, a.arch})
    if (!detail.empty()) text += ", " + clean(detail);
  if (a.memory_bytes != kUnknown) text += ", " + bytes_text(a.memory_bytes);
  return text;
}

double text_height(const Item& item) {
  const size_t core_rows = (item.cores.size() + kCoreSquaresPerRow - 1) / kCoreSquaresPerRow;
  return 8 + 14 * static_cast<double>(item.lines.size()) +
         kCorePx * static_cast<double>(core_rows) + (core_rows > 0 ? 4 : 0);
}

double text_width(const Item& item) {
  double width = kCorePx * static_cast<double>(std::min(item.cores.size(), kCoreSquaresPerRow));
  for (size_t i = 0; i < item.lines.size(); ++i)
    width = std::max(width, text_width(item.lines[i], i == 0 ? kFontPx * kBold : kSmallPx));
  return width;
}

}  // namespace tutti::topology::drawing
