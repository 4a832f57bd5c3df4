// SPDX-License-Identifier: Apache-2.0
// Parses a synthetic machine's line and builds its graph.
#include "topology/synthetic.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/merge.h"

namespace tutti::topology {
namespace {

enum class Fabric : uint8_t { kDefault, kRail, kFlat };

struct Options {
  int64_t boxes = 1;
  Fabric fabric = Fabric::kDefault;
  int64_t cores = 1;
  int64_t numa = 1;
  int64_t memory_bytes = kUnknown;
  int64_t nics = 0;
  int64_t nic_mbit_s = 100'000;
};

struct Model;
using Build = Graph (*)(const Model&, const Options&);

// One machine the grammar knows.
struct Model {
  const char* name;
  const char* doc;
  Build build;
  int64_t gpu_mbit_s;  // one GPU to its switch, or one NVLink
  int64_t nic_mbit_s;  // one GPU's NIC; 0: the model has no network
  bool nvls;           // the switch reduces and multicasts
  std::vector<std::string_view> keys;
};

[[noreturn]] void refuse(std::string_view word, const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("synthetic machine: \"{}\": {}", word, reason));
}

// Cores are dealt to the NUMA nodes in blocks, the first ones taking one more where they don't
// divide.
Graph build_host(const Model&, const Options& options) {
  Graph graph;
  const int32_t machine =
      add_node(graph, "host", NodeKind::kMachine, -1, {.memory_bytes = options.memory_bytes});
  std::vector<int32_t> hubs;
  int64_t next_core = 0;
  for (int64_t n = 0; n < options.numa; ++n) {
    const int64_t cores = (options.cores + options.numa - 1 - n) / options.numa;
    Attributes numa{.os_index = n};
    if (options.memory_bytes != kUnknown) numa.memory_bytes = options.memory_bytes / options.numa;
    const int32_t package =
        add_node(graph, fmt::format("package{}", n), NodeKind::kPackage, machine, {.os_index = n});
    hubs.push_back(add_node(graph, fmt::format("numa{}", n), NodeKind::kNuma, package, numa));
    for (int64_t last = next_core + cores; next_core < last; ++next_core) {
      const std::string cpu = std::to_string(next_core);
      add_node(graph, "core" + cpu, NodeKind::kCore, hubs.back(),
               {.os_index = next_core, .cpus = cpu, .usable_cpus = cpu});
    }
  }
  for (size_t a = 0; a < hubs.size(); ++a)
    for (size_t b = a + 1; b < hubs.size(); ++b) add_link(graph, hubs[a], hubs[b], LinkType::kSmp);
  for (int64_t i = 0; i < options.nics; ++i) {
    const int32_t hub = hubs[i % hubs.size()];
    const int32_t nic = add_node(graph, fmt::format("nic{}", i), NodeKind::kNic, machine,
                                 {.os_index = i, .speed_mbit_s = options.nic_mbit_s, .rail = i});
    add_link(graph, hub, nic, LinkType::kPcie, options.nic_mbit_s);
  }
  return graph;
}

// Every GPU on one NVSwitch and on a NIC of its own.
Graph build_nvswitch_box(const Model& model, const Options&) {
  constexpr int kGpus = 8;
  Graph graph;
  const int32_t machine = add_node(graph, "box", NodeKind::kMachine, -1, {.model = model.name});
  const int32_t nvswitch = add_node(graph, "nvswitch", NodeKind::kNvSwitch, machine,
                                    {.reduces = model.nvls, .multicasts = model.nvls});
  const int32_t first_gpu = nvswitch + 1;
  for (int g = 0; g < kGpus; ++g) {
    const int32_t gpu =
        add_node(graph, fmt::format("gpu{}", g), NodeKind::kGpu, machine, {.os_index = g});
    add_link(graph, gpu, nvswitch, LinkType::kNvLink, model.gpu_mbit_s);
  }
  for (int g = 0; g < kGpus; ++g) {
    const int32_t nic = add_node(graph, fmt::format("nic{}", g), NodeKind::kNic, machine,
                                 {.os_index = g, .speed_mbit_s = model.nic_mbit_s, .rail = g});
    add_link(graph, first_gpu + g, nic, LinkType::kPcie, model.nic_mbit_s);
  }
  return graph;
}

// The hybrid cube mesh: six NVLinks per GPU, one or two to each of four neighbours.
Graph build_cube_mesh(const Model& model, const Options&) {
  struct Edge {
    int a, b, nvlinks;
  };
  constexpr Edge kEdges[] = {{0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {0, 4, 2}, {1, 2, 2}, {1, 3, 1},
                             {1, 5, 2}, {2, 3, 2}, {2, 6, 1}, {3, 7, 1}, {4, 5, 1}, {4, 6, 1},
                             {4, 7, 2}, {5, 6, 2}, {5, 7, 1}, {6, 7, 2}};
  constexpr int kGpus = 8;
  Graph graph;
  const int32_t machine = add_node(graph, "box", NodeKind::kMachine, -1, {.model = model.name});
  std::vector<int32_t> gpus;
  gpus.reserve(kGpus);
  for (int g = 0; g < kGpus; ++g)
    gpus.push_back(
        add_node(graph, fmt::format("gpu{}", g), NodeKind::kGpu, machine, {.os_index = g}));
  for (const Edge& edge : kEdges)
    add_link(graph, gpus[edge.a], gpus[edge.b], LinkType::kNvLink, edge.nvlinks * model.gpu_mbit_s);
  return graph;
}

constexpr int64_t gigabytes(int64_t per_second) { return per_second * kMbitPerGigabyte; }

const std::vector<Model>& models() {
  static const std::vector<Model> table = {
      {"host",
       "a host without GPUs",
       build_host,
       0,
       gigabytes(1),
       false,
       {"cores", "numa", "memory", "nics", "nic", "fabric"}},
      {"dgx-1v",
       "8 V100, hybrid cube mesh of 25 GB/s NVLinks, one box",
       build_cube_mesh,
       gigabytes(25),
       0,
       false,
       {}},
      {"dgx-a100",
       "8 A100, 300 GB/s each to an NVSwitch, 25 GB/s NIC each",
       build_nvswitch_box,
       gigabytes(300),
       gigabytes(25),
       false,
       {"fabric"}},
      {"dgx-h100",
       "8 H100, 450 GB/s each to an NVSwitch that reduces, 50 GB/s NIC each",
       build_nvswitch_box,
       gigabytes(450),
       gigabytes(50),
       true,
       {"fabric"}},
  };
  return table;
}

std::string model_names() {
  std::vector<std::string_view> names;
  for (const Model& model : models()) names.emplace_back(model.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// The whole of `digits` as an integer from low to high.
int64_t integer(std::string_view word, std::string_view digits, int64_t low, int64_t high) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < low || value > high)
    refuse(word, fmt::format("expected an integer from {} to {}, got \"{}\"", low, high, digits));
  return value;
}

int64_t memory(std::string_view word, std::string_view text) {
  constexpr std::string_view kSuffixes = "KMGT";
  const size_t suffix = text.empty() ? std::string_view::npos : kSuffixes.find(text.back());
  if (suffix == std::string_view::npos) return integer(word, text, 1, INT64_MAX);
  const int shift = 10 * (static_cast<int>(suffix) + 1);
  return integer(word, text.substr(0, text.size() - 1), 1, INT64_MAX >> shift) << shift;
}

// GB/s with decimals that come out as whole Mbit/s.
int64_t gigabytes_per_second(std::string_view word, std::string_view text) {
  constexpr double kMax = 100'000;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const double mbit_s = value * kMbitPerGigabyte;
  const bool whole = std::abs(mbit_s - std::round(mbit_s)) < 1e-6;
  if (error != std::errc{} || end != text.data() + text.size() || !(value > 0 && value <= kMax) ||
      !whole)
    refuse(word, fmt::format("expected GB/s, above 0, up to {}, a multiple of 0.000125; got \"{}\"",
                             kMax, text));
  return std::llround(mbit_s);
}

void set_option(Options& options, const Model& model, std::string_view word) {
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  if (equals == std::string_view::npos ||
      std::find(model.keys.begin(), model.keys.end(), key) == model.keys.end())
    refuse(word, model.keys.empty() ? fmt::format("{} takes no options", model.name)
                                    : fmt::format("allowed after {} are xCOUNT and {}=", model.name,
                                                  fmt::join(model.keys, "=, ")));
  const std::string_view value = word.substr(equals + 1);
  if (key == "fabric") {
    if (value != "rail" && value != "flat") refuse(word, "allowed are fabric=rail and fabric=flat");
    options.fabric = value == "rail" ? Fabric::kRail : Fabric::kFlat;
  }
  if (key == "cores") options.cores = integer(word, value, 1, 4096);
  if (key == "numa") options.numa = integer(word, value, 1, 64);
  if (key == "memory") options.memory_bytes = memory(word, value);
  if (key == "nics") options.nics = integer(word, value, 0, 64);
  if (key == "nic") options.nic_mbit_s = gigabytes_per_second(word, value);
}

bool is_count(std::string_view word) {
  return word.size() > 1 && word[0] == 'x' && word[1] >= '0' && word[1] <= '9';
}

Options parse_options(const Model& model, const std::vector<std::string>& words) {
  Options options;
  std::vector<std::string> seen;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::string key = is_count(word) ? "x" : word.substr(0, word.find('='));
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) refuse(word, "given twice");
    seen.push_back(key);
    if (!is_count(word)) {
      set_option(options, model, word);
      continue;
    }
    if (model.nic_mbit_s == 0)
      refuse(word, fmt::format("{} is one box; its model has no network", model.name));
    options.boxes = integer(word, std::string_view(word).substr(1), 1, 4096);
  }
  if (options.numa > options.cores)
    refuse(words[0], fmt::format("numa={} needs at least as many cores, got cores={}", options.numa,
                                 options.cores));
  return options;
}

