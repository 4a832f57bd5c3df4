// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/machine.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "tests/cudasim/src/config.h"
#include "topology/formats/any.h"
#include "topology/formats/nccl_tables.h"
#include "topology/synthetic.h"

namespace cudasim {
namespace {

namespace topo = tutti::topology;

constexpr int kMaxGpus = 64;  // sets of GPUs are bits of one word

struct ModelRow {
  const char* part;  // of the machine's or the GPU's model
  int capability;
  const char* name;
  uint64_t gigabytes;
  int multiprocessors;
};
constexpr ModelRow kModels[] = {
    {"b200", 100, "NVIDIA B200", 180, 148},         {"gb300", 100, "NVIDIA B300", 270, 148},
    {"b300", 100, "NVIDIA B300", 270, 148},         {"h200", 90, "NVIDIA H200", 141, 132},
    {"h100", 90, "NVIDIA H100 80GB HBM3", 80, 132}, {"h800", 90, "NVIDIA H800", 80, 132},
    {"a100", 80, "NVIDIA A100-SXM4-80GB", 80, 108}, {"v100", 70, "Tesla V100-SXM2-32GB", 32, 80},
    {"dgx-1", 70, "Tesla V100-SXM2-32GB", 32, 80},  {"dgx-2", 70, "Tesla V100-SXM3-32GB", 32, 80},
    {"p100", 60, "Tesla P100-SXM2-16GB", 16, 56}};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

const ModelRow* model_named(const std::string& text) {
  for (const ModelRow& row : kModels)
    if (lower(text).find(row.part) != std::string::npos) return &row;
  return nullptr;
}
const ModelRow* model_of_capability(int capability) {
  for (const ModelRow& row : kModels)
    if (row.capability == capability) return &row;
  return nullptr;
}

topo::Graph read_graph(const std::string& topology) {
  std::ifstream file(topology);
  if (!file) return topo::synthetic(topology);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return topo::read_topology(text, topology).graph;
}

bool is_below(const topo::Graph& graph, int32_t node, int32_t root) {
  for (int32_t at = node; at >= 0; at = graph.nodes[at].parent)
    if (at == root) return true;
  return false;
}

// What data sheets say that one NVLink carries each way.
int64_t nominal_nvlink_mbit_s(int capability) {
  if (capability >= 100) return 50 * topo::kMbitPerGigabyte;
  return (capability >= 70 ? 25 : 20) * topo::kMbitPerGigabyte;
}

// All nodes that are reached from `from` by links of these types, not passing through GPUs.
std::vector<bool> reached(const topo::Graph& graph, int32_t from,
                          std::initializer_list<topo::LinkType> types) {
  std::vector<bool> seen(graph.nodes.size(), false);
  std::vector<int32_t> open = {from};
  seen[from] = true;
  while (!open.empty()) {
    const int32_t at = open.back();
    open.pop_back();
    if (at != from && graph.nodes[at].kind == topo::NodeKind::kGpu) continue;
    for (const topo::Link& link : graph.links) {
      if (std::find(types.begin(), types.end(), link.type) == types.end()) continue;
      if (link.forward_mbit_s == 0 || (link.from != at && link.to != at)) continue;
      const int32_t next = link.from == at ? link.to : link.from;
      if (seen[next]) continue;
      seen[next] = true;
      open.push_back(next);
    }
  }
  return seen;
}

}  // namespace

Machine::Machine(const std::string& topology, const std::string& machine)
    : graph_(read_graph(topology)) {
  choose_machine(machine);
  add_gpus();
  find_peers();
}

void Machine::choose_machine(const std::string& machine) {
  std::vector<int32_t> candidates;  // the outermost machines
  for (const int32_t node : topo::nodes_of_kind(graph_, topo::NodeKind::kMachine)) {
    const int32_t parent = graph_.nodes[node].parent;
    if (parent < 0 || graph_.nodes[parent].kind == topo::NodeKind::kCluster)
      candidates.push_back(node);
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    const bool named =
        machine.empty() ? i == 0
                        : machine == std::to_string(i) || machine == graph_.nodes[candidates[i]].id;
    if (!named) continue;
    root_ = candidates[i];
    number_ = static_cast<int>(i);
    return;
  }
  throw tutti::Error(tutti::StatusCode::kInvalidArgument,
                     fmt::format("CUDASIM_MACHINE is \"{}\", the topology has {} machines", machine,
                                 candidates.size()));
}

void Machine::add_gpus() {
  for (const int32_t node : topo::nodes_of_kind(graph_, topo::NodeKind::kGpu)) {
    if (!is_below(graph_, node, root_)) continue;
    const topo::Attributes& known = graph_.nodes[node].attributes;
    Gpu gpu;
    gpu.index = static_cast<int>(gpus_.size());
    gpu.node = node;
    const auto capability = topo::nccl::compute_capability(known.arch);
    const ModelRow* row = model_named(known.model);
    if (row == nullptr) row = model_named(graph_.nodes[root_].attributes.model);
    if (capability && (row == nullptr || row->capability != *capability))
      row = model_of_capability(static_cast<int>(*capability));
    if (row == nullptr) row = model_of_capability(90);
    gpu.capability = capability ? static_cast<int>(*capability) : row->capability;
    gpu.name = known.model.empty() ? row->name : known.model;
    gpu.memory_bytes =
        known.memory_bytes > 0 ? static_cast<uint64_t>(known.memory_bytes) : row->gigabytes << 30;
    gpu.multiprocessors = row->multiprocessors;
    gpu.address = !known.pci_address.empty() ? known.pci_address
                                             : fmt::format("{:04x}:{:02x}:00.0", gpu.index / 16,
                                                           0x10 + gpu.index % 16 * 8);
    gpu.uuid = known.guid.starts_with("GPU-")
                   ? known.guid.substr(4)
                   : fmt::format("c0da5100-{:04x}-4000-8000-{:012x}", number_, gpu.index);
    gpus_.push_back(std::move(gpu));
    if (gpus_.size() == kMaxGpus) break;
  }
  for (Gpu& gpu : gpus_) add_links(gpu);
}

int Machine::gpu_of(int32_t node) const {
  for (const Gpu& gpu : gpus_)
    if (gpu.node == node) return gpu.index;
  return -1;
}

// A link of the graph may stand for several NVLinks: as many as its bandwidth makes.
void Machine::add_links(Gpu& gpu) {
  const int64_t each = nominal_nvlink_mbit_s(gpu.capability);
  for (const topo::Link& link : graph_.links) {
    if (link.from != gpu.node && link.to != gpu.node) continue;
    const int32_t other = link.from == gpu.node ? link.to : link.from;
    if (link.type == topo::LinkType::kC2c) {
      ++gpu.c2c_links;
      gpu.c2c_mbit_s = link.forward_mbit_s;
    }
    if (link.type != topo::LinkType::kNvLink) continue;
    Nvlink end;
    end.active = link.forward_mbit_s != 0;
    const topo::NodeKind kind = graph_.nodes[other].kind;
    end.gpu = gpu_of(other);
    end.end = end.gpu >= 0                        ? NvlinkEnd::kGpu
              : kind == topo::NodeKind::kNvSwitch ? NvlinkEnd::kSwitch
                                                  : NvlinkEnd::kCpu;
    end.address = end.gpu >= 0 ? gpus_[end.gpu].address : "0000:05:00.0";
    const double times = link.forward_mbit_s > 0
                             ? static_cast<double>(link.forward_mbit_s) / static_cast<double>(each)
                             : 1.0;
    const int count = std::max(1, static_cast<int>(std::lround(times)));
    gpu.nvlinks.insert(gpu.nvlinks.end(), count, end);
    if (end.end == NvlinkEnd::kSwitch && graph_.nodes[other].attributes.multicasts)
      multicasts_ = true;
  }
}

void Machine::find_peers() {
  for (const Gpu& gpu : gpus_) {
    const auto nvlink = reached(graph_, gpu.node, {topo::LinkType::kNvLink});
    const auto pcie = reached(graph_, gpu.node, {topo::LinkType::kPcie});
    uint64_t by_nvlink = 0;
    uint64_t all = 0;
    for (const Gpu& other : gpus_) {
      if (other.index == gpu.index) continue;
      if (nvlink[other.node]) by_nvlink |= uint64_t{1} << other.index;
      if (nvlink[other.node] || pcie[other.node]) all |= uint64_t{1} << other.index;
    }
    nvlink_peers_.push_back(by_nvlink);
    peers_.push_back(all);
  }
}

const Machine& machine() {
  static const Machine* const kMachine = [] {
    if (config().topology.empty())
      throw tutti::Error(tutti::StatusCode::kInvalidArgument,
                         "CUDASIM_TOPOLOGY is not set: a synthetic line or a topology file");
    return new Machine(config().topology, config().machine);
  }();
  return *kMachine;
}

}  // namespace cudasim
