// SPDX-License-Identifier: Apache-2.0
// Loads an hwloc topology and turns its packages, memory, caches and cores into a graph; PCI is in
// hwloc_pci.cc.
#include "topology/detectors/hwloc_detector.h"

#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>
#include <sys/sysinfo.h>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "topology/detectors/hwloc_pci.h"
#include "topology/detectors/system_files.h"

namespace tutti::topology {
namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, TopologyDeleter>;
struct BitmapDeleter {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, BitmapDeleter>;

Topology new_topology() {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) throw system_error("hwloc: can't start", errno);
  Topology topology(raw);
  hwloc_topology_set_io_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  // They open a connection to the X server, load every OpenCL driver, and leak; PCI comes from
  // sysfs just as well.
  for (const char* component : {"gl", "opencl", "pci"})
    hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, component);
  return topology;
}

std::string cpus_of(hwloc_const_bitmap_t set) {
  std::vector<int32_t> cpus;
  for (int cpu = hwloc_bitmap_first(set); cpu >= 0; cpu = hwloc_bitmap_next(set, cpu))
    cpus.push_back(cpu);
  return cpu_list(std::move(cpus));
}

std::string info_of(hwloc_obj_t object, const char* name) {
  const char* value = hwloc_obj_get_info_by_name(object, name);
  return value == nullptr ? "" : value;
}

int64_t bytes_or_unknown(uint64_t bytes) {
  return bytes == 0 ? kUnknown : static_cast<int64_t>(bytes);
}
int64_t os_index_of(hwloc_obj_t object) {
  return object->os_index == HWLOC_UNKNOWN_INDEX ? kUnknown
                                                 : static_cast<int64_t>(object->os_index);
}

// One walk over an hwloc tree.
class Converter {
 public:
  Converter(hwloc_topology_t topology, hwloc_const_bitmap_t usable, const SystemFiles& files)
      : topology_(topology), usable_(usable), files_(files) {}

  Report convert() {
    visit(hwloc_get_root_obj(topology_), -1);
    const std::vector<int32_t> numas = nodes_of_kind(report_.graph, NodeKind::kNuma);
    for (size_t a = 0; a < numas.size(); ++a)
      for (size_t b = a + 1; b < numas.size(); ++b)
        add_link(report_.graph, numas[a], numas[b], LinkType::kSmp);
    return std::move(report_);
  }

 private:
  // The node that `object` becomes, or `parent` where it becomes none.
  int32_t add_object(hwloc_obj_t object, int32_t parent) {
    Graph& graph = report_.graph;
    if (object->type == HWLOC_OBJ_MACHINE) return add_machine(object);
    if (object->type == HWLOC_OBJ_PACKAGE)
      return add_node(graph, fmt::format("package{}", object->logical_index), NodeKind::kPackage,
                      parent,
                      {.os_index = os_index_of(object), .model = info_of(object, "CPUModel")});
    const bool shared_cache =
        hwloc_obj_type_is_dcache(object->type) != 0 && cores_inside(object) > 1;
    if (shared_cache)
      return add_node(graph,
                      fmt::format("l{}-{}", object->attr->cache.depth, object->logical_index),
                      NodeKind::kCache, parent,
                      {.cpus = cpus_of(object->cpuset),
                       .cache_level = object->attr->cache.depth,
                       .cache_bytes = bytes_or_unknown(object->attr->cache.size)});
    return parent;
  }

  int32_t add_machine(hwloc_obj_t object) {
    Attributes attributes;
    attributes.model = info_of(object, "DMIProductName");
    attributes.arch = info_of(object, "Architecture");
    attributes.cpus = cpus_of(object->cpuset);
    attributes.usable_cpus = usable_inside(object);
    attributes.memory_bytes = bytes_or_unknown(object->total_memory);
    const std::string name = info_of(object, "HostName");
    return add_node(report_.graph, name.empty() ? "machine" : name, NodeKind::kMachine, -1,
                    std::move(attributes));
  }

