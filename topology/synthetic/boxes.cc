// SPDX-License-Identifier: Apache-2.0
// Builds the synthetic machines.
#include "topology/synthetic/boxes.h"

#include <algorithm>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology {
namespace {

int32_t add_box(Graph& graph, const Model& model) {
  return add_node(graph, "box", NodeKind::kMachine, -1, {.model = model.name});
}

int32_t add_nvswitch(Graph& graph, const Model& model, int32_t machine) {
  return add_node(graph, "nvswitch", NodeKind::kNvSwitch, machine,
                  {.reduces = model.nvls, .multicasts = model.nvls});
}

int32_t add_gpu(Graph& graph, int32_t parent, int64_t number) {
  return add_node(graph, fmt::format("gpu{}", number), NodeKind::kGpu, parent,
                  {.os_index = number});
}

int32_t add_nic(Graph& graph, int32_t parent, int64_t number, int64_t mbit_s) {
  return add_node(graph, fmt::format("nic{}", number), NodeKind::kNic, parent,
                  {.os_index = number, .speed_mbit_s = mbit_s, .rail = number});
}

int32_t add_pci_switch(Graph& graph, int32_t parent, int64_t number) {
  return add_node(graph, fmt::format("pciswitch{}", number), NodeKind::kPciSwitch, parent,
                  {.os_index = number});
}

int64_t nics_of(const Model& model, const Options& options) {
  return model.nics_by_option ? options.nics : model.gpus / model.gpus_per_nic;
}

// Those that share a NIC are below a PCIe switch, when there are NICs.
std::vector<int32_t> add_gpus(Graph& graph, const Model& model, const Options& options,
                              int32_t machine) {
  const bool switches = model.gpus_per_nic > 1 && nics_of(model, options) > 0;
  std::vector<int32_t> gpus;
  int32_t parent = machine;
  for (int64_t g = 0; g < model.gpus; ++g) {
    if (switches && g % model.gpus_per_nic == 0)
      parent = add_pci_switch(graph, machine, g / model.gpus_per_nic);
    gpus.push_back(add_gpu(graph, parent, g));
  }
  return gpus;
}

// Joins NICs and the GPUs that add_gpus() has made.
void add_nics(Graph& graph, const Model& model, const Options& options,
              const std::vector<int32_t>& gpus) {
  const auto pcie = [&](int32_t from, int32_t to) {
    add_link(graph, from, to, LinkType::kPcie, model.nic_mbit_s);
  };
  for (const int32_t gpu : gpus) {
    const int32_t parent = graph.nodes[gpu].parent;
    if (graph.nodes[parent].kind == NodeKind::kPciSwitch) pcie(parent, gpu);
  }
  for (int64_t i = 0; i < nics_of(model, options); ++i) {
    const int32_t gpu = gpus[i * model.gpus_per_nic];
    const int32_t parent = graph.nodes[gpu].parent;
    const int32_t nic = add_nic(graph, parent, i, model.nic_mbit_s);
    pcie(model.gpus_per_nic > 1 ? parent : gpu, nic);
  }
}

// Mbit/s of sixteen lanes of PCIe after its overheads, 3 GB/s in the first generation and twice as
// much in each that follows.
int64_t pcie_x16_mbit_s(int64_t generation) { return (3 * kMbitPerGigabyte) << (generation - 1); }

// A NUMA node for each socket, joined with all others.
std::vector<int32_t> add_sockets(Graph& graph, int32_t machine, int64_t sockets,
                                 int64_t smp_mbit_s) {
  std::vector<int32_t> hubs;
  for (int64_t s = 0; s < sockets; ++s) {
    const int32_t package =
        add_node(graph, fmt::format("package{}", s), NodeKind::kPackage, machine, {.os_index = s});
    const int32_t hub =
        add_node(graph, fmt::format("numa{}", s), NodeKind::kNuma, package, {.os_index = s});
    for (const int32_t other : hubs) add_link(graph, other, hub, LinkType::kSmp, smp_mbit_s);
    hubs.push_back(hub);
  }
  return hubs;
}

}  // namespace

Graph build_host(const Model& model, const Options& options) {
  Graph graph;
  const int32_t machine =
      add_node(graph, model.name, NodeKind::kMachine, -1, {.memory_bytes = options.memory_bytes});
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
    const int32_t nic = add_nic(graph, machine, i, options.nic_mbit_s);
    add_link(graph, hubs[i % hubs.size()], nic, LinkType::kPcie, options.nic_mbit_s);
  }
  return graph;
}

