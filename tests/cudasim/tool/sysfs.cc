// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/tool/sysfs.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/formats/nccl_tables.h"

namespace cudasim {
namespace {

namespace fs = std::filesystem;
namespace topo = tutti::topology;
using topo::NodeKind;

void put(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush())
    throw tutti::Error(tutti::StatusCode::kSystemError, "can't write " + path.string());
}

struct Address {
  unsigned domain = 0;
  unsigned bus = 0;
  unsigned device = 0;
  unsigned function = 0;
};
Address parse(const std::string& text) {
  Address address;
  if (std::sscanf(text.c_str(), "%x:%x:%x.%x", &address.domain, &address.bus, &address.device,
                  &address.function) != 4)
    throw tutti::Error(tutti::StatusCode::kInvalidArgument, "not a PCI address: " + text);
  return address;
}

class Writer {
 public:
  Writer(const Machine& machine, fs::path root)
      : machine_(machine), graph_(machine.graph()), root_(std::move(root)) {}

  void write() {
    write_cpus();
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const NodeKind kind = graph_.nodes[i].kind;
      const bool device =
          kind == NodeKind::kGpu || kind == NodeKind::kNic || kind == NodeKind::kPciSwitch;
      if (device) write_device(static_cast<int32_t>(i));
    }
    fs::create_directories(root_ / "sys/class/net");
    fs::create_directories(root_ / "sys/class/infiniband");
  }

 private:
  const topo::Node& node(int32_t at) const { return graph_.nodes[at]; }

  std::vector<int32_t> numas() const { return topo::nodes_of_kind(graph_, NodeKind::kNuma); }
  size_t numa_count() const { return std::max<size_t>(1, numas().size()); }

  // Two logical CPUs for a NUMA node that does not say which it has.
  std::vector<int32_t> cpus_of(size_t numa) const {
    const std::vector<int32_t> nodes = numas();
    if (numa < nodes.size() && !node(nodes[numa]).attributes.cpus.empty())
      return topo::parse_cpu_list(node(nodes[numa]).attributes.cpus);
    const auto first = static_cast<int32_t>(2 * numa);
    return {first, first + 1};
  }

  static std::string mask(const std::vector<int32_t>& cpus) {
    std::vector<uint32_t> words(cpus.empty() ? 1 : static_cast<size_t>(cpus.back()) / 32 + 1, 0);
    for (const int32_t cpu : cpus) words[static_cast<size_t>(cpu) / 32] |= 1U << (cpu % 32);
    std::string text;
    for (size_t w = words.size(); w-- > 0;)
      text += fmt::format("{}{:08x}", text.empty() ? "" : ",", words[w]);
    return text + "\n";
  }

  void write_cpus() {
    std::vector<int32_t> all;
    for (size_t n = 0; n < numa_count(); ++n) {
      const std::vector<int32_t> cpus = cpus_of(n);
      for (const int32_t cpu : cpus) write_cpu(cpu, n, cpus);
      all.insert(all.end(), cpus.begin(), cpus.end());
      write_numa(n, cpus);
    }
    std::sort(all.begin(), all.end());
    for (const char* file : {"online", "possible", "present"})
      put(root_ / "sys/devices/system/cpu" / file, topo::cpu_list(all) + "\n");
    put(root_ / "sys/devices/system/node/online",
        numa_count() > 1 ? fmt::format("0-{}\n", numa_count() - 1) : "0\n");
    write_proc(all);
  }

  void write_cpu(int32_t cpu, size_t package, const std::vector<int32_t>& siblings) {
    const fs::path at = root_ / fmt::format("sys/devices/system/cpu/cpu{}/topology", cpu);
    put(at / "physical_package_id", fmt::format("{}\n", package));
    put(at / "core_id", fmt::format("{}\n", cpu));
    put(at / "core_siblings", mask(siblings));
    put(at / "package_cpus", mask(siblings));
    put(at / "thread_siblings", mask({cpu}));
    put(at / "core_cpus", mask({cpu}));
  }

  void write_numa(size_t numa, const std::vector<int32_t>& cpus) {
    const fs::path at = root_ / fmt::format("sys/devices/system/node/node{}", numa);
    put(at / "cpumap", mask(cpus));
    put(at / "meminfo", fmt::format("Node {} MemTotal:       1073741824 kB\n", numa));
    std::string distances;
    for (size_t n = 0; n < numa_count(); ++n)
      distances += fmt::format("{}{}", n > 0 ? " " : "", n == numa ? 10 : 21);
    put(at / "distance", distances + "\n");
  }