  void visit(hwloc_obj_t object, int32_t parent) {
    const bool bare_pu =
        object->type == HWLOC_OBJ_PU;  // a machine whose cores the system does not tell
    if (object->type == HWLOC_OBJ_CORE || bare_pu) return add_core(object, parent);
    const int32_t node = add_object(object, parent);
    int32_t container = node;  // cores go below the first memory of their kind (DRAM before HBM)
    for (hwloc_obj_t child = object->memory_first_child; child != nullptr;
         child = child->next_sibling)
      if (const int32_t numa = add_memory(child, node); container == node) container = numa;
    for (hwloc_obj_t child = object->first_child; child != nullptr; child = child->next_sibling)
      visit(child, container);
    for (hwloc_obj_t child = object->io_first_child; child != nullptr; child = child->next_sibling)
      add_pci({topology_, files_, report_}, child, node);
  }

  // A NUMA node, or the one behind a memory-side cache.
  int32_t add_memory(hwloc_obj_t object, int32_t parent) {
    while (object->type != HWLOC_OBJ_NUMANODE && object->memory_first_child != nullptr)
      object = object->memory_first_child;
    return add_node(report_.graph, fmt::format("numa{}", object->os_index), NodeKind::kNuma, parent,
                    {.os_index = os_index_of(object),
                     .cpus = cpus_of(object->cpuset),
                     .memory_bytes = bytes_or_unknown(object->attr->numanode.local_memory)});
  }

  void add_core(hwloc_obj_t object, int32_t parent) {
    Attributes attributes{.os_index = os_index_of(object)};
    attributes.cpus = cpus_of(object->cpuset);
    attributes.usable_cpus = usable_inside(object);
    for (hwloc_obj_t above = object->parent; above != nullptr && cores_inside(above) <= 1;
         above = above->parent) {
      if (hwloc_obj_type_is_dcache(above->type) == 0) continue;
      const int64_t bytes = bytes_or_unknown(above->attr->cache.size);
      if (above->type == HWLOC_OBJ_L1CACHE) attributes.l1d_bytes = bytes;
      if (above->type == HWLOC_OBJ_L2CACHE) attributes.l2_bytes = bytes;
      if (above->type == HWLOC_OBJ_L3CACHE) attributes.l3_bytes = bytes;
    }
    add_node(report_.graph, fmt::format("core{}", object->logical_index), NodeKind::kCore, parent,
             std::move(attributes));
  }

  int cores_inside(hwloc_obj_t object) const {
    const int cores =
        hwloc_get_nbobjs_inside_cpuset_by_type(topology_, object->cpuset, HWLOC_OBJ_CORE);
    return cores > 0
               ? cores
               : hwloc_get_nbobjs_inside_cpuset_by_type(topology_, object->cpuset, HWLOC_OBJ_PU);
  }

  std::string usable_inside(hwloc_obj_t object) const {
    const Bitmap both(hwloc_bitmap_alloc());
    hwloc_bitmap_and(both.get(), object->cpuset, usable_);
    return cpus_of(both.get());
  }

  hwloc_topology_t topology_;
  hwloc_const_bitmap_t usable_;
  const SystemFiles& files_;
  Report report_;
};

// What hwloc adds up from the NUMA nodes' sysfs files can be far from what the kernel says (memory
// added to a running virtual machine is one cause).
void correct_memory(Report& report) {
  struct sysinfo info {};
  if (sysinfo(&info) != 0)
    return report.notes.push_back({"hwloc", "memory sizes are unchecked: sysinfo(2) failed"});
  const auto kernel_bytes = static_cast<int64_t>(info.totalram) * info.mem_unit;
  int64_t& machine_bytes = report.graph.nodes[0].attributes.memory_bytes;
  constexpr int64_t kTolerance = 32;  // one part in so many
  if (std::abs(machine_bytes - kernel_bytes) <= kernel_bytes / kTolerance) return;
  const std::vector<int32_t> numas = nodes_of_kind(report.graph, NodeKind::kNuma);
  report.notes.push_back(
      {"hwloc",
       fmt::format("hwloc counts {} bytes of memory, the kernel {}: the kernel's figure is used{}",
                   machine_bytes, kernel_bytes,
                   numas.size() > 1 ? " for the machine; those of NUMA nodes may be wrong" : "")});
  machine_bytes = kernel_bytes;
  if (numas.size() == 1) report.graph.nodes[numas[0]].attributes.memory_bytes = kernel_bytes;
}

