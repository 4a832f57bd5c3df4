// SPDX-License-Identifier: Apache-2.0
// What `tutti doctor` finds on one rank as data, and what several ranks' findings say together.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace tutti::command {

// One fact. It is a problem when it has a remedy.
struct Finding {
  std::string name;
  std::string value;
  std::string remedy = {};      // what to do; empty: nothing is wrong
  std::string must_agree = {};  // why ranks must not differ in it; empty: they may
};

struct Section {
  std::string title;
  std::vector<Finding> findings;
};

struct RankHealth {
  std::vector<Section> sections;
};
nlohmann::ordered_json to_json(const RankHealth& health);
RankHealth from_json(const nlohmann::ordered_json& json);  // throws nlohmann::json::exception

// A fact in which ranks differ.
struct Difference {
  std::string section, name;
  std::map<std::string, std::vector<int>> ranks_by_value;
  std::string must_agree;  // empty: no problem
};
std::vector<Difference> differences(const std::vector<RankHealth>& ranks);

// Everything of rank 0, what is wrong with the others, and where they differ.
std::string as_text(const std::vector<RankHealth>& ranks);
std::string as_json(const std::vector<RankHealth>& ranks);
int count_problems(const std::vector<RankHealth>& ranks);

// "1.5 MiB"
std::string bytes_text(uint64_t bytes);

}  // namespace tutti::command