  void write_proc(const std::vector<int32_t>& cpus) {
    topo::nccl::CpuModel model{"GenuineIntel", 6, 143};
    if (!numas().empty() && !node(numas()[0]).attributes.model.empty())
      model = topo::nccl::parse_cpu_model(node(numas()[0]).attributes.model);
    std::string text;
    for (const int32_t cpu : cpus)
      text += fmt::format(
          "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: "
          "simulated\nstepping\t: 1\n\n",
          cpu, model.vendor, model.family, model.model);
    put(root_ / "proc/cpuinfo", text);
    put(root_ / "proc/meminfo", "MemTotal:       2147483648 kB\nHugepagesize:       2048 kB\n");
    put(root_ / "proc/mounts", "");
    put(root_ / "proc/self/cgroup", "0::/\n");
  }

  // Of a GPU as the machine has it, of others the topology's or one that is made up.
  std::string address_of(int32_t at) const {
    for (const Gpu& gpu : machine_.gpus())
      if (gpu.node == at) return gpu.address;
    const std::string& known = node(at).attributes.pci_address;
    return known.empty() ? fmt::format("00{:02x}:{:02x}:00.0", 0x40 + at / 200, 1 + at % 200)
                         : known;
  }

  size_t numa_of(int32_t at) const {
    const std::vector<int32_t> nodes = numas();
    const auto place = [&nodes](int32_t numa) {
      return static_cast<size_t>(std::ranges::find(nodes, numa) - nodes.begin());
    };
    for (int32_t n = at; n >= 0; n = node(n).parent) {
      if (node(n).kind == NodeKind::kNuma) return place(n);
      for (const topo::Link& link : graph_.links)
        if (link.to == n && node(link.from).kind == NodeKind::kNuma) return place(link.from);
    }
    return 0;
  }

  // The link towards the CPU.
  topo::nccl::PcieRate rate_of(int32_t at) const {
    for (const topo::Link& link : graph_.links)
      if (link.to == at && link.type == topo::LinkType::kPcie)
        return topo::nccl::pcie_rate(link.forward_mbit_s);
    return {"32.0 GT/s PCIe", "16"};
  }

  void write_device(int32_t at) {
    const std::string address = address_of(at);
    const NodeKind kind = node(at).kind;
    const unsigned device_class = kind == NodeKind::kGpu         ? 0x030200
                                  : kind == NodeKind::kPciSwitch ? 0x060400
                                                                 : 0x020700;
    const unsigned vendor = kind == NodeKind::kGpu         ? 0x10de
                            : kind == NodeKind::kPciSwitch ? 0x1000
                                                           : 0x15b3;
    const unsigned product = kind == NodeKind::kGpu         ? 0x2330
                             : kind == NodeKind::kPciSwitch ? 0xc030
                                                            : 0x1021;
    const std::string path = fmt::format("devices/pci{}:00/{}", address.substr(0, 4), address);
    const fs::path to = root_ / "sys" / path;
    const topo::nccl::PcieRate rate = rate_of(at);
    put(to / "class", fmt::format("0x{:06x}\n", device_class));
    put(to / "vendor", fmt::format("0x{:04x}\n", vendor));
    put(to / "device", fmt::format("0x{:04x}\n", product));
    put(to / "subsystem_vendor", fmt::format("0x{:04x}\n", vendor));
    put(to / "subsystem_device", "0x0000\n");
    put(to / "revision", "0x01\n");
    put(to / "numa_node", fmt::format("{}\n", numa_of(at)));
    put(to / "local_cpus", mask(cpus_of(numa_of(at))));
    put(to / "current_link_speed", rate.speed + "\n");
    put(to / "max_link_speed", rate.speed + "\n");
    put(to / "current_link_width", rate.width + "\n");
    put(to / "max_link_width", rate.width + "\n");
    put(to / "config", config_space(at, vendor, product, device_class, rate));
    link("../../../" + path, root_ / "sys/bus/pci/devices" / address);
    if (kind == NodeKind::kNic) write_nic(at, path);
  }

  static void link(const fs::path& target, const fs::path& at) {
    fs::create_directories(at.parent_path());
    if (!fs::exists(fs::symlink_status(at))) fs::create_directory_symlink(target, at);
  }