Graph build_nvswitch_box(const Model& model, const Options& options) {
  Graph graph;
  const int32_t machine = add_box(graph, model);
  const int32_t nvswitch = add_nvswitch(graph, model, machine);
  const std::vector<int32_t> gpus = add_gpus(graph, model, options, machine);
  for (const int32_t gpu : gpus)
    add_link(graph, gpu, nvswitch, LinkType::kNvLink, model.gpu_mbit_s);
  add_nics(graph, model, options, gpus);
  return graph;
}

Graph build_mesh_box(const Model& model, const Options& options) {
  Graph graph;
  const std::vector<int32_t> gpus = add_gpus(graph, model, options, add_box(graph, model));
  for (const MeshEdge& edge : model.mesh)
    for (int i = 0; i < edge.links; ++i)
      add_link(graph, gpus[edge.a], gpus[edge.b], model.gpu_link, model.gpu_mbit_s);
  add_nics(graph, model, options, gpus);
  return graph;
}

Graph build_full_mesh_box(const Model& model, const Options& options) {
  Graph graph;
  const std::vector<int32_t> gpus = add_gpus(graph, model, options, add_box(graph, model));
  for (size_t a = 0; a < gpus.size(); ++a)
    for (size_t b = a + 1; b < gpus.size(); ++b)
      add_link(graph, gpus[a], gpus[b], model.gpu_link, model.gpu_mbit_s);
  add_nics(graph, model, options, gpus);
  return graph;
}

Graph build_nvl_rack(const Model& model, const Options&) {
  constexpr int64_t kGpusPerTray = 4;
  Graph graph;
  const int32_t rack = add_box(graph, model);
  const int32_t nvswitch = add_nvswitch(graph, model, rack);
  for (int64_t t = 0; t < model.gpus / kGpusPerTray; ++t) {
    const int32_t tray =
        add_node(graph, fmt::format("tray{}", t), NodeKind::kMachine, rack, {.os_index = t});
    const auto in_tray = [&](int32_t part) {
      graph.nodes[part].id = graph.nodes[tray].id + "/" + graph.nodes[part].id;
      return part;
    };
    const auto first_gpu = static_cast<int32_t>(graph.nodes.size());
    for (int64_t g = 0; g < kGpusPerTray; ++g)
      add_link(graph, in_tray(add_gpu(graph, tray, g)), nvswitch, LinkType::kNvLink,
               model.gpu_mbit_s);
    for (int64_t g = 0; g < kGpusPerTray; ++g) {
      const int32_t nic = in_tray(add_nic(graph, tray, g, model.nic_mbit_s));
      add_link(graph, first_gpu + static_cast<int32_t>(g), nic, LinkType::kPcie, model.nic_mbit_s);
    }
  }
  return graph;
}

Graph build_pcie_box(const Model& model, const Options& options) {
  const int64_t n_switches = options.pci_switches();
  const int64_t sockets = options.sockets > 0 ? options.sockets : std::min<int64_t>(2, n_switches);
  const int64_t x16 = pcie_x16_mbit_s(options.pcie_gen);
  Graph graph;
  const int32_t machine = add_box(graph, model);
  const std::vector<int32_t> hubs = add_sockets(graph, machine, sockets, options.smp_mbit_s);
  std::vector<int32_t> switches;
  for (int64_t k = 0; k < n_switches; ++k) {
    const int32_t hub = hubs[k * sockets / n_switches];
    switches.push_back(add_pci_switch(graph, graph.nodes[hub].parent, k));
    add_link(graph, hub, switches.back(), LinkType::kPcie, x16);
  }
  for (int64_t g = 0; g < options.gpus; ++g) {
    const int32_t above = switches[g / options.gpus_per_switch];
    add_link(graph, above, add_gpu(graph, above, g), LinkType::kPcie, x16);
  }
  for (int64_t i = 0; i < options.nics; ++i) {
    const int32_t above = switches[i * n_switches / options.nics];
    add_link(graph, above, add_nic(graph, above, i, options.nic_mbit_s), LinkType::kPcie, x16);
  }
  return graph;
}

}  // namespace tutti::topology
