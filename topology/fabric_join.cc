// SPDX-License-Identifier: Apache-2.0
// Puts what is known of one host in its place in a fabric.
#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/fabric.h"

namespace tutti::topology {
namespace {

// GUIDs are written with and without colons and 0x.
std::string bare_guid(std::string text) {
  if (text.starts_with("0x")) text.erase(0, 2);
  std::erase(text, ':');
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

class Joiner {
 public:
  Joiner(const Report& host, const Report& fabric)
      : host_(host.graph), fabric_(fabric.graph), places_(fabric.graph.nodes.size(), -1) {
    result_.notes = host.notes;
    result_.notes.insert(result_.notes.end(), fabric.notes.begin(), fabric.notes.end());
  }

  Report join() {
    add_node(result_.graph, "cluster", NodeKind::kCluster, -1);
    ids_.insert("cluster");
    copy_host();
    places_[0] = 0;
    for (size_t i = 1; i < places_.size(); ++i) match_nic(i);
    if (!found_) match_machine_by_name();
    for (size_t i = 1; i < places_.size(); ++i)
      if (places_[i] < 0) place(i);
    for (Link link : fabric_.links) {
      link.from = places_[link.from];
      link.to = places_[link.to];
      if (link.from != link.to) result_.graph.links.push_back(link);
    }
    validate(result_.graph);
    return std::move(result_);
  }

 private:
  // The host's node i becomes node i + 1.
  void copy_host() {
    const std::string& root = host_.nodes[0].id;
    for (size_t i = 0; i < host_.nodes.size(); ++i) {
      Node node = host_.nodes[i];
      if (i > 0) node.id = root + '/' + node.id;
      ++node.parent;
      if (i == 0) node.id = unique(node.id);
      ids_.insert(node.id);
      if (node.kind == NodeKind::kNic && !node.attributes.guid.empty())
        nics_[{bare_guid(node.attributes.guid), node.attributes.port}] =
            static_cast<int32_t>(i) + 1;
      result_.graph.nodes.push_back(std::move(node));
    }
    for (Link link : host_.links) {
      ++link.from;
      ++link.to;
      result_.graph.links.push_back(link);
    }
  }

  void match_nic(size_t i) {
    const Node& node = fabric_.nodes[i];
    if (node.kind != NodeKind::kNic) return;
    const auto known = nics_.find({bare_guid(node.attributes.guid), node.attributes.port});
    if (known == nics_.end()) return;
    found_ = true;
    places_[i] = known->second;
    places_[node.parent] = kHost;
    int64_t& speed = result_.graph.nodes[known->second].attributes.speed_mbit_s;
    if (speed == kUnknown) speed = node.attributes.speed_mbit_s;
  }

  void match_machine_by_name() {
    for (size_t i = 1; i < places_.size(); ++i) {
      const Node& node = fabric_.nodes[i];
      if (node.kind != NodeKind::kMachine || node.id != host_.nodes[0].id) continue;
      places_[i] = kHost;
      result_.notes.push_back(
          {"fabric",
           fmt::format("this host's place in the fabric is found by its name, \"{}\": its NICs' "
                       "GUIDs are not known here",
                       node.id)});
      return;
    }
    result_.notes.push_back({"fabric", "no adapter of the fabric belongs to this host"});
  }

  void place(size_t i) {
    const Node& node = fabric_.nodes[i];
    places_[i] =
        add_node(result_.graph, unique(node.id), node.kind, places_[node.parent], node.attributes);
  }

  std::string unique(const std::string& id) {
    std::string result = id;
    for (int copy = 2; !ids_.insert(result).second; ++copy) result = fmt::format("{}.{}", id, copy);
    return result;
  }

  static constexpr int32_t kHost = 1;
  const Graph& host_;
  const Graph& fabric_;
  Report result_;
  std::set<std::string> ids_;
  std::map<std::pair<std::string, int64_t>, int32_t> nics_;  // GUID and port → node of the result
  std::vector<int32_t> places_;                              // fabric's node → the result's
  bool found_ = false;
};

void check_root(const Report& report, NodeKind kind) {
  validate(report.graph);
  const Node& root = report.graph.nodes[0];
  if (root.kind != kind)
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("topology: can't join \"{}\", a {}, with a fabric; expected a {}",
                            root.id, to_text(root.kind), to_text(kind)));
}

}  // namespace

Report join_fabric(const Report& host, const Report& fabric) {
  check_root(host, NodeKind::kMachine);
  check_root(fabric, NodeKind::kCluster);
  return Joiner(host, fabric).join();
}

}  // namespace tutti::topology