// One switch per rail, or one for all.
void add_fabric(Graph& graph, Fabric fabric) {
  std::vector<int32_t> switch_of_rail;
  for (const int32_t nic : nodes_of_kind(graph, NodeKind::kNic)) {
    const Attributes attributes = graph.nodes[nic].attributes;
    const size_t rail = fabric == Fabric::kFlat ? 0 : static_cast<size_t>(attributes.rail);
    while (switch_of_rail.size() <= rail) {
      const size_t number = switch_of_rail.size();
      const std::string id = fabric == Fabric::kFlat ? "switch0" : fmt::format("rail{}", number);
      switch_of_rail.push_back(
          add_node(graph, id, NodeKind::kNetSwitch, 0, {.os_index = static_cast<int64_t>(number)}));
    }
    add_link(graph, nic, switch_of_rail[rail], LinkType::kNetwork, attributes.speed_mbit_s);
  }
}

}  // namespace

Graph synthetic(std::string_view line) {
  std::istringstream stream{std::string(line)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.empty()) refuse(line, "expected a model: " + model_names());
  const auto model = std::find_if(models().begin(), models().end(),
                                  [&](const Model& m) { return m.name == words[0]; });
  if (model == models().end()) refuse(words[0], "unknown model; known are " + model_names());
  const Options options = parse_options(*model, words);
  Report box{model->build(*model, options), {}};
  if (options.boxes == 1 && options.fabric == Fabric::kDefault) return std::move(box.graph);
  if (nodes_of_kind(box.graph, NodeKind::kNic).empty())
    refuse(words[0], "a fabric joins NICs and this box has none; add nics=1");
  constexpr size_t kMaxNodes = size_t{1} << 19;
  if (box.graph.nodes.size() * static_cast<size_t>(options.boxes) > kMaxNodes)
    refuse(line, fmt::format("expected at most {} nodes, got {} in each of {} boxes", kMaxNodes,
                             box.graph.nodes.size(), options.boxes));
  std::vector<Report> boxes(options.boxes, box);
  for (size_t i = 0; i < boxes.size(); ++i) boxes[i].graph.nodes[0].id += std::to_string(i);
  Graph graph = merge_hosts(boxes).graph;
  add_fabric(graph, options.fabric);
  return graph;
}

std::string synthetic_help() {
  std::string text =
      "MODEL [xCOUNT] [fabric=rail|flat], for a host also [cores=N] [numa=N] [memory=64G] [nics=N] "
      "[nic=GB/s]\n";
  for (const Model& model : models()) text += fmt::format("  {:<9} {}\n", model.name, model.doc);
  return text;
}

}  // namespace tutti::topology
