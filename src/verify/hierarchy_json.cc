// SPDX-License-Identifier: Apache-2.0
// The text form of a hierarchy's certificate.
//
// {"format": "tutti-hierarchy-1", "collective": "all_gather", "figures": {...},
//  "node_of_rank": [node, ...], "parts": [[node, ...], ...],
//  "levels": [{"edges": [[from, to], ...], "trees": [[root, edge, ...], ...],
//              "groups": [[rank, ...], ...], "ways": [[["+3", ...], ...], ...]}, ...],
//  "topology": {...}}
// Nodes are numbers into the topology's list. Figures are for people; whoever reads a certificate
// works them out anew.
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/plan/json_node.h"
#include "src/verify/hierarchy.h"
#include "src/verify/hop_text.h"
#include "topology/formats/native_json.h"

namespace tutti::verify {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using plan::JsonNode;

constexpr const char* kFormat = "tutti-hierarchy-1";
constexpr const char* kSubject = "certificate";

// ---- writing ----

ordered_json level_json(const Level& level) {
  ordered_json edges = ordered_json::array();
  for (const auto& [from, to] : level.edges) edges.push_back({from, to});
  ordered_json trees = ordered_json::array();
  for (const LevelTree& tree : level.trees) {
    ordered_json numbers = tree.edges;
    numbers.insert(numbers.begin(), tree.root);
    trees.push_back(std::move(numbers));
  }
  ordered_json ways = ordered_json::array();
  for (const auto& group : level.hops) {
    ordered_json of_group = ordered_json::array();
    for (const auto& hops : group) {
      ordered_json texts = ordered_json::array();
      for (const Hop& hop : hops) texts.push_back(hop_text(hop));
      of_group.push_back(std::move(texts));
    }
    ways.push_back(std::move(of_group));
  }
  return {{"edges", edges}, {"trees", trees}, {"groups", level.groups}, {"ways", ways}};
}

// ---- reading ----

std::vector<int32_t> numbers(const JsonNode& list) {
  std::vector<int32_t> values;
  for (const JsonNode& item : list.items()) values.push_back(item.count());
  return values;
}

std::vector<std::vector<int32_t>> lists(const JsonNode& node) {
  std::vector<std::vector<int32_t>> values;
  for (const JsonNode& item : node.items()) values.push_back(numbers(item));
  return values;
}

LevelEdge read_edge(const JsonNode& node) {
  const std::vector<int32_t> ends = numbers(node);
  if (ends.size() != 2) node.expected("[from, to]");
  return {ends[0], ends[1]};
}

LevelTree read_tree(const JsonNode& node) {
  std::vector<int32_t> values = numbers(node);
  if (values.empty()) node.expected("[root, edge, ...]");
  LevelTree tree{.root = values.front(), .edges = {}};
  tree.edges.assign(values.begin() + 1, values.end());
  return tree;
}

std::vector<Hop> read_way(const JsonNode& node) {
  std::vector<Hop> hops;
  for (const JsonNode& item : node.items()) hops.push_back(read_hop(item));
  return hops;
}

Level read_level(const JsonNode& node) {
  node.only({"edges", "trees", "groups", "ways"});
  Level level;
  for (const JsonNode& edge : node.member("edges").items()) level.edges.push_back(read_edge(edge));
  for (const JsonNode& tree : node.member("trees").items()) level.trees.push_back(read_tree(tree));
  level.groups = lists(node.member("groups"));
  for (const JsonNode& group : node.member("ways").items()) {
    level.hops.emplace_back();
    for (const JsonNode& way : group.items()) level.hops.back().push_back(read_way(way));
  }
  return level;
}

HierarchyCertificate read(const json& document) {
  const JsonNode root(kSubject, document);
  root.only({"format", "collective", "figures", "node_of_rank", "parts", "levels", "topology"});
  if (root.member("format").text() != kFormat)
    root.member("format").expected(fmt::format("\"{}\"", kFormat));
  HierarchyCertificate certificate;
  certificate.collective = plan::collective_from_name(root.member("collective").text());
  root.member("topology");
  certificate.graph =
      topology::read_native_json(document["topology"].dump(), "topology of the certificate").graph;
  certificate.hierarchy.node_of_rank = numbers(root.member("node_of_rank"));
  certificate.parts = lists(root.member("parts"));
  for (const JsonNode& level : root.member("levels").items())
    certificate.hierarchy.levels.push_back(read_level(level));
  return certificate;
}

}  // namespace

std::string to_json(const HierarchyCertificate& certificate) {
  const HierarchyVerdict verdict = check_hierarchy(certificate);
  const ordered_json figures{{"accepted", verdict.accepted},
                             {"reason", verdict.reason},
                             {"bound_seconds_per_mbit", verdict.bound.to_string()},
                             {"plan_seconds_per_mbit", verdict.plan.to_string()},
                             {"plan_over_bound", verdict.plan_over_bound}};
  std::string levels;
  for (const Level& level : certificate.hierarchy.levels)
    levels += (levels.empty() ? "" : ",\n") + level_json(level).dump();
  return fmt::format(
      "{{\"format\": \"{}\", \"collective\": \"{}\",\n\"figures\": {},\n\"node_of_rank\": "
      "{},\n\"parts\": {},\n\"levels\": [{}],\n\"topology\": {}}}\n",
      kFormat, plan::name(certificate.collective), figures.dump(),
      json(certificate.hierarchy.node_of_rank).dump(), json(certificate.parts).dump(), levels,
      topology::write_native_json({certificate.graph, {}}));
}

HierarchyCertificate hierarchy_from_json(std::string_view text, const std::string& source) {
  try {
    return read(plan::parse_json(kSubject, text));
  } catch (const Error& error) {
    throw Error(error.code(), source + ": " + error.what());
  }
}

bool is_hierarchy_json(std::string_view text) {
  constexpr size_t kBeginning = 64;
  return text.substr(0, kBeginning).find(kFormat) != std::string_view::npos;
}

}  // namespace tutti::verify
