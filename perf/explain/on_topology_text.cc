// SPDX-License-Identifier: Apache-2.0
// Explanations on topologies as a table for people and as JSON.
#include <algorithm>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/explain/on_topology.h"

namespace tutti::command {
namespace {

using nlohmann::ordered_json;

const std::string& node_id(const TopologyExplanation& e, int32_t node) {
  return e.report.graph.nodes[node].id;
}

std::string hop_text(const TopologyExplanation& e, const verify::Hop& hop) {
  const topology::Link& link = e.report.graph.links[hop.link];
  const int32_t from = hop.reverse ? link.to : link.from;
  const int32_t to = hop.reverse ? link.from : link.to;
  const int64_t mbit_s = hop.reverse ? link.reverse_mbit_s : link.forward_mbit_s;
  return fmt::format("{} to {} ({} GB/s)", node_id(e, from), node_id(e, to),
                     static_cast<double>(mbit_s) / topology::kMbitPerGigabyte);
}

std::vector<std::string> bottlenecks(const TopologyExplanation& e, size_t most) {
  const auto& hops = e.rows.front().bottlenecks;
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(most, hops.size()); ++i) texts.push_back(hop_text(e, hops[i]));
  if (hops.size() > most) texts.push_back(fmt::format("{} more", hops.size() - most));
  return texts;
}

std::vector<std::string> ids(const TopologyExplanation& e, const std::vector<int32_t>& nodes,
                             size_t most) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(most, nodes.size()); ++i) texts.push_back(node_id(e, nodes[i]));
  if (nodes.size() > most) texts.push_back(fmt::format("{} more", nodes.size() - most));
  return texts;
}

std::string parts_text(const TopologyExplanation& e) {
  constexpr size_t kShownNodes = 12;
  constexpr size_t kShownParts = 3;
  const auto& parts = e.bound.parts;
  std::string text;
  for (size_t i = 0; i < std::min(kShownParts, parts.size()); ++i)
    text +=
        fmt::format("{}{{{}}}", i == 0 ? "" : " ", fmt::join(ids(e, parts[i], kShownNodes), ", "));
  if (parts.size() > kShownParts) text += fmt::format(" and {} more", parts.size() - kShownParts);
  return text;
}

bool is_all_reduce(const TopologyExplanation& e) {
  return e.request.collective == plan::Collective::kAllReduce;
}

bool is_all_to_all(const TopologyExplanation& e) {
  return e.request.collective == plan::Collective::kAllToAll;
}

std::vector<verify::Hop> long_hops(const TopologyExplanation& e) {
  std::vector<verify::Hop> hops;
  for (size_t i = 0; i < e.bound.lengths.size(); ++i)
    for (const bool reverse : {false, true})
      if (e.bound.lengths[i][reverse ? 1 : 0] > 0)
        hops.push_back({static_cast<int32_t>(i), reverse});
  return hops;
}

std::string all_to_all_bound_text(const TopologyExplanation& e) {
  const std::vector<verify::Hop> hops = long_hops(e);
  return fmt::format(
      "bound     1/x* = {}: {:.3f} GB/s, proved by the lengths of {} links{}{}\n"
      "cut       1/x  = {}: {:.3f} GB/s, at {}\n",
      in_given_capacities(e, e.bound.time).to_string(), algbw(e, e.bound.time), hops.size(),
      hops.empty() ? "" : ", such as " + hop_text(e, hops.front()),
      e.bound.optimal || e.plan_over_bound == 1 ? "" : "; there may be a better bound",
      in_given_capacities(e, e.bound.cut_time).to_string(), algbw(e, e.bound.cut_time),
      parts_text(e));
}

std::string bound_text(const TopologyExplanation& e) {
  if (is_all_to_all(e)) return all_to_all_bound_text(e);
  std::string text =
      fmt::format("bound     1/x* = {}: {:.3f} GB/s, proved by the {} {}\n",
                  in_given_capacities(e, e.bound.time).to_string(), algbw(e, e.bound.time),
                  is_all_reduce(e) ? "parts" : "cut", parts_text(e));
  if (is_all_reduce(e))
    text += fmt::format("forests   1/x  = {}: {:.3f} GB/s, reduce-scatter and all-gather at best\n",
                        in_given_capacities(e, e.bound.forest_time).to_string(),
                        algbw(e, e.bound.forest_time));
  return text;
}

bool is_written_out(const TopologyRow& row) { return !row.placed.plan.ranks.empty(); }

std::string table(const TopologyExplanation& e) {
  constexpr const char* kFormat = "{:<20} {:>12} {:>9} {:>9} {:>11} {:>8} {:>9} {:>6} {:>7}\n";
  std::string text = fmt::format(kFormat, "algorithm", "time (us)", "algbw", "busbw", "link limit",
                                 "of bound", "channels", "lanes", "chunks");
  for (const TopologyRow& row : e.rows) {
    const double bandwidth = algbw(e, row.time_ns);
    const double limit = algbw(e, row.link_time);
    text += fmt::format(
        kFormat, row.algorithm, fmt::format("{:.2f}", row.time_ns / 1e3),
        fmt::format("{:.2f}", bandwidth), fmt::format("{:.2f}", bandwidth * busbw_factor(e)),
        fmt::format("{:.2f}", limit), fmt::format("{:.1f} %", 100 * limit / algbw(e, e.bound.time)),
        is_written_out(row) ? std::to_string(row.channels) : "-",
        is_written_out(row) ? std::to_string(row.lanes) : "-", row.chunks_per_block);
  }
  return text;
}

