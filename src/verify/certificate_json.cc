// SPDX-License-Identifier: Apache-2.0
// The text form of a certificate.
//
// {"format": "tutti-certificate-1", "figures": {...}, "node_of_rank": ["gpu0", ...],
//  "routes": [[SOURCE, SINK, CHANNEL, ["+3", "-4", ...]], ...], "parts": [["gpu0", ...], ...],
//  "lengths": [[0, 1], ...], "topology": {...}, "plan": {...}}
// A hop "+3" crosses link 3 of the topology as it is written there, "-3" the other way. Lengths are
// of those links, forward and reverse; they are there for AllToAll only. Figures are
// for people; whoever reads a certificate works them out anew.
#include <map>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/plan/json_node.h"
#include "src/verify/certificate.h"
#include "src/verify/hop_text.h"
#include "topology/formats/native_json.h"

namespace tutti::verify {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using plan::JsonNode;

constexpr const char* kFormat = "tutti-certificate-1";
constexpr const char* kSubject = "certificate";

// ---- writing ----

json routes_json(const Placement& placement) {
  json routes = json::array();
  for (const Route& route : placement.routes) {
    json hops = json::array();
    for (const Hop& hop : route.hops) hops.push_back(hop_text(hop));
    routes.push_back({route.source_rank, route.sink_rank, route.channel, std::move(hops)});
  }
  return routes;
}

json ids_json(const topology::Graph& graph, const std::vector<int32_t>& nodes) {
  json ids = json::array();
  for (const int32_t node : nodes) ids.push_back(graph.nodes[node].id);
  return ids;
}

ordered_json figures_json(const Certificate& certificate) {
  const CertificateVerdict verdict = check_certificate(certificate);
  ordered_json figures{{"accepted", verdict.accepted}};
  if (!verdict.accepted) figures["reason"] = verdict.reason;
  figures["bound_seconds_per_mbit"] = verdict.bound.to_string();
  figures["plan_seconds_per_mbit"] = verdict.plan.to_string();
  figures["plan_over_bound"] = verdict.plan_over_bound;
  return figures;
}

// ---- reading ----

using NodeNumbers = std::map<std::string, int32_t, std::less<>>;

NodeNumbers numbers_of(const topology::Graph& graph) {
  NodeNumbers numbers;
  for (size_t node = 0; node < graph.nodes.size(); ++node)
    numbers.emplace(graph.nodes[node].id, static_cast<int32_t>(node));
  return numbers;
}

std::vector<int32_t> read_ids(const JsonNode& list, const NodeNumbers& numbers) {
  std::vector<int32_t> nodes;
  for (const JsonNode& item : list.items()) {
    const auto found = numbers.find(item.text());
    if (found == numbers.end()) item.expected("the id of a node of the topology");
    nodes.push_back(found->second);
  }
  return nodes;
}

Route read_route(const JsonNode& node) {
  const std::vector<JsonNode> items = node.items();
  if (items.size() != 4) node.expected("[source, sink, channel, [hops]]");
  Route route{items[0].count(), items[1].count(), items[2].count(), {}};
  for (const JsonNode& hop : items[3].items()) route.hops.push_back(read_hop(hop));
  return route;
}

std::array<int64_t, 2> read_lengths(const JsonNode& node) {
  const std::vector<JsonNode> items = node.items();
  if (items.size() != 2) node.expected("[forward, reverse]");
  return {static_cast<int64_t>(items[0].integer(INT64_MAX)),
          static_cast<int64_t>(items[1].integer(INT64_MAX))};
}

Certificate read(const json& document) {
  const JsonNode root(kSubject, document);
  root.only(
      {"format", "figures", "node_of_rank", "routes", "parts", "lengths", "topology", "plan"});
  if (root.member("format").text() != kFormat)
    root.member("format").expected(fmt::format("\"{}\"", kFormat));
  Certificate certificate;
  root.member("topology");
  root.member("plan");
  certificate.graph =
      topology::read_native_json(document["topology"].dump(), "topology of the certificate").graph;
  certificate.plan = plan::from_json(document["plan"].dump());
  const NodeNumbers numbers = numbers_of(certificate.graph);
  certificate.placement.node_of_rank = read_ids(root.member("node_of_rank"), numbers);
  for (const JsonNode& route : root.member("routes").items())
    certificate.placement.routes.push_back(read_route(route));
  for (const JsonNode& part : root.member("parts").items())
    certificate.parts.push_back(read_ids(part, numbers));
  if (root.has("lengths"))
    for (const JsonNode& lengths : root.member("lengths").items())
      certificate.lengths.push_back(read_lengths(lengths));
  return certificate;
}

}  // namespace

std::string to_json(const Certificate& certificate) {
  json parts = json::array();
  for (const auto& part : certificate.parts) parts.push_back(ids_json(certificate.graph, part));
  const std::string lengths =
      certificate.lengths.empty() ? "" : "\"lengths\": " + json(certificate.lengths).dump() + ",\n";
  return fmt::format(
      "{{\"format\": \"{}\",\n\"figures\": {},\n\"node_of_rank\": {},\n\"routes\": {},\n\"parts\": "
      "{},\n{}\"topology\": {},\n\"plan\": {}}}\n",
      kFormat, figures_json(certificate).dump(),
      ids_json(certificate.graph, certificate.placement.node_of_rank).dump(),
      routes_json(certificate.placement).dump(), parts.dump(), lengths,
      topology::write_native_json({certificate.graph, {}}), plan::to_json(certificate.plan));
}

Certificate certificate_from_json(std::string_view text, const std::string& source) {
  try {
    return read(plan::parse_json(kSubject, text));
  } catch (const Error& error) {
    throw Error(error.code(), source + ": " + error.what());
  }
}

}  // namespace tutti::verify
