// SPDX-License-Identifier: Apache-2.0
// Turns what libibnetdisc discovers into the fabric of topology/fabric.h.
#include "topology/detectors/ib_fabric.h"

#include <endian.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <infiniband/ibnetdisc.h>
#include <infiniband/umad.h>
#include <spdlog/fmt/fmt.h>

#include "src/base/infiniband.h"
#include "src/base/shared_library.h"
#include "topology/fabric.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

constexpr const char* kSource = "fabric";

// Both libraries' functions: libibnetdisc depends on libibumad and libibmad.
struct Functions {
  explicit Functions(SharedLibrary& library)
      : all_found(library.find("umad_init", umad_init) && library.find("umad_done", umad_done) &&
                  library.find("umad_get_cas_names", umad_get_cas_names) &&
                  library.find("umad_get_ca", umad_get_ca) &&
                  library.find("umad_release_ca", umad_release_ca) &&
                  library.find("mad_get_field", mad_get_field) &&
                  library.find("ibnd_discover_fabric", ibnd_discover_fabric) &&
                  library.find("ibnd_destroy_fabric", ibnd_destroy_fabric)) {}

  decltype(::umad_init)* umad_init = nullptr;
  decltype(::umad_done)* umad_done = nullptr;
  decltype(::umad_get_cas_names)* umad_get_cas_names = nullptr;
  decltype(::umad_get_ca)* umad_get_ca = nullptr;
  decltype(::umad_release_ca)* umad_release_ca = nullptr;
  decltype(::mad_get_field)* mad_get_field = nullptr;
  decltype(::ibnd_discover_fabric)* ibnd_discover_fabric = nullptr;
  decltype(::ibnd_destroy_fabric)* ibnd_destroy_fabric = nullptr;
  bool all_found;
};

// A port of this host that management packets can leave from.
struct LocalPort {
  std::string adapter;
  int number = 0;
  uint64_t node_guid = 0;
};

std::vector<LocalPort> active_ports(const Functions& functions) {
  constexpr unsigned kActive = 4;
  std::array<char[UMAD_CA_NAME_LEN], UMAD_MAX_DEVICES> names{};
  const int count = functions.umad_get_cas_names(names.data(), UMAD_MAX_DEVICES);
  std::vector<LocalPort> ports;
  for (int i = 0; i < count; ++i) {
    umad_ca_t adapter{};
    if (functions.umad_get_ca(names[i], &adapter) != 0) continue;
    for (const umad_port_t* port : adapter.ports) {
      if (port == nullptr || port->state != kActive) continue;
      const std::string_view link_layer = port->link_layer;
      const bool infiniband =
          link_layer.empty() || link_layer == "InfiniBand" || link_layer == "IB";
      if (infiniband) ports.push_back({names[i], port->portnum, be64toh(adapter.node_guid)});
    }
    functions.umad_release_ca(&adapter);
  }
  return ports;
}

class Collector {
 public:
  explicit Collector(const Functions& functions) : functions_(functions) {}

  // Whether a discovery from another port has come by this one.
  bool knows(const LocalPort& port) const {
    return connected_.contains({port.node_guid, port.number});
  }

  bool discover(const LocalPort& from) {
    ibnd_config_t config{};
    config.flags = IBND_CONFIG_MLX_EPI;  // asks for FDR10, which only its maker's fields tell
    std::string adapter = from.adapter;
    ibnd_fabric_t* const found =
        functions_.ibnd_discover_fabric(adapter.data(), from.number, nullptr, &config);
    if (found == nullptr) return false;
    for (ibnd_node_t* node = found->nodes; node != nullptr; node = node->next) index_of(*node);
    for (ibnd_node_t* node = found->nodes; node != nullptr; node = node->next) add_ports(*node);
    functions_.ibnd_destroy_fabric(found);
    return true;
  }

  const IbFabric& fabric() const { return fabric_; }

 private:
  static IbKind kind_of(const ibnd_node_t& node) {
    if (node.type == IB_NODE_SWITCH) return IbKind::kSwitch;
    return node.type == IB_NODE_CA ? IbKind::kChannelAdapter : IbKind::kRouter;
  }

  int32_t index_of(const ibnd_node_t& node) {
    const auto [found, added] =
        indexes_.emplace(node.guid, static_cast<int32_t>(fabric_.nodes.size()));
    if (added) fabric_.nodes.push_back({kind_of(node), node.guid, node.nodedesc, {}});
    return found->second;
  }

