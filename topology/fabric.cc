// SPDX-License-Identifier: Apache-2.0
// Orders, names and links the nodes of an InfiniBand subnet.
#include "topology/fabric.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::topology {
namespace {

// What an adapter's description says.
struct AdapterName {
  std::string host;    // "" when it names none
  std::string device;  // "mlx5_0", "HCA-1", or ""
};

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  size_t at = 0;
  while ((at = text.find_first_not_of(' ', at)) != std::string::npos) {
    const size_t end = std::min(text.find(' ', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

// "HOST" or "HOST DEVICE"; anything longer is what the maker calls it.
AdapterName parse_adapter(const std::string& description) {
  std::vector<std::string> words = words_of(description);
  if (words.empty() || words.size() > 2 || words[0] == "localhost") return {};
  const bool device =
      words.size() == 2 && std::isdigit(static_cast<unsigned char>(words[1].back())) != 0;
  if (words.size() == 2 && !device) return {};
  return {words[0], device ? words[1] : ""};
}

bool is_aggregation_node(const IbNode& node) {
  return node.kind == IbKind::kChannelAdapter &&
         node.description.find("Aggregation Node") != std::string::npos;
}

// Descriptions come off the wire: nothing but ASCII text goes on.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

// node2 before node10.
bool name_less(const std::string& a, const std::string& b) {
  const int order = strverscmp(a.c_str(), b.c_str());
  return order != 0 ? order < 0 : a < b;
}

class Builder {
 public:
  Builder(const IbFabric& fabric, std::string_view source) : fabric_(fabric), source_(source) {}

  Report build() {
    add("fabric", NodeKind::kCluster, -1, {});
    for (const IbNode& node : fabric_.nodes)
      names_.push_back(parse_adapter(printable(node.description)));
    find_levels();
    add_adapters();
    add_switches();
    for (const int32_t node : order_) add_links(node);
    add_notes();
    validate(report_.graph);
    return std::move(report_);
  }

 private:
  const IbNode& node(int32_t index) const { return fabric_.nodes[index]; }
  int32_t count() const { return static_cast<int32_t>(fabric_.nodes.size()); }
  bool is_kind(int32_t index, IbKind kind) const { return node(index).kind == kind; }

  int32_t add(const std::string& id, NodeKind kind, int32_t parent, Attributes attributes) {
    std::string unique = id;
    for (int copy = 2; !ids_.insert(unique).second; ++copy) unique = fmt::format("{}.{}", id, copy);
    return add_node(report_.graph, std::move(unique), kind, parent, std::move(attributes));
  }

  bool reaches_adapter(const IbNode& node) const {
    return std::any_of(node.ports.begin(), node.ports.end(), [this](const IbPort& port) {
      return is_kind(port.peer, IbKind::kChannelAdapter) &&
             !is_aggregation_node(this->node(port.peer));
    });
  }

  // Breadth first from the switches that adapters are on.
  void find_levels() {
    levels_.assign(fabric_.nodes.size(), kUnknown);
    std::deque<int32_t> next;
    for (int32_t i = 0; i < count(); ++i)
      if (is_kind(i, IbKind::kSwitch) && reaches_adapter(node(i))) {
        levels_[i] = 1;
        next.push_back(i);
      }
    for (; !next.empty(); next.pop_front())
      for (const IbPort& port : node(next.front()).ports)
        if (is_kind(port.peer, IbKind::kSwitch) && levels_[port.peer] == kUnknown) {
          levels_[port.peer] = levels_[next.front()] + 1;
          next.push_back(port.peer);
        }
  }

  void add_adapters() {
    std::vector<int32_t> adapters;
    for (int32_t i = 0; i < count(); ++i)
      if (is_kind(i, IbKind::kChannelAdapter) && !is_aggregation_node(node(i)))
        adapters.push_back(i);
    std::sort(adapters.begin(), adapters.end(), [this](int32_t a, int32_t b) {
      if (names_[a].host != names_[b].host) return name_less(names_[a].host, names_[b].host);
      if (names_[a].device != names_[b].device)
        return name_less(names_[a].device, names_[b].device);
      return node(a).guid < node(b).guid;
    });
    std::string host;
    int32_t machine = -1;
    for (const int32_t adapter : adapters) {
      const AdapterName& name = names_[adapter];
      if (name.host.empty()) {
        ++nameless_;
        machine = add(fmt::format("adapter:{:016x}", node(adapter).guid), NodeKind::kMachine, 0,
                      {.model = printable(node(adapter).description)});
      } else if (name.host != host) {
        machine = add(name.host, NodeKind::kMachine, 0, {});
      }
      host = name.host;
      add_nics(adapter, machine);
    }
  }

  void add_nics(int32_t adapter, int32_t machine) {
    order_.push_back(adapter);
    const AdapterName& name = names_[adapter];
    const std::string label =
        name.device.empty() ? fmt::format("{:016x}", node(adapter).guid) : name.device;
    if (!name.device.empty() && !devices_.insert({name.host, name.device}).second)
      note(fmt::format("two adapters call themselves \"{} {}\": two hosts may have one name",
                       name.host, name.device));
    for (const IbPort& port : sorted_ports(adapter)) {
      Attributes attributes{
          .guid = guid_text(node(adapter).guid), .port = port.number, .speed_mbit_s = port.mbit_s};
      if (!name.device.starts_with("HCA-")) attributes.verbs_device = name.device;
      const std::string id =
          fmt::format("{}/nic:{}:{}", report_.graph.nodes[machine].id, label, port.number);
      places_[{adapter, port.number}] = add(id, NodeKind::kNic, machine, std::move(attributes));
    }
  }

  void add_switches() {
    std::vector<int32_t> switches;
    for (int32_t i = 0; i < count(); ++i)
      if (is_kind(i, IbKind::kSwitch)) switches.push_back(i);
    const auto key = [this](int32_t i) {
      return std::pair(static_cast<uint64_t>(levels_[i]), node(i).guid);  // kUnknown comes last
    };
    std::sort(switches.begin(), switches.end(),
              [&key](int32_t a, int32_t b) { return key(a) < key(b); });
    for (const int32_t i : switches) {
      const bool reduces =
          std::any_of(node(i).ports.begin(), node(i).ports.end(),
                      [this](const IbPort& port) { return is_aggregation_node(node(port.peer)); });
      order_.push_back(i);
      switches_[i] = add(fmt::format("switch:{:016x}", node(i).guid), NodeKind::kNetSwitch, 0,
                         {.model = printable(node(i).description),
                          .guid = guid_text(node(i).guid),
                          .level = levels_[i],
                          .reduces = reduces,
                          .multicasts = reduces});
    }
  }

  std::vector<IbPort> sorted_ports(int32_t index) const {
    std::vector<IbPort> ports = node(index).ports;
    std::sort(ports.begin(), ports.end(),
              [](const IbPort& a, const IbPort& b) { return a.number < b.number; });
    return ports;
  }

  // -1 for what is not in the graph.
  int32_t place(int32_t index, int32_t port) const {
    if (const auto found = switches_.find(index); found != switches_.end()) return found->second;
    const auto found = places_.find({index, port});
    return found == places_.end() ? -1 : found->second;
  }

  const IbPort* find_port(int32_t index, int32_t number) const {
    const std::vector<IbPort>& ports = node(index).ports;
    const auto found = std::find_if(ports.begin(), ports.end(),
                                    [number](const IbPort& port) { return port.number == number; });
    return found == ports.end() ? nullptr : &*found;
  }

  void add_links(int32_t index) {
    for (const IbPort& port : sorted_ports(index)) {
      if (!done_.insert({index, port.number}).second) continue;
      const IbPort* const back = find_port(port.peer, port.peer_port);
      const bool agree = back == nullptr || (back->peer == index && back->peer_port == port.number);
      if (!agree) {
        ++contradictions_;
        continue;
      }
      done_.insert({port.peer, port.peer_port});
      const int32_t from = place(index, port.number);
      const int32_t to = place(port.peer, port.peer_port);
      if (from >= 0 && from == to) ++loops_;
      if (from < 0 || to < 0 || from == to) continue;
      if (back == nullptr) ++one_ended_;
      const int64_t other = back == nullptr ? port.mbit_s : back->mbit_s;
      add_link(report_.graph, from, to, LinkType::kNetwork, agreed_rate(port.mbit_s, other));
    }
  }

  int64_t agreed_rate(int64_t a, int64_t b) {
    if (a == kUnknown || b == kUnknown) a = b = std::max(a, b);
    if (a == kUnknown) ++rateless_;
    if (a != b) ++uneven_;
    return std::min(a, b);
  }

  void note(std::string text) { report_.notes.push_back({source_, std::move(text)}); }
  void note_count(int64_t number, const char* what) {
    if (number > 0) note(fmt::format("{}: {}", what, number));
  }

  void add_notes() {
    note_count(std::count_if(fabric_.nodes.begin(), fabric_.nodes.end(),
                             [](const IbNode& node) { return node.kind == IbKind::kRouter; }),
               "routers, left out with their links as other subnets are not looked at");
    note_count(nameless_, "adapters whose description names no host, each counted as a machine");
    note_count(loops_, "cables from a node to itself, left out");
    note_count(contradictions_, "ports whose peer names another peer, left out");
    note_count(one_ended_, "links known from one of their ends only");
    note_count(uneven_, "links whose ends tell different rates, of which the lower one counts");
    note_count(rateless_, "links of unknown rate");
  }

  const IbFabric& fabric_;
  std::string source_;
  Report report_;
  std::set<std::string> ids_;
  std::set<std::pair<std::string, std::string>> devices_;
  std::vector<AdapterName> names_;
  std::vector<int64_t> levels_;
  std::vector<int32_t> order_;                             // nodes as they are in the graph
  std::map<int32_t, int32_t> switches_;                    // node → its place in the graph
  std::map<std::pair<int32_t, int32_t>, int32_t> places_;  // adapter and port → its place
  std::set<std::pair<int32_t, int32_t>> done_;             // ends whose link is dealt with
  int64_t nameless_ = 0, loops_ = 0, contradictions_ = 0, one_ended_ = 0, uneven_ = 0,
          rateless_ = 0;
};

}  // namespace

Report fabric_report(const IbFabric& fabric, std::string_view source) {
  return Builder(fabric, source).build();
}

std::string guid_text(uint64_t guid) {
  return fmt::format("{:04x}:{:04x}:{:04x}:{:04x}", guid >> 48, guid >> 32 & 0xffff,
                     guid >> 16 & 0xffff, guid & 0xffff);
}

}  // namespace tutti::topology