  std::string config_space(int32_t at, unsigned vendor, unsigned product, unsigned device_class,
                           const topo::nccl::PcieRate& rate) const {
    constexpr unsigned kCapability = 0x40;
    std::string bytes(256, '\0');
    const auto put8 = [&bytes](unsigned offset, unsigned value) {
      bytes[offset] = static_cast<char>(value);
    };
    const auto put16 = [&put8](unsigned offset, unsigned value) {
      put8(offset, value & 0xff);
      put8(offset + 1, value >> 8);
    };
    put16(0x00, vendor);
    put16(0x02, product);
    put16(0x06, 0x10);  // has capabilities
    put8(0x09, device_class & 0xff);
    put16(0x0a, device_class >> 8);
    put8(0x34, kCapability);
    put8(kCapability, 0x10);  // PCI Express
    put16(kCapability + 0x12, generation_of(rate.speed) | lanes_of(rate.width) << 4);
    if (node(at).kind == NodeKind::kPciSwitch) {
      const auto [first, last] = buses_below(at);
      put8(0x0e, 1);  // a bridge
      put8(0x18, parse(address_of(at)).bus);
      put8(0x19, first);
      put8(0x1a, last);
    }
    return bytes;
  }

  static unsigned generation_of(const std::string& speed) {
    constexpr const char* kSpeeds[] = {"2.5", "5.0", "8.0", "16.0", "32.0", "64.0"};
    for (unsigned i = 0; i < std::size(kSpeeds); ++i)
      if (speed.starts_with(kSpeeds[i])) return i + 1;
    return 1;
  }
  static unsigned lanes_of(const std::string& width) {
    return width.empty() ? 16 : static_cast<unsigned>(std::stoul(width));
  }

  std::pair<unsigned, unsigned> buses_below(int32_t bridge) const {
    unsigned first = 0xff;
    unsigned last = 0;
    for (size_t i = static_cast<size_t>(bridge) + 1; i < graph_.nodes.size(); ++i) {
      const auto at = static_cast<int32_t>(i);
      bool below = false;
      for (int32_t n = node(at).parent; n >= 0 && !below; n = node(n).parent) below = n == bridge;
      if (!below) continue;
      const unsigned bus = parse(address_of(at)).bus;
      first = std::min(first, bus);
      last = std::max(last, bus);
    }
    return {first, last};
  }

  void write_nic(int32_t at, const std::string& pci) {
    const topo::Attributes& known = node(at).attributes;
    const std::string verbs =
        known.verbs_device.empty() ? fmt::format("mlx5_{}", nics_++) : known.verbs_device;
    const int64_t port = std::max<int64_t>(1, known.port);
    const fs::path to = root_ / "sys/class/infiniband" / verbs;
    put(to / "node_guid", guid_text(known.guid, at) + "\n");
    put(to / "node_type", "1: CA\n");
    const fs::path in = to / fmt::format("ports/{}", port);
    const int64_t gbit_s = known.speed_mbit_s > 0 ? known.speed_mbit_s / 1000 : 400;
    put(in / "rate", fmt::format("{} Gb/sec (4X NDR)\n", gbit_s));
    put(in / "state", "4: ACTIVE\n");
    put(in / "phys_state", "5: LinkUp\n");
    put(in / "link_layer", "InfiniBand\n");
    put(in / "lid", fmt::format("0x{:x}\n", 100 + at));
    put(in / "sm_lid", "0x1\n");
    put(in / "lid_mask_count", "0\n");
    put(in / "gids/0", fmt::format("fe80:0000:0000:0000:{}\n", guid_text(known.guid, at)));
    fs::create_directories(root_ / "sys" / pci / "infiniband" / verbs);
    link("../../../" + pci, to / "device");
  }

  static std::string guid_text(const std::string& known, int32_t at) {
    std::string digits;
    for (const char c : known)
      if (std::isxdigit(static_cast<unsigned char>(c)) != 0) digits += c;
    if (digits.size() > 16) digits = digits.substr(digits.size() - 16);
    if (digits.size() < 16) digits = fmt::format("c0da51{:010x}", at);
    return fmt::format("{}:{}:{}:{}", digits.substr(0, 4), digits.substr(4, 4), digits.substr(8, 4),
                       digits.substr(12, 4));
  }

  const Machine& machine_;
  const topo::Graph& graph_;
  fs::path root_;
  int nics_ = 0;
};

}  // namespace

void write_sysfs(const Machine& machine, const std::string& folder) {
  Writer(machine, fs::absolute(folder)).write();
}

}  // namespace cudasim
