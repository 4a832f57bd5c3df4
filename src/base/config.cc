// SPDX-License-Identifier: Apache-2.0
// Reads the environment through the table; the only calls of getenv.
#include "src/base/config.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <numeric>
#include <string_view>

#include "src/base/config_table.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti {
namespace {

constexpr std::string_view kPrefix = "TUTTI_";

// Asked where a variable of the table is not set; null: nobody. Constant-initialised, so that it
// may be set by whatever is initialised before this file.
constinit std::atomic<StandIn> stand_in{nullptr};

// What the project's tests tell their programs, in whose processes the library runs.
bool is_for_tests(std::string_view name) {
  return name.starts_with("TUTTI_TEST_") || name.starts_with("TUTTI_VM_");
}

// Levenshtein distance: insertions, deletions and substitutions; two rows of the matrix in one.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

const ConfigEntry* find_entry(std::string_view name) {
  const auto entries = config_entries();
  const auto found =
      std::ranges::find_if(entries, [&](const auto& e) { return e.row.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

std::span<const ConfigRow> config_rows() {
  static const std::vector<ConfigRow> rows = [] {
    std::vector<ConfigRow> result;
    for (const ConfigEntry& entry : config_entries()) result.push_back(entry.row);
    return result;
  }();
  return rows;
}

std::string config_markdown() {
  std::string text =
      "# Configuration\n\n"
      "<!-- Generated from the table in src/base/config_table.cc; a test compares. -->\n\n"
      "Tutti reads these environment variables when a communicator is made. A variable that is set "
      "to an empty text "
      "counts as not set.\n"
      "A value that is not allowed fails with InvalidArgument. A variable that begins with TUTTI_ "
      "and is not in the table (TUTTI_TEST_ and TUTTI_VM_ are for tests) is warned of once on "
      "standard error (TUTTI_LOG_FILE), with the "
      "nearest name, unless TUTTI_LOG is off or error; `tutti doctor` shows it too. \"Rank 0 "
      "decides\": rank 0's value "
      "is distributed and "
      "every rank uses it.\n"
      "Sizes take the suffixes K, M and G (2^10, 2^20, 2^30).\n\n"
      "| Variable | Type | Default | Scope | Meaning |\n"
      "| --- | --- | --- | --- | --- |\n";
  for (const ConfigRow& row : config_rows()) {
    const std::string shown =
        *row.default_text == '\0' ? "empty" : "`" + std::string(row.default_text) + "`";
    text += "| `" + std::string(row.name) + "` | " + row.type + " | " + shown + " | " + row.scope +
            " | " + row.doc + " |\n";
  }
  return text;
}

Config config_from_environment() {
  Config config;
  for (const ConfigEntry& entry : config_entries()) {
    entry.parse(entry.row, entry.row.default_text, &config);
    if (const auto value = foreign_variable(entry.row.name); value.has_value() && !value->empty()) {
      entry.parse(entry.row, *value, &config);
    }
  }
  return config;
}

std::vector<UnknownVariable> unknown_variables() {
  std::vector<std::string_view> known;
  for (const ConfigEntry& entry : config_entries()) known.emplace_back(entry.row.name);
  std::vector<UnknownVariable> unknown;
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with(kPrefix) || is_for_tests(name) || find_entry(name) != nullptr) continue;
    unknown.push_back({name, nearest_name(name, known)});
  }
  std::ranges::sort(unknown, {}, &UnknownVariable::name);
  return unknown;
}

std::string describe(const UnknownVariable& unknown) {
  return unknown.name + " is set but no variable of this library" +
         (unknown.nearest.empty() ? "; `tutti doctor` lists them"
                                  : "; is " + unknown.nearest + " meant?");
}

void warn_of_unknown_variables() {
  static std::atomic<bool> warned{false};  // relaxed: whoever changes it first warns
  if (warned.exchange(true, std::memory_order_relaxed)) return;
  for (const UnknownVariable& unknown : unknown_variables())
    warn_user("config", "{} (TUTTI_LOG=off silences this)", describe(unknown));
}

std::string nearest_name(std::string_view name, std::span<const std::string_view> candidates) {
  std::string nearest;
  size_t best = std::max<size_t>(2, name.size() / 4) + 1;
  for (const std::string_view candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best && distance < candidate.size()) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string known_names(std::string_view name, std::span<const std::string_view> known) {
  std::string text;
  for (const std::string_view one : known) text += (text.empty() ? "" : ", ") + std::string(one);
  const std::string nearest = nearest_name(name, known);
  return nearest.empty() ? text : text + "; did you mean '" + nearest + "'?";
}

std::vector<SetVariable> set_variables() {
  std::vector<SetVariable> found;
  Config ignored;
  for (const ConfigEntry& entry : config_entries()) {
    const auto value = foreign_variable(entry.row.name);
    if (!value.has_value()) continue;
    found.push_back({entry.row.name, *value, ""});
    if (value->empty()) continue;
    try {
      entry.parse(entry.row, *value, &ignored);
    } catch (const Error& error) {
      found.back().problem = error.what();
    }
  }
  return found;
}

std::optional<std::string> foreign_variable(const char* name) {
  const char* value = std::getenv(name);
  if ((value == nullptr || *value == '\0') && std::string_view(name).starts_with(kPrefix)) {
    const StandIn lookup = stand_in.load(std::memory_order_acquire);  // pairs with set_stand_in()
    if (lookup != nullptr) {
      if (auto other = lookup(name)) return other;
    }
  }
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

void set_stand_in(StandIn lookup) noexcept {
  stand_in.store(lookup, std::memory_order_release);  // pairs with foreign_variable()
}

LogSettings log_settings_from_environment() {
  LogSettings settings{.levels = {},
                       .chosen = !foreign_variable("TUTTI_LOG").value_or("").empty(),
                       .file = foreign_variable("TUTTI_LOG_FILE").value_or("")};
  const std::string wanted = foreign_variable("TUTTI_LOG").value_or("");
  if (!parse_log_levels(wanted, &settings.levels).empty()) settings.levels.set_all(LogLevel::kOff);
  return settings;
}

}  // namespace tutti
