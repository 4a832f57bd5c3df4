// SPDX-License-Identifier: Apache-2.0
// Parses synthetic lines by a table of keys.
#include "topology/synthetic/line.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <sstream>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/text_values.h"

namespace tutti::topology {
namespace {

int64_t integer(std::string_view word, std::string_view digits, int64_t low, int64_t high) {
  const auto value = parse_integer(digits, low, high);
  if (!value)
    refuse_word(word,
                fmt::format("expected an integer from {} to {}, got \"{}\"", low, high, digits));
  return *value;
}

int64_t memory(std::string_view word, std::string_view text) {
  constexpr std::string_view kSuffixes = "KMGT";
  const size_t suffix = text.empty() ? std::string_view::npos : kSuffixes.find(text.back());
  if (suffix == std::string_view::npos) return integer(word, text, 1, INT64_MAX);
  const int shift = 10 * (static_cast<int>(suffix) + 1);
  return integer(word, text.substr(0, text.size() - 1), 1, INT64_MAX >> shift) << shift;
}

int64_t gigabytes_per_second(std::string_view word, std::string_view text) {
  const auto mbit_s = parse_gigabytes(text);
  if (!mbit_s || *mbit_s == 0)
    refuse_word(word,
                fmt::format("expected GB/s, above 0, up to {}, a multiple of 0.000125; got \"{}\"",
                            kMaxGigabytes, text));
  return *mbit_s;
}

struct FabricRow {
  const char* name;
  const char* doc;
  Fabric::Kind kind;
};

constexpr FabricRow kFabrics[] = {
    {"rail", "a switch for the NICs of each rail; the default of several boxes",
     Fabric::Kind::kRail},
    {"flat", "one switch for all NICs", Fabric::Kind::kFlat},
    {"fat-tree", "leaf switches that NICs fill in order, joined by spines", Fabric::Kind::kFatTree},
    {"rail-spine", "leaf switches for each rail, joined by spines", Fabric::Kind::kRailSpine},
};

void set_fabric(Options& options, const Model&, std::string_view word, std::string_view value) {
  const auto* row = std::find_if(std::begin(kFabrics), std::end(kFabrics),
                                 [value](const FabricRow& r) { return value == r.name; });
  std::vector<std::string_view> names;
  for (const FabricRow& known : kFabrics) names.emplace_back(known.name);
  if (row == std::end(kFabrics))
    refuse_word(word, fmt::format("allowed are fabric={}", fmt::join(names, ", fabric=")));
  options.fabric.kind = row->kind;
}

// Up to three decimals, kept as a fraction so that uplinks come out exact.
void set_oversubscription(Options& options, const Model&, std::string_view word,
                          std::string_view value) {
  constexpr int64_t kMost = 1000;
  const size_t point = std::min(value.find('.'), value.size());
  const std::string_view decimals = value.substr(std::min(point + 1, value.size()));
  int64_t divisor = 1;
  for (size_t i = 0; i < decimals.size() && i < 3; ++i) divisor *= 10;
  const auto ratio = parse_integer(std::string(value.substr(0, point)) + std::string(decimals),
                                   divisor, kMost * divisor);
  if (!ratio || decimals.size() > 3 || point + 1 == value.size())
    refuse_word(word, fmt::format("expected a number from 1 to {} with up to three decimals, got "
                                  "\"{}\"",
                                  kMost, value));
  options.fabric.oversubscription = *ratio;
  options.fabric.oversubscription_divisor = divisor;
}

using Setter = void (*)(Options& options, const Model& model, std::string_view word,
                        std::string_view value);

template <int64_t Options::*field, int64_t low, int64_t high>
void set_integer(Options& options, const Model&, std::string_view word, std::string_view value) {
  options.*field = integer(word, value, low, high);
}

template <int64_t Fabric::*field, int64_t low, int64_t high>
void set_fabric_integer(Options& options, const Model&, std::string_view word,
                        std::string_view value) {
  options.fabric.*field = integer(word, value, low, high);
}

template <int64_t Options::*field>
void set_gigabytes(Options& options, const Model&, std::string_view word, std::string_view value) {
  options.*field = gigabytes_per_second(word, value);
}

void set_memory(Options& options, const Model&, std::string_view word, std::string_view value) {
  options.memory_bytes = memory(word, value);
}

void set_nics(Options& options, const Model& model, std::string_view word, std::string_view value) {
  options.nics = integer(word, value, 0, model.most_nics);
}

void set_sharp(Options& options, const Model&, std::string_view word, std::string_view value) {
  options.fabric.sharp = integer(word, value, 0, 1) == 1;
}

struct Key {
  const char* name;
  const char* value;
  const char* doc;
  Setter set;
};

// Allowed for every model.
constexpr Key kFabricKeys[] = {
    {"fabric", "", "", set_fabric},  // documented by kFabrics
    {"leaf", "N", "NICs on each leaf switch; default: those of a box, or of a rail",
     set_fabric_integer<&Fabric::leaf_ports, 1, 65536>},
    {"spines", "N", "default 1", set_fabric_integer<&Fabric::spines, 1, 1024>},
    {"oversubscription", "R", "of a leaf's ports to NICs over its uplinks; default 1",
     set_oversubscription},
    {"sharp", "0|1", "1: switches of the fabric reduce and multicast", set_sharp},
};

constexpr Key kModelKeys[] = {
    {"cores", "N", "default 1", set_integer<&Options::cores, 1, 4096>},
    {"numa", "N", "NUMA nodes; default 1", set_integer<&Options::numa, 1, 64>},
    {"memory", "BYTES", "with K, M, G or T", set_memory},
    {"gpus", "N", "default 8", set_integer<&Options::gpus, 1, 64>},
    {"per-switch", "N", "GPUs below each PCIe switch; default 2",
     set_integer<&Options::gpus_per_switch, 1, 64>},
    {"gen", "N", "of PCIe, 16 lanes: 12 GB/s for 3, 24 for 4, 48 for 5, 96 for 6; default 4",
     set_integer<&Options::pcie_gen, 1, 6>},
    {"sockets", "N", "the PCIe switches are dealt to them in blocks; default 2",
     set_integer<&Options::sockets, 1, 8>},
    {"smp", "GB/s", "between two sockets; default 16", set_gigabytes<&Options::smp_mbit_s>},
    {"nics", "N", "default 0", set_nics},
    {"nic", "GB/s", "of each NIC; default 12.5", set_gigabytes<&Options::nic_mbit_s>},
};

bool allows(const Model& model, std::string_view key) {
  return std::find(model.keys.begin(), model.keys.end(), key) != model.keys.end();
}

const Key* find_key(const Model& model, std::string_view name) {
  for (const Key& key : kFabricKeys)
    if (name == key.name) return &key;
  for (const Key& key : kModelKeys)
    if (name == key.name && allows(model, name)) return &key;
  return nullptr;
}

void set_option(Options& options, const Model& model, std::string_view word) {
  const size_t equals = word.find('=');
  const Key* key =
      equals == std::string_view::npos ? nullptr : find_key(model, word.substr(0, equals));
  if (key == nullptr) {
    std::vector<std::string_view> names;
    for (const Key& fabric_key : kFabricKeys) names.emplace_back(fabric_key.name);
    names.insert(names.end(), model.keys.begin(), model.keys.end());
    refuse_word(word, fmt::format("allowed after {} are xCOUNT and {}=", model.name,
                                  fmt::join(names, "=, ")));
  }
  key->set(options, model, word, word.substr(equals + 1));
}

bool is_count(std::string_view word) {
  return word.size() > 1 && word[0] == 'x' && word[1] >= '0' && word[1] <= '9';
}

// What only all words together can have wrong.
void check_options(const Options& options, const std::vector<std::string>& words,
                   const std::vector<std::string>& keys) {
  if (options.numa > options.cores)
    refuse_word(words[0], fmt::format("numa={} needs at least as many cores, got cores={}",
                                      options.numa, options.cores));
  if (options.sockets > options.pci_switches())
    refuse_word(words[0], fmt::format("sockets={} needs at least as many PCIe switches, got {}",
                                      options.sockets, options.pci_switches()));
  const bool network = options.boxes > 1 || options.fabric.kind != Fabric::Kind::kDefault;
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string& key = keys[i];
    if (key == "sharp" && !network)
      refuse_word(words[i + 1], "one box has no fabric; add xCOUNT or fabric=");
    const bool of_spines = key == "leaf" || key == "spines" || key == "oversubscription";
    if (of_spines && !options.fabric.has_spines())
      refuse_word(words[i + 1], "only with fabric=fat-tree or fabric=rail-spine");
  }
}

Options parse_options(const Model& model, const std::vector<std::string>& words) {
  Options options;
  std::vector<std::string> keys;  // of the words after the model
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string key = is_count(word) ? "x" : word.substr(0, word.find('='));
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) refuse_word(word, "given twice");
    keys.push_back(key);
    if (is_count(word))
      options.boxes = integer(word, std::string_view(word).substr(1), 1, 4096);
    else
      set_option(options, model, word);
  }
  check_options(options, words, keys);
  return options;
}