  void add_ports(ibnd_node_t& node) {
    const int32_t index = index_of(node);
    for (int number = 1; number <= node.numports; ++number) {
      ibnd_port_t* const port = node.ports[number];
      if (port == nullptr || port->remoteport == nullptr) continue;
      if (!connected_.insert({node.guid, number}).second) continue;
      fabric_.nodes[index].ports.push_back({number, index_of(*port->remoteport->node),
                                            port->remoteport->portnum, rate_of(node, *port)});
    }
  }

  uint32_t field(uint8_t* info, MAD_FIELDS which) const {
    return functions_.mad_get_field(info, 0, which);
  }

  // The encodings of PortInfo in the InfiniBand specification.
  int64_t rate_of(ibnd_node_t& node, ibnd_port_t& port) const {
    constexpr uint32_t kHasExtendedSpeeds = 1U << 14;  // of the capability mask
    constexpr uint32_t kFdr10 = 1;
    // A switch tells its capabilities at port 0.
    ibnd_port_t* const teller = node.type == IB_NODE_SWITCH ? node.ports[0] : &port;
    const bool extended =
        teller != nullptr && (field(teller->info, IB_PORT_CAPMASK_F) & kHasExtendedSpeeds) != 0;
    const uint32_t speed = field(port.info, IB_PORT_LINK_SPEED_ACTIVE_F);
    const uint32_t more = extended ? field(port.info, IB_PORT_LINK_SPEED_EXT_ACTIVE_F) : 0;
    const bool fdr10 =
        speed == 4 && (field(port.ext_info, IB_MLNX_EXT_PORT_LINK_SPEED_ACTIVE_F) & kFdr10) != 0;
    const std::string_view plain_name = fdr10 ? "FDR10" : name_of_bit(speed, {"SDR", "DDR", "QDR"});
    const std::string_view name =
        more == 0 ? plain_name : name_of_bit(more, {"FDR", "EDR", "HDR", "NDR"});
    return infiniband_mbit_s(lanes_of(field(port.info, IB_PORT_LINK_WIDTH_ACTIVE_F)), name);
  }

  // The name at the position of the one bit that is set.
  static std::string_view name_of_bit(uint32_t bits,
                                      std::initializer_list<std::string_view> names) {
    uint32_t bit = 1;
    for (const std::string_view name : names) {
      if (bits == bit) return name;
      bit <<= 1;
    }
    return "";
  }

  static int64_t lanes_of(uint32_t width) {
    const int lanes = infiniband_lanes(width);
    return lanes != 0 ? lanes : kUnknown;
  }

  const Functions& functions_;
  IbFabric fabric_;
  std::unordered_map<uint64_t, int32_t> indexes_;  // GUID → index in fabric_.nodes
  std::set<std::pair<uint64_t, int>> connected_;   // node's GUID and port
};

Report without_fabric(Report report, const std::string& reason) {
  report.notes.push_back({kSource, "the InfiniBand fabric is left out: " + reason});
  return report;
}

}  // namespace

Report add_ib_fabric(const Report& host) {
  SharedLibrary library("libibnetdisc.so.5");
  const Functions functions(library);
  if (!functions.all_found) return without_fabric(host, library.reason());
  if (functions.umad_init() != 0)
    return without_fabric(host, "libibumad can't start: is the kernel module ib_umad loaded?");
  const std::vector<LocalPort> ports = active_ports(functions);
  Collector collector(functions);
  std::vector<std::string> failed;
  for (const LocalPort& port : ports)
    if (!collector.knows(port) && !collector.discover(port))
      failed.push_back(fmt::format("{}:{}", port.adapter, port.number));
  functions.umad_done();
  if (ports.empty())
    return without_fabric(host, "no adapter of this host has an active InfiniBand port");
  if (collector.fabric().nodes.empty())
    return without_fabric(host, fmt::format("discovery failed from {}: may this user open "
                                            "/dev/infiniband/umad*?",
                                            fmt::join(failed, ", ")));
  Report report = join_fabric(host, fabric_report(collector.fabric(), kSource));
  if (!failed.empty())
    report.notes.push_back(
        {kSource, fmt::format("what lies behind {} is left out: discovery failed from "
                              "there",
                              fmt::join(failed, ", "))});
  return report;
}

}  // namespace tutti::topology