// Of the speed before; none when the plan that was found with the change is the faster one.
double speed_lost(const TopologyExplanation& e, const TopologyExplanation& before) {
  return std::max(0.0, 1 - before.rows.front().time_ns / e.rows.front().time_ns);
}

std::string what_if_text(const TopologyExplanation& e, const TopologyExplanation& before) {
  const TopologyRow& was = before.rows.front();
  return fmt::format(
      "\nwithout the change: {} in {:.2f} us, {:.2f} GB/s; bound {:.3f} GB/s\n"
      "with it {:.1f} % of the speed is lost; of the bound, {:.1f} %\n",
      was.algorithm, was.time_ns / 1e3, algbw(before, was.time_ns),
      algbw(before, before.bound.time), 100 * speed_lost(e, before),
      100 * (1 - algbw(e, e.bound.time) / algbw(before, before.bound.time)));
}

ordered_json row_json(const TopologyExplanation& e, const TopologyRow& row) {
  const double bandwidth = algbw(e, row.time_ns);
  return {{"algorithm", row.algorithm},
          {"time_us", row.time_ns / 1e3},
          {"algbw_gbps", bandwidth},
          {"busbw_gbps", bandwidth * busbw_factor(e)},
          {"inverse_x", in_given_capacities(e, row.link_time).to_string()},
          {"link_limit_algbw_gbps", algbw(e, row.link_time)},
          {"plan_over_bound", e.bound.time.value() / row.link_time.value()},
          {"channels", row.channels},
          {"lanes", row.lanes},
          {"chunks_per_block", row.chunks_per_block},
          {"slot_bytes", row.slot_bytes}};
}

ordered_json document(const TopologyExplanation& e) {
  ordered_json json = row_json(e, e.rows.front());
  json["collective"] = plan::name(e.request.collective);
  json["bytes"] = e.request.bytes;
  json["ranks"] = e.network.n_terminals;
  json["bound_inverse_x"] = in_given_capacities(e, e.bound.time).to_string();
  json["bound_algbw_gbps"] = algbw(e, e.bound.time);
  json["forest_bound_inverse_x"] = in_given_capacities(e, e.bound.forest_time).to_string();
  json["plan_over_forest_bound"] = e.bound.forest_time.value() / e.rows.front().link_time.value();
  json["cut"] = ordered_json::array();
  for (const auto& part : e.bound.parts) json["cut"].push_back(ids(e, part, part.size()));
  if (e.bound.parts.size() == 1) json["cut"] = json["cut"].front();
  if (is_all_to_all(e)) {
    json["cut_inverse_x"] = in_given_capacities(e, e.bound.cut_time).to_string();
    json["bound_optimal"] = e.bound.optimal;
  }
  json["bottlenecks"] = bottlenecks(e, SIZE_MAX);
  json["plan_ms"] = e.plan_ms;
  json["simulation_ms"] = e.simulation_ms;
  json["notes"] = ordered_json::array();
  for (const topology::Note& note : e.report.notes) json["notes"].push_back(note.text);
  json["candidates"] = ordered_json::array();
  for (const TopologyRow& row : e.rows) json["candidates"].push_back(row_json(e, row));
  return json;
}

}  // namespace

std::string as_text(const TopologyExplanation& e, const TopologyExplanation* before) {
  constexpr size_t kShownLinks = 4;
  std::string text =
      fmt::format("{} of {} bytes, {} ranks; capacities in GB/s\n",
                  plan::name(e.request.collective), e.request.bytes, e.network.n_terminals);
  text += bound_text(e) + "\n" + table(e);
  text += fmt::format("\n{} is chosen; busiest links: {}\n", e.rows.front().algorithm,
                      fmt::join(bottlenecks(e, kShownLinks), ", "));
  text += fmt::format(
      "certificate: plan / bound = {:.4f}{}\n", e.plan_over_bound,
      is_all_reduce(e) ? fmt::format(", plan / forests = {:.4f}",
                                     e.bound.forest_time.value() / e.rows.front().link_time.value())
                       : "");
  text += fmt::format("planned in {:.1f} ms, simulated in {:.1f} ms\n", e.plan_ms, e.simulation_ms);
  if (before != nullptr) text += what_if_text(e, *before);
  for (const topology::Note& note : e.report.notes) text += fmt::format("note: {}\n", note.text);
  return text;
}

std::string as_json(const TopologyExplanation& e, const TopologyExplanation* before) {
  ordered_json json = document(e);
  if (before != nullptr) {
    json["without_change"] = document(*before);
    json["speed_lost"] = speed_lost(e, *before);
  }
  return json.dump(2) + "\n";
}

}  // namespace tutti::command
