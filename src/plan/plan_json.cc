// SPDX-License-Identifier: Apache-2.0
// The native text form of a plan: JSON, one step per line.
//
// {"format": "tutti-plan-1", "algorithm": "ring", "collective": "all_reduce", "n_ranks": 2, "root":
// 0,
//  "chunks_per_block": 2, "channels": 1, "slots": 4, "tiles_in_flight": 2,
//  "switch_channels": [["multicast", 0, 1], ["reduce", 0, 2], ...],
//  "ranks": [{"scratch_chunks": 0, "lanes": [[STEP, ...], ...]}, ...]}
// switch_channels, each [kind, rank, channel], is left out where there are none.
// STEP: {"sinks": ["output[1]", "peer 1"], "sources": ["peer 1", "pre(input[1])"], "extent": 1,
// "post": true,
//        "waits": [[lane, step], ...]}, where extent is left out when the step has none, post when
//        false, waits when empty.
#include <algorithm>
#include <initializer_list>

#include <nlohmann/json.hpp>

#include "src/base/error.h"
#include "src/plan/json_node.h"
#include "src/plan/operand_text.h"
#include "src/plan/plan.h"

namespace tutti::plan {
namespace {

using nlohmann::json;
using Node = JsonNode;

constexpr const char* kFormat = "tutti-plan-1";

// ---- writing ----

json operands_json(const std::vector<Operand>& operands) {
  json list = json::array();
  for (const Operand& operand : operands) list.push_back(to_text(operand));
  return list;
}

std::string step_json(const Step& step) {
  std::string text = "{\"sinks\": " + operands_json(step.sinks).dump() +
                     ", \"sources\": " + operands_json(step.sources).dump();
  if (step.extent != kNoExtent) text += ", \"extent\": " + std::to_string(step.extent);
  if (step.post) text += ", \"post\": true";
  if (!step.waits.empty()) {
    json waits = json::array();
    for (const Wait& wait : step.waits) waits.push_back({wait.lane, wait.step});
    text += ", \"waits\": " + waits.dump();
  }
  return text + "}";
}

std::string lane_json(const Lane& lane) {
  std::string text = "[";
  for (size_t i = 0; i < lane.steps.size(); ++i)
    text += (i == 0 ? "\n      " : ",\n      ") + step_json(lane.steps[i]);
  return text + "]";
}

std::string rank_json(const RankProgram& program) {
  std::string text =
      "{\"scratch_chunks\": " + std::to_string(program.scratch_chunks) + ", \"lanes\": [";
  for (size_t i = 0; i < program.lanes.size(); ++i)
    text += (i == 0 ? "\n    " : ",\n    ") + lane_json(program.lanes[i]);
  return text + "]}";
}

const char* name(SwitchChannel::Kind kind) {
  return kind == SwitchChannel::Kind::kMulticast ? "multicast" : "reduce";
}

std::string switch_channels_json(const Plan& plan) {
  if (plan.switch_channels.empty()) return "";
  json list = json::array();
  for (const SwitchChannel& entry : plan.switch_channels)
    list.push_back({name(entry.kind), entry.rank, entry.channel});
  return ",\n \"switch_channels\": " + list.dump();
}

// ---- reading ----

std::vector<Operand> read_operands(const Node& node) {
  std::vector<Operand> operands;
  for (const Node& item : node.items()) {
    const std::optional<Operand> operand = operand_from_text(item.text());
    if (!operand) {
      item.expected(
          "\"input[i]\", \"output[i]\", \"scratch[i]\", \"peer r\", \"peer r channel c\" or "
          "\"pre(...)\"");
    }
    operands.push_back(*operand);
  }
  return operands;
}

Wait read_wait(const Node& node) {
  const std::vector<Node> items = node.items();
  if (items.size() != 2) node.expected("[lane, step]");
  return {items[0].index(), items[1].index()};
}

Step read_step(const Node& node) {
  node.only({"sinks", "sources", "extent", "post", "waits"});
  Step step;
  step.sinks = read_operands(node.member("sinks"));
  step.sources = read_operands(node.member("sources"));
  if (node.has("extent")) step.extent = node.member("extent").count();
  if (node.has("post")) step.post = node.member("post").boolean();
  if (node.has("waits")) {
    for (const Node& wait : node.member("waits").items()) step.waits.push_back(read_wait(wait));
  }
  return step;
}

RankProgram read_rank(const Node& node) {
  node.only({"scratch_chunks", "lanes"});
  RankProgram program;
  program.scratch_chunks = node.member("scratch_chunks").count();
  for (const Node& lane : node.member("lanes").items()) {
    program.lanes.emplace_back();
    for (const Node& step : lane.items()) program.lanes.back().steps.push_back(read_step(step));
  }
  return program;
}

SwitchChannel read_switch_channel(const Node& node) {
  using Kind = SwitchChannel::Kind;
  const std::vector<Node> items = node.items();
  if (items.size() != 3) node.expected("[kind, rank, channel]");
  const std::string kind = items[0].text();
  if (kind != name(Kind::kMulticast) && kind != name(Kind::kReduce))
    items[0].expected("\"multicast\" or \"reduce\"");
  return {items[1].count(), items[2].count(),
          kind == name(Kind::kReduce) ? Kind::kReduce : Kind::kMulticast};
}

Collective read_collective(const Node& node) {
  const std::string text = node.text();
  try {
    return collective_from_name(text);
  } catch (const Error& error) {
    node.fail(error.what());
  }
}

}  // namespace

std::string to_json(const Plan& plan) {
  const Shape& shape = plan.shape;
  std::string text = std::string("{\"format\": \"") + kFormat + "\", \"algorithm\": " +
                     json(plan.algorithm).dump(-1, ' ', true, json::error_handler_t::replace) +
                     ",\n \"collective\": \"" + name(shape.collective) +
                     "\", \"n_ranks\": " + std::to_string(shape.n_ranks) +
                     ", \"root\": " + std::to_string(shape.root) +
                     ", \"chunks_per_block\": " + std::to_string(shape.chunks_per_block) +
                     ",\n \"channels\": " + std::to_string(plan.channels) +
                     ", \"slots\": " + std::to_string(plan.slots) +
                     ", \"tiles_in_flight\": " + std::to_string(plan.tiles_in_flight) +
                     switch_channels_json(plan) + ",\n \"ranks\": [";
  for (size_t i = 0; i < plan.ranks.size(); ++i)
    text += (i == 0 ? "\n  " : ",\n  ") + rank_json(plan.ranks[i]);
  return text + "]}\n";
}

Plan from_json(std::string_view text) {
  const json document = parse_json("plan", text);
  const Node root("plan", document);
  root.only({"format", "algorithm", "collective", "n_ranks", "root", "chunks_per_block", "channels",
             "slots", "tiles_in_flight", "switch_channels", "ranks"});
  if (root.member("format").text() != kFormat)
    root.member("format").expected(std::string("\"") + kFormat + "\"");
  Plan plan;
  plan.algorithm = root.member("algorithm").text();
  plan.shape.collective = read_collective(root.member("collective"));
  plan.shape.n_ranks = root.member("n_ranks").count();
  plan.shape.root = root.member("root").count();
  plan.shape.chunks_per_block = root.member("chunks_per_block").count();
  plan.channels = root.member("channels").count();
  plan.slots = root.member("slots").count();
  plan.tiles_in_flight = root.member("tiles_in_flight").count();
  if (root.has("switch_channels"))
    for (const Node& entry : root.member("switch_channels").items())
      plan.switch_channels.push_back(read_switch_channel(entry));
  for (const Node& rank : root.member("ranks").items()) plan.ranks.push_back(read_rank(rank));
  return plan;
}

}  // namespace tutti::plan