void note_limits(Report& report, const SystemFiles& files) {
  const Attributes& machine = report.graph.nodes[0].attributes;
  if (machine.usable_cpus != machine.cpus)
    report.notes.push_back(
        {"hwloc", fmt::format("affinity or cgroup keep this process on CPUs {} of {}",
                              machine.usable_cpus, machine.cpus)});
  if (const std::string quota = cpu_quota(files); !quota.empty())
    report.notes.push_back(
        {"sysfs", "the cgroup limits this process to " + quota + " CPUs' worth of time"});
  std::vector<std::string> interfaces = virtual_interfaces(files);
  std::erase(interfaces, "lo");
  if (!interfaces.empty())
    report.notes.push_back({"sysfs", fmt::format("interfaces without a PCI device are left out: {}",
                                                 fmt::join(interfaces, ", "))});
}

void note_devices(Report& report) {
  const bool gpus = !nodes_of_kind(report.graph, NodeKind::kGpu).empty();
  if (!gpus && nodes_of_kind(report.graph, NodeKind::kNic).empty())
    report.notes.push_back({"hwloc", "no GPU and no NIC found on PCI"});
  if (!gpus) return;
  report.notes.push_back(
      {"gpu",
       "links between GPUs (NVLink, xGMI) are left out: hwloc sees GPUs only as PCI devices"});
}

// The version attribute of the root element, "" where there is none.
std::string_view xml_version(std::string_view xml) {
  const size_t root = xml.find("<topology");
  if (root == std::string_view::npos) return "";
  const std::string_view tag = xml.substr(root, xml.find('>', root) - root);
  constexpr std::string_view kKey = "version=\"";
  const size_t key = tag.find(kKey);
  if (key == std::string_view::npos) return "";
  const std::string_view value = tag.substr(key + kKey.size());
  return value.substr(0, value.find('"'));
}

}  // namespace

Report detect_hwloc(const SystemFiles& files) {
  const Topology topology = new_topology();
  if (hwloc_topology_load(topology.get()) != 0)
    throw system_error("hwloc: can't detect this machine", errno);
  const Bitmap usable(hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology.get())));
  const Bitmap bound(hwloc_bitmap_alloc());
  const bool knows_binding =
      hwloc_get_cpubind(topology.get(), bound.get(), HWLOC_CPUBIND_PROCESS) == 0;
  if (knows_binding) hwloc_bitmap_and(usable.get(), usable.get(), bound.get());
  Report report = Converter(topology.get(), usable.get(), files).convert();
  if (!knows_binding)
    report.notes.push_back(
        {"hwloc", "this process's CPU affinity is unknown; all CPUs count as usable"});
  Node& machine = report.graph.nodes[0];
  machine.id = host_name();
  machine.attributes.host_id = fmt::format("{:016x}", this_process().host_id);
  correct_memory(report);
  note_limits(report, files);
  note_devices(report);
  validate(report.graph);
  return report;
}

Report read_hwloc_xml(std::string_view xml, const std::string& name, const SystemFiles& files) {
  const auto refuse = [&name](const std::string& reason) {
    throw Error(StatusCode::kInvalidArgument, name + ": " + reason);
  };
  const std::string_view version = xml_version(xml);
  if (!version.starts_with("2."))
    refuse(fmt::format(
        "expected hwloc XML with <topology version=\"2.x\">, got {}; export it with lstopo 2.x "
        "--of xml",
        version.empty() ? "no such element or version" : fmt::format("version \"{}\"", version)));
  const Topology topology = new_topology();
  const std::string text(xml);
  const int set =
      hwloc_topology_set_xmlbuffer(topology.get(), text.c_str(), static_cast<int>(text.size()) + 1);
  if (set != 0 || hwloc_topology_load(topology.get()) != 0)
    refuse(
        "hwloc can't read it: the XML is malformed or lacks what hwloc requires "
        "(HWLOC_XML_VERBOSE=1 says more)");
  Report report =
      Converter(topology.get(), hwloc_topology_get_allowed_cpuset(topology.get()), files).convert();
  note_limits(report, files);
  note_devices(report);
  validate(report.graph);
  return report;
}

}  // namespace tutti::topology