std::string model_names() {
  std::vector<std::string_view> names;
  for (const Model& model : models()) names.emplace_back(model.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string key_help(const std::string& key, const std::string& doc) {
  return fmt::format("  {:<20} {}\n", key, doc);
}

}  // namespace

Line parse_line(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.empty()) refuse_word(text, "expected a model: " + model_names());
  const auto model = std::find_if(models().begin(), models().end(),
                                  [&](const Model& m) { return m.name == words[0]; });
  if (model == models().end()) refuse_word(words[0], "unknown model; known are " + model_names());
  return {&*model, parse_options(*model, words)};
}

void refuse_word(std::string_view word, const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("synthetic machine: \"{}\": {}", word, reason));
}

std::string line_help() {
  std::string text = "MODEL [xCOUNT] [KEY=VALUE ...]\n";
  for (const Model& model : models()) text += key_help(model.name, model.doc);
  text += "Keys:\n";
  for (const FabricRow& row : kFabrics)
    text += key_help(fmt::format("fabric={}", row.name), row.doc);
  for (const Key& key : kFabricKeys)
    if (*key.doc != '\0') text += key_help(fmt::format("{}={}", key.name, key.value), key.doc);
  for (const Key& key : kModelKeys) {
    std::vector<std::string_view> names;
    for (const Model& model : models())
      if (allows(model, key.name)) names.emplace_back(model.name);
    text += key_help(fmt::format("{}={}", key.name, key.value),
                     fmt::format("{} ({})", key.doc, fmt::join(names, ", ")));
  }
  return text;
}

}  // namespace tutti::topology
