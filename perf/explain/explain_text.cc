// SPDX-License-Identifier: Apache-2.0
// An explanation as a table, and as JSON.
#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/explain/explain.h"

namespace tutti::command {
namespace {

constexpr double kSmallShare = 0.02;  // of a time: less is no difference

std::string time_text(double ns) {
  return ns < 1e6 ? fmt::format("{:.2f} us", ns / 1e3) : fmt::format("{:.2f} ms", ns / 1e6);
}

struct Part {
  const char* name;
  double more_ns;  // than the winner
};

// What the model says that `row` spends more on than `winner`.
Part limit_of(const ExplainedRow& row, const ExplainedRow& winner) {
  const Part parts[] = {
      {"waiting for messages, hop after hop", row.latency_ns - winner.latency_ns},
      {"sending and receiving more messages", row.handling_ns - winner.handling_ns},
      {"copying and reducing more bytes", row.bytes_ns - winner.bytes_ns},
      {"what it puts on the network", row.network_ns - winner.network_ns}};
  return *std::ranges::max_element(parts, {}, &Part::more_ns);
}

bool was_measured(const Explanation& e) {
  return std::ranges::any_of(
      e.rows, [](const ExplainedRow& row) { return row.predicted_ns != row.model_ns; });
}

std::string error_text(const ExplainedRow& row) {
  return fmt::format("{:+.0f} %", 100 * (row.predicted_ns / *row.measured_ns - 1));
}

const ExplainedRow& fastest(const Explanation& e) {
  return *std::ranges::min_element(e.rows, {}, [](const ExplainedRow& row) {
    return row.measured_ns.value_or(row.predicted_ns);
  });
}

std::string measured_text(const Explanation& e) {
  const ExplainedRow& chosen = e.rows.front();
  if (!chosen.measured_ns.has_value()) return "";
  const ExplainedRow& best = fastest(e);
  std::string text =
      fmt::format("Measured: {} takes {}, its prediction is off by {}", chosen.algorithm,
                  time_text(*chosen.measured_ns), error_text(chosen));
  if (&best == &chosen) return text + "; nothing is faster.";
  return text + fmt::format("; the fastest is {} with {}, {:.2f} times as fast.", best.algorithm,
                            time_text(*best.measured_ns), *chosen.measured_ns / *best.measured_ns);
}

}  // namespace

std::string why(const Explanation& e) {
  const ExplainedRow& winner = e.rows.front();
  if (e.rows.size() == 1)
    return fmt::format("{} is chosen: nothing else does {} on {} ranks.", winner.algorithm,
                       plan::name(e.collective), e.input.n_ranks);
  const ExplainedRow& second = e.rows[1];
  const double ratio = second.predicted_ns / winner.predicted_ns;
  if (ratio < 1)
    return fmt::format(
        "{} is chosen because TUTTI_ALGO says so; {} is predicted to take {:.2f} of "
        "its time.",
        winner.algorithm, second.algorithm, ratio);
  if (ratio < 1 + kSmallShare)
    return fmt::format("{} is chosen: as fast as {}, which comes later in `tutti plan list`.",
                       winner.algorithm, second.algorithm);
  const Part limit = limit_of(second, winner);
  const std::string by = fmt::format("{} is chosen: {} is predicted to take {:.2f} times as long",
                                     winner.algorithm, second.algorithm, ratio);
  if (limit.more_ns > kSmallShare * winner.model_ns)
    return by + fmt::format(", which goes into {}.", limit.name);
  return by +
         (was_measured(e) ? "; it was measured slower on this machine than its counts tell." : ".");
}

namespace {

uint64_t bytes_in(double blocks, const Explanation& e) {
  return static_cast<uint64_t>(std::llround(blocks * static_cast<double>(e.input.bytes)));
}

// What each candidate puts on the network, beside the least.
std::string network_table(const Explanation& e) {
  if (!e.input.hosts.several()) return "";
  constexpr const char* kRow = "{:<19} {:>5} {:>12} {:>15} {:>15} {:>9}\n";
  std::string text = fmt::format("\nBetween the hosts ({}), in one call\n", e.input.hosts.text());
  text += fmt::format(kRow, "algorithm", "hops", "connections", "busiest host", "all hosts",
                      "of least");
  for (const ExplainedRow& row : e.rows) {
    const double least = e.least.total_blocks;
    text += fmt::format(kRow, row.algorithm, row.network.hops, row.network.connections,
                        bytes_in(row.network.host_blocks, e), bytes_in(row.network.total_blocks, e),
                        least == 0 ? "-" : fmt::format("{:.3f}", row.network.total_blocks / least));
  }
  return text + fmt::format(kRow, "(least)", "", "", bytes_in(e.least.host_blocks, e),
                            bytes_in(e.least.total_blocks, e), "");
}

}  // namespace

std::string as_table(const Explanation& e) {
  const bool measured = e.rows.front().measured_ns.has_value();
  std::string text =
      fmt::format("{} of {} bytes, {} ranks on {} cores; {}\n", plan::name(e.collective),
                  e.input.bytes, e.input.n_ranks, e.input.cores,
                  e.profile.empty() ? "no profile: defaults (`tutti tune` measures this machine)"
                                    : "profile " + e.profile);
  text += fmt::format("slots of {} bytes, {} channels; counts are those of the busiest rank\n\n",
                      e.slot_bytes, e.channels);
  text += fmt::format("{:<19} {:>11} ", "algorithm", "predicted");
  if (measured) text += fmt::format("{:>11} {:>7} ", "measured", "error");
  text += fmt::format("{:>9} {:>12} {:>14}  {}\n", "messages", "bytes sent", "bytes touched",
                      "protocol");
  for (const ExplainedRow& row : e.rows) {
    text += fmt::format("{:<19} {:>11} ", row.algorithm, time_text(row.predicted_ns));
    if (measured)
      text += fmt::format("{:>11} {:>7} ", time_text(*row.measured_ns), error_text(row));
    text += fmt::format("{:>9} {:>12} {:>14}  {}\n", row.traffic.messages, row.traffic.sent_bytes,
                        row.traffic.touched_bytes, row.protocol);
  }
  text += network_table(e);
  text += "\n" + why(e) + "\n";
  if (measured) text += measured_text(e) + "\n";
  return text;
}

std::string as_json(const Explanation& e) {
  using nlohmann::ordered_json;
  ordered_json candidates = ordered_json::array();
  for (const ExplainedRow& row : e.rows) {
    ordered_json candidate = {{"algorithm", row.algorithm},
                              {"predicted_ns", row.predicted_ns},
                              {"model_ns", row.model_ns},
                              {"latency_ns", row.latency_ns},
                              {"handling_ns", row.handling_ns},
                              {"bytes_ns", row.bytes_ns},
                              {"messages", row.traffic.messages},
                              {"sent_bytes", row.traffic.sent_bytes},
                              {"touched_bytes", row.traffic.touched_bytes},
                              {"message_bytes", row.traffic.message_bytes},
                              {"protocol", row.protocol}};
    if (row.measured_ns.has_value()) candidate["measured_ns"] = *row.measured_ns;
    if (e.input.hosts.several()) {
      candidate["network_ns"] = row.network_ns;
      candidate["network_hops"] = row.network.hops;
      candidate["network_connections"] = row.network.connections;
      candidate["network_bytes_of_busiest_host"] = bytes_in(row.network.host_blocks, e);
      candidate["network_bytes"] = bytes_in(row.network.total_blocks, e);
    }
    candidates.push_back(std::move(candidate));
  }
  ordered_json json{{"collective", plan::name(e.collective)},
                    {"bytes", e.input.bytes},
                    {"ranks", e.input.n_ranks},
                    {"cores", e.input.cores},
                    {"profile", e.profile},
                    {"slot_bytes", e.slot_bytes},
                    {"channels", e.channels},
                    {"chosen", e.rows.front().algorithm},
                    {"why", why(e)},
                    {"candidates", std::move(candidates)}};
  if (e.input.hosts.several()) {
    json["hosts"] = e.input.hosts.text();
    json["least_network_bytes"] = bytes_in(e.least.total_blocks, e);
    json["least_network_bytes_of_busiest_host"] = bytes_in(e.least.host_blocks, e);
  }
  return json.dump(2) + "\n";
}

}  // namespace tutti::command
