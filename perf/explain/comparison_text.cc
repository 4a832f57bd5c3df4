// SPDX-License-Identifier: Apache-2.0
// Comparisons as tables for people and as JSON.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/explain/comparison.h"

namespace tutti::command {
namespace {

using nlohmann::ordered_json;

constexpr double kAlike = 0.01;  // times that differ by less are equal

std::string way_text(const Comparison& c, const verify::Hop& hop) {
  const topology::Graph& graph = c.arena.report.graph;
  const topology::Link& link = graph.links[hop.link];
  const int32_t from = hop.reverse ? link.to : link.from;
  const int32_t to = hop.reverse ? link.from : link.to;
  const int64_t mbit_s = hop.reverse ? link.reverse_mbit_s : link.forward_mbit_s;
  return fmt::format("{} to {} ({} GB/s)", graph.nodes[from].id, graph.nodes[to].id,
                     static_cast<double>(mbit_s) / topology::kMbitPerGigabyte);
}

std::string size_text(uint64_t bytes) {
  constexpr std::pair<uint64_t, const char*> kUnits[] = {
      {uint64_t{1} << 30, "GiB"}, {uint64_t{1} << 20, "MiB"}, {uint64_t{1} << 10, "KiB"}};
  for (const auto& [unit, name] : kUnits)
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{} {}", bytes / unit, name);
  return fmt::format("{} B", bytes);
}

// "A", "B" or "alike".
std::string winner(double a, double b) {
  if (std::abs(a - b) <= kAlike * std::min(a, b)) return "alike";
  return a < b ? "A" : "B";
}

std::string verdict_text(const MeasuredPlan& side) {
  return side.verdict.accepted ? fmt::format("yes, {} of {} slots", side.verdict.min_slots,
                                             side.contender.placed.plan.slots)
                               : "NO";
}

// ---- links ----

// Of a call, how long each way of a link is busy in either plan.
struct WayOfBoth {
  verify::Hop hop;
  double a = 0;
  double b = 0;
};

std::vector<WayOfBoth> ways_of_both(const Comparison& c) {
  std::map<std::pair<int32_t, bool>, WayOfBoth> ways;
  for (const BusyWay& way : c.a.ways)
    ways[{way.hop.link, way.hop.reverse}] = {way.hop, way.ns_per_byte, 0};
  for (const BusyWay& way : c.b.ways) {
    WayOfBoth& both = ways[{way.hop.link, way.hop.reverse}];
    both.hop = way.hop;
    both.b = way.ns_per_byte;
  }
  std::vector<WayOfBoth> list;
  list.reserve(ways.size());
  for (const auto& [key, way] : ways) list.push_back(way);
  std::ranges::stable_sort(list, std::greater<>(),
                           [](const WayOfBoth& way) { return std::abs(way.a - way.b); });
  return list;
}

std::vector<verify::Hop> busiest(const MeasuredPlan& side) {
  std::vector<verify::Hop> hops;
  for (const BusyWay& way : side.ways)
    if (way.ns_per_byte >= side.ns_per_byte * (1 - 1e-9)) hops.push_back(way.hop);
  return hops;
}

std::string busiest_text(const Comparison& c) {
  constexpr size_t kShown = 2;
  std::string text = "busiest links\n";
  for (const auto& [letter, side] : {std::pair{'A', &c.a}, std::pair{'B', &c.b}}) {
    const std::vector<verify::Hop> hops = busiest(*side);
    std::vector<std::string> names;
    for (size_t i = 0; i < std::min(kShown, hops.size()); ++i)
      names.push_back(way_text(c, hops[i]));
    if (hops.size() > kShown) names.push_back(fmt::format("{} more", hops.size() - kShown));
    text += fmt::format("  {}  {}\n", letter,
                        names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
  }
  return text;
}

std::string differences_text(const Comparison& c) {
  constexpr size_t kShown = 4;
  std::string text;
  for (const WayOfBoth& way : ways_of_both(c)) {
    if (std::abs(way.a - way.b) <= kAlike * std::max(way.a, way.b)) continue;
    if (std::count(text.begin(), text.end(), '\n') == kShown) break;
    text += fmt::format("  {:<48} A {:.4f}  B {:.4f}\n", way_text(c, way.hop), way.a, way.b);
  }
  if (text.empty()) return "every link is busy as long in A as in B\n";
  return "they differ most, in ms per MB of a block, at\n" + text;
}

// ---- tables ----

std::string properties_text(const Comparison& c) {
  constexpr const char* kFormat = "{:<22} {:>24} {:>24}\n";
  const auto of_both = [&](const char* what, const auto& value) {
    return fmt::format(kFormat, what, value(c.a), value(c.b));
  };
  std::string text = fmt::format(kFormat, "", "A", "B");
  text += of_both("plan", [](const MeasuredPlan& side) { return side.contender.name; });
  text += of_both("verified", verdict_text);
  text += of_both("steps", [](const MeasuredPlan& side) { return side.size.steps; });
  text += of_both("messages", [](const MeasuredPlan& side) { return side.size.messages; });
  text += of_both("channels",
                  [](const MeasuredPlan& side) { return side.contender.placed.plan.channels; });
  text += of_both("lanes of a rank", [](const MeasuredPlan& side) { return side.lanes; });
  text += of_both("chunks of a block", [](const MeasuredPlan& side) {
    return side.contender.placed.plan.shape.chunks_per_block;
  });
  text += of_both("link limit (GB/s)", [&](const MeasuredPlan& side) {
    return side.ns_per_byte > 0 ? fmt::format("{:.3f}", algbw(c, 1, side.ns_per_byte)) : "-";
  });
  text += of_both("plan / bound", [](const MeasuredPlan& side) {
    return side.plan_over_bound > 0 ? fmt::format("{:.4f}", side.plan_over_bound) : "-";
  });
  return text;
}

std::string times_text(const Comparison& c) {
  constexpr const char* kFormat = "{:>10} {:>13} {:>9} {:>9} {:>13} {:>9} {:>9}  {}\n";
  std::string text = fmt::format(kFormat, "block", "A time (us)", "algbw", "busbw", "B time (us)",
                                 "algbw", "busbw", "faster");
  for (size_t i = 0; i < c.bytes.size(); ++i) {
    const double a = c.a.time_ns[i];
    const double b = c.b.time_ns[i];
    const std::string who = winner(a, b);
    text += fmt::format(
        kFormat, size_text(c.bytes[i]), fmt::format("{:.2f}", a / 1e3),
        fmt::format("{:.2f}", algbw(c, c.bytes[i], a)),
        fmt::format("{:.2f}", algbw(c, c.bytes[i], a) * busbw_factor(c)),
        fmt::format("{:.2f}", b / 1e3), fmt::format("{:.2f}", algbw(c, c.bytes[i], b)),
        fmt::format("{:.2f}", algbw(c, c.bytes[i], b) * busbw_factor(c)),
        who == "alike" ? who : fmt::format("{}, {:.2f}x", who, std::max(a, b) / std::min(a, b)));
  }
  return text;
}

std::string notes_text(const Comparison& c) {
  std::string text;
  for (const auto& [letter, side] : {std::pair{'A', &c.a}, std::pair{'B', &c.b}}) {
    if (!side->verdict.accepted)
      text += fmt::format("{} is rejected: {}\n", letter, side->verdict.reason);
    for (const std::string& note : side->contender.notes)
      text += fmt::format("note: {}: {}\n", letter, note);
  }
  for (const topology::Note& note : c.arena.report.notes)
    text += fmt::format("note: {}\n", note.text);
  return text;
}

// ---- JSON ----

ordered_json side_json(const Comparison& c, const MeasuredPlan& side) {
  const plan::Plan& plan = side.contender.placed.plan;
  ordered_json json{{"given", side.contender.given},
                    {"algorithm", side.contender.name},
                    {"verified", side.verdict.accepted},
                    {"steps", side.size.steps},
                    {"messages", side.size.messages},
                    {"channels", plan.channels},
                    {"lanes", side.lanes},
                    {"chunks_per_block", plan.shape.chunks_per_block},
                    {"notes", side.contender.notes}};
  if (!side.verdict.accepted) {
    json["reason"] = side.verdict.reason;
    return json;
  }
  json["min_slots"] = side.verdict.min_slots;
  if (side.ns_per_byte > 0) json["link_limit_algbw_gbps"] = algbw(c, 1, side.ns_per_byte);
  if (side.plan_over_bound > 0) json["plan_over_bound"] = side.plan_over_bound;
  json["busiest"] = ordered_json::array();
  for (const verify::Hop& hop : busiest(side)) json["busiest"].push_back(way_text(c, hop));
  return json;
}

ordered_json time_json(const Comparison& c, uint64_t bytes, double time_ns) {
  const double bandwidth = algbw(c, bytes, time_ns);
  return {{"time_us", time_ns / 1e3},
          {"algbw_gbps", bandwidth},
          {"busbw_gbps", bandwidth * busbw_factor(c)}};
}

}  // namespace

std::string as_text(const Comparison& c) {
  std::string text =
      fmt::format("{} on {} ranks, simulated\n  A  {}\n  B  {}\n\n", plan::name(c.collective),
                  c.arena.network.n_terminals, c.a.contender.given, c.b.contender.given);
  text += properties_text(c) + "\n";
  if (is_accepted(c)) text += times_text(c) + "\n" + busiest_text(c) + differences_text(c);
  return text + notes_text(c);
}

std::string as_json(const Comparison& c) {
  ordered_json json{{"collective", plan::name(c.collective)},
                    {"ranks", c.arena.network.n_terminals},
                    {"a", side_json(c, c.a)},
                    {"b", side_json(c, c.b)}};
  json["sizes"] = ordered_json::array();
  json["links"] = ordered_json::array();
  json["notes"] = ordered_json::array();
  for (size_t i = 0; is_accepted(c) && i < c.bytes.size(); ++i)
    json["sizes"].push_back({{"bytes", c.bytes[i]},
                             {"a", time_json(c, c.bytes[i], c.a.time_ns[i])},
                             {"b", time_json(c, c.bytes[i], c.b.time_ns[i])},
                             {"faster", winner(c.a.time_ns[i], c.b.time_ns[i])}});
  if (is_accepted(c))
    for (const WayOfBoth& way : ways_of_both(c))
      json["links"].push_back(
          {{"way", way_text(c, way.hop)}, {"a_ns_per_byte", way.a}, {"b_ns_per_byte", way.b}});
  for (const topology::Note& note : c.arena.report.notes) json["notes"].push_back(note.text);
  return json.dump(2) + "\n";
}

}  // namespace tutti::command
