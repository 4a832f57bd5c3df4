// SPDX-License-Identifier: Apache-2.0
// Compares ranks, and prints.
#include "perf/doctor/health.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/trace/timeline.h"

namespace tutti::command {
namespace {

using nlohmann::ordered_json;

constexpr size_t kNameWidth = 24;
constexpr const char* kAbsent = "(not there)";

std::string line_of(const Finding& finding) {
  std::string text = fmt::format("{} {:<{}} {}\n", finding.remedy.empty() ? " " : "!", finding.name,
                                 kNameWidth, finding.value);
  if (!finding.remedy.empty())
    text += fmt::format("  {:<{}} -> {}\n", "", kNameWidth, finding.remedy);
  return text;
}

std::string problems_of_others(const std::vector<RankHealth>& ranks) {
  std::map<std::string, std::vector<int>> ranks_by_line;
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    for (const Section& section : ranks[rank].sections) {
      for (const Finding& finding : section.findings) {
        if (!finding.remedy.empty())
          ranks_by_line[line_of(finding)].push_back(static_cast<int>(rank));
      }
    }
  }
  std::string text;
  for (const auto& [line, who] : ranks_by_line)
    text += "\nproblem of rank " + trace::rank_list(who) + "\n" + line;
  return text;
}

std::string text_of(const Difference& difference) {
  std::string text = fmt::format("{} {} / {}\n", difference.must_agree.empty() ? " " : "!",
                                 difference.section, difference.name);
  for (const auto& [value, who] : difference.ranks_by_value)
    text += fmt::format("    rank {}: {}\n", trace::rank_list(who), value);
  if (!difference.must_agree.empty()) text += "    -> " + difference.must_agree + "\n";
  return text;
}

}  // namespace

ordered_json to_json(const RankHealth& health) {
  ordered_json sections = ordered_json::array();
  for (const Section& section : health.sections) {
    ordered_json findings = ordered_json::array();
    for (const Finding& f : section.findings) {
      findings.push_back({{"name", f.name},
                          {"value", f.value},
                          {"remedy", f.remedy},
                          {"must_agree", f.must_agree}});
    }
    sections.push_back({{"title", section.title}, {"findings", std::move(findings)}});
  }
  return sections;
}

RankHealth from_json(const ordered_json& json) {
  RankHealth health;
  for (const auto& section : json) {
    Section& made = health.sections.emplace_back(Section{section.at("title"), {}});
    for (const auto& f : section.at("findings")) {
      made.findings.push_back({f.at("name"), f.at("value"), f.at("remedy"), f.at("must_agree")});
    }
  }
  return health;
}

std::vector<Difference> differences(const std::vector<RankHealth>& ranks) {
  std::vector<Difference> all;  // in the order in which names first come
  std::vector<std::vector<std::string>> values;
  std::map<std::pair<std::string, std::string>, size_t> index;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    for (const Section& section : ranks[rank].sections) {
      for (const Finding& f : section.findings) {
        const auto [at, is_new] = index.try_emplace({section.title, f.name}, all.size());
        if (is_new) {
          all.push_back({section.title, f.name, {}, f.must_agree});
          values.emplace_back(ranks.size(), kAbsent);
        }
        std::string& value = values[at->second][rank];
        if (value == kAbsent)
          value = f.value;
        else
          value.append("; ").append(f.value);
      }
    }
  }
  std::vector<Difference> found;
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      all[i].ranks_by_value[values[i][rank]].push_back(static_cast<int>(rank));
    if (all[i].ranks_by_value.size() > 1) found.push_back(std::move(all[i]));
  }
  return found;
}

int count_problems(const std::vector<RankHealth>& ranks) {
  int problems = 0;
  for (const RankHealth& rank : ranks) {
    for (const Section& section : rank.sections)
      problems += static_cast<int>(std::ranges::count_if(
          section.findings, [](const Finding& f) { return !f.remedy.empty(); }));
  }
  for (const Difference& d : differences(ranks)) problems += d.must_agree.empty() ? 0 : 1;
  return problems;
}

std::string as_text(const std::vector<RankHealth>& ranks) {
  std::string text;
  for (const Section& section : ranks.front().sections) {
    text += (text.empty() ? "" : "\n") + section.title + "\n";
    for (const Finding& finding : section.findings) text += line_of(finding);
  }
  text += problems_of_others(ranks);
  if (ranks.size() > 1) {
    text += "\ndifferences between ranks\n";
    const auto found = differences(ranks);
    if (found.empty()) text += "  none\n";
    for (const Difference& difference : found) text += text_of(difference);
  }
  const int problems = count_problems(ranks);
  return text + (problems == 0 ? "\nhealthy\n"
                               : fmt::format("\n{} problem{}, marked with !\n", problems,
                                             problems == 1 ? "" : "s"));
}

std::string as_json(const std::vector<RankHealth>& ranks) {
  ordered_json json{{"problems", count_problems(ranks)}, {"ranks", ordered_json::array()}};
  for (const RankHealth& rank : ranks) json["ranks"].push_back(to_json(rank));
  json["differences"] = ordered_json::array();
  for (const Difference& d : differences(ranks)) {
    ordered_json values = ordered_json::array();
    for (const auto& [value, who] : d.ranks_by_value)
      values.push_back({{"value", value}, {"ranks", who}});
    json["differences"].push_back({{"section", d.section},
                                   {"name", d.name},
                                   {"must_agree", d.must_agree},
                                   {"values", std::move(values)}});
  }
  return json.dump(2) + "\n";
}

std::string bytes_text(uint64_t bytes) {
  constexpr std::array kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace tutti::command
