// SPDX-License-Identifier: Apache-2.0
// Parses changes, finds the links that they mean, and applies them.
#include "topology/change.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <sstream>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/text_values.h"

namespace tutti::topology {
namespace {

// A link that a change is about; `backward`: the change's first part is at its end.
struct Selected {
  size_t link;
  bool backward;
};

struct Change {
  std::string_view text;         // as written, for messages
  std::vector<std::string> ids;  // one, or two
  std::string_view value;        // after the last '='
};

struct Verb {
  const char* name;
  const char* form;
  const char* doc;
  size_t least_ids;
  bool value;
  void (*apply)(Graph& graph, const Change& change, const std::vector<Selected>& selected);
};

[[noreturn]] void refuse(std::string_view word, const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("topology change: \"{}\": {}", word, reason));
}

// The first few.
std::string listed(const std::vector<std::string_view>& ids) {
  constexpr size_t kMost = 8;
  const size_t shown = std::min(ids.size(), kMost);
  std::string text = fmt::format("{}", fmt::join(ids.begin(), ids.begin() + shown, ", "));
  if (shown < ids.size()) text += fmt::format(" and {} more", ids.size() - shown);
  return text;
}

double gigabytes(int64_t mbit_s) { return static_cast<double>(mbit_s) / kMbitPerGigabyte; }

void take_down(Graph& graph, const Change&, const std::vector<Selected>& selected) {
  for (const Selected& s : selected)
    graph.links[s.link].forward_mbit_s = graph.links[s.link].reverse_mbit_s = 0;
}

void limit(const Change& change, const std::vector<int64_t*>& capacities) {
  const auto most = parse_gigabytes(change.value);
  if (!most)
    refuse(change.text, fmt::format("expected GB/s from 0 to {}, a multiple of 0.000125; got "
                                    "\"{}\"",
                                    kMaxGigabytes, change.value));
  const auto unlimited = [&](const int64_t* mbit_s) {
    return *mbit_s == kUnknown || *mbit_s >= *most;
  };
  if (std::none_of(capacities.begin(), capacities.end(), unlimited))
    refuse(change.text,
           fmt::format("expected no more than what the fastest of these links carries, {:.6g} GB/s",
                       gigabytes(**std::max_element(
                           capacities.begin(), capacities.end(),
                           [](const int64_t* a, const int64_t* b) { return *a < *b; }))));
  for (int64_t* mbit_s : capacities)
    if (unlimited(mbit_s)) *mbit_s = *most;
}

void slow_down(Graph& graph, const Change& change, const std::vector<Selected>& selected) {
  std::vector<int64_t*> capacities;
  for (const Selected& s : selected) {
    capacities.push_back(&graph.links[s.link].forward_mbit_s);
    capacities.push_back(&graph.links[s.link].reverse_mbit_s);
  }
  limit(change, capacities);
}

void slow_one_way(Graph& graph, const Change& change, const std::vector<Selected>& selected) {
  std::vector<int64_t*> capacities;
  capacities.reserve(selected.size());
  for (const Selected& s : selected)
    capacities.push_back(s.backward ? &graph.links[s.link].reverse_mbit_s
                                    : &graph.links[s.link].forward_mbit_s);
  limit(change, capacities);
}

void train_down(Graph& graph, const Change& change, const std::vector<Selected>& selected) {
  constexpr int64_t kMostLanes = 32;
  const size_t slash = std::min(change.value.find('/'), change.value.size());
  const std::string_view below = change.value.substr(std::min(slash + 1, change.value.size()));
  const auto lanes = parse_integer(change.value.substr(0, slash), 1, kMostLanes);
  const auto of = parse_integer(below, 1, kMostLanes);
  if (!lanes || !of || *lanes > *of)
    refuse(change.text, fmt::format("expected lanes N/M, from 1/{} to {}/{}, such as 8/16; got "
                                    "\"{}\"",
                                    kMostLanes, kMostLanes, kMostLanes, change.value));
  bool any = false;
  for (const Selected& s : selected) {
    Link& link = graph.links[s.link];
    if (link.type != LinkType::kPcie) continue;
    for (int64_t* mbit_s : {&link.forward_mbit_s, &link.reverse_mbit_s}) {
      if (*mbit_s == kUnknown) continue;
      // Without overflow whatever a file says; a fraction of 1 Mbit/s is lost.
      *mbit_s = *mbit_s / *of * *lanes + *mbit_s % *of * *lanes / *of;
      any = true;
    }
  }
  if (!any) refuse(change.text, "expected PCIe links of known bandwidth, found none");
}

constexpr Verb kVerbs[] = {
    {"down", "down ID or down A B", "every link of a part, or between two, is down", 1, false,
     take_down},
    {"slow", "slow ID=GB/s or slow A B=GB/s", "each such link carries at most that much", 1, true,
     slow_down},
    {"one-way", "one-way A B=GB/s", "at most that much, from A to B only", 2, true, slow_one_way},
    {"lanes", "lanes ID=N/M or lanes A B=N/M", "PCIe links trained down, such as 8/16", 1, true,
     train_down},
};

std::string forms() {
  std::vector<std::string_view> texts;
  for (const Verb& verb : kVerbs) texts.emplace_back(verb.form);
  return fmt::format("expected {}", fmt::join(texts, ", "));
}

std::string_view last_part(std::string_view id) { return id.substr(id.rfind('/') + 1); }

// The letters that it begins with: "nic" of "nic3".
std::string_view letters(std::string_view name) {
  return name.substr(0, name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"));
}

[[noreturn]] void refuse_unknown(const Graph& graph, const Change& change, const std::string& id) {
  std::vector<std::string_view> like;
  std::vector<std::string_view> all;
  for (const Node& node : graph.nodes) {
    all.emplace_back(node.id);
    if (letters(last_part(node.id)) == letters(last_part(id))) like.emplace_back(node.id);
  }
  refuse(change.text,
         fmt::format("there is no \"{}\"; known are {}", id, listed(like.empty() ? all : like)));
}

int32_t find_part(const Graph& graph, const Change& change, const std::string& id) {
  std::vector<int32_t> found;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const std::string_view whole = graph.nodes[i].id;
    if (whole == id) return static_cast<int32_t>(i);
    if (whole.size() > id.size() && whole.ends_with(id) &&
        whole[whole.size() - id.size() - 1] == '/')
      found.push_back(static_cast<int32_t>(i));
  }
  if (found.empty()) refuse_unknown(graph, change, id);
  if (found.size() > 1) {
    std::vector<std::string_view> ids;
    ids.reserve(found.size());
    for (const int32_t node : found) ids.emplace_back(graph.nodes[node].id);
    refuse(change.text, fmt::format("\"{}\" may be {}; name one", id, listed(ids)));
  }
  return found[0];
}

// By node, whether `part` stands for it.
std::vector<bool> covered(const Graph& graph, int32_t part) {
  std::vector<bool> in(graph.nodes.size(), false);
  in[part] = true;
  const bool linked = std::any_of(graph.links.begin(), graph.links.end(), [part](const Link& link) {
    return link.from == part || link.to == part;
  });
  if (linked) return in;
  for (size_t i = part + 1; i < graph.nodes.size(); ++i)
    if (graph.nodes[i].parent >= 0 && in[graph.nodes[i].parent]) in[i] = true;
  return in;
}

[[noreturn]] void refuse_unlinked(const Graph& graph, const Change& change,
                                  const std::vector<bool>& in) {
  std::vector<std::string_view> neighbours;
  for (const Link& link : graph.links) {
    if (in[link.from] == in[link.to]) continue;
    const std::string_view id = graph.nodes[in[link.from] ? link.to : link.from].id;
    if (std::find(neighbours.begin(), neighbours.end(), id) == neighbours.end())
      neighbours.push_back(id);
  }
  if (neighbours.empty())
    refuse(change.text, fmt::format("\"{}\" has no link to any other part", change.ids[0]));
  refuse(change.text, fmt::format("\"{}\" and \"{}\" have no link; \"{}\" has links to {}",
                                  change.ids[0], change.ids[1], change.ids[0], listed(neighbours)));
}

std::vector<Selected> select(const Graph& graph, const Change& change) {
  const std::vector<bool> a = covered(graph, find_part(graph, change, change.ids[0]));
  std::vector<bool> b(graph.nodes.size(), true);
  if (change.ids.size() == 2) b = covered(graph, find_part(graph, change, change.ids[1]));
  std::vector<Selected> selected;
  for (size_t i = 0; i < graph.links.size(); ++i) {
    const Link& link = graph.links[i];
    if (a[link.from] && b[link.to])
      selected.push_back({i, false});
    else if (b[link.from] && a[link.to])
      selected.push_back({i, true});
  }
  if (selected.empty()) refuse_unlinked(graph, change, a);
  return selected;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t first = std::min(text.find_first_not_of(kSpace), text.size());
  return text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
}

void apply(Graph& graph, std::string_view text) {
  const std::string_view name = text.substr(0, text.find_first_of(" \t\r\n="));
  const auto* verb = std::find_if(std::begin(kVerbs), std::end(kVerbs),
                                  [&](const Verb& v) { return name == v.name; });
  if (verb == std::end(kVerbs)) refuse(text, forms());
  Change change{.text = text};
  std::string_view parts = text.substr(name.size());
  const size_t equals = verb->value ? std::min(parts.rfind('='), parts.size()) : parts.size();
  if (equals < parts.size()) change.value = trimmed(parts.substr(equals + 1));
  std::istringstream stream{std::string(parts.substr(0, equals))};
  change.ids.assign(std::istream_iterator<std::string>(stream), {});
  if (change.ids.size() < verb->least_ids || change.ids.size() > 2 ||
      (equals < parts.size()) != verb->value)
    refuse(text, fmt::format("expected {}", verb->form));
  verb->apply(graph, change, select(graph, change));
}

// By node, whether only_gpus() keeps a GPU.
std::vector<bool> kept_gpus(const Graph& graph, std::span<const int32_t> positions) {
  const std::vector<int32_t> gpus = nodes_of_kind(graph, NodeKind::kGpu);
  std::vector<bool> kept(graph.nodes.size(), false);
  if (positions.empty())
    refuse("GPUs", fmt::format("expected at least one of the {} GPUs", gpus.size()));
  for (const int32_t position : positions) {
    if (position < 0 || static_cast<size_t>(position) >= gpus.size())
      refuse("GPUs", gpus.empty() ? fmt::format("got {}; there are no GPUs", position)
                                  : fmt::format("expected positions from 0 to {}, got {}",
                                                gpus.size() - 1, position));
    if (kept[gpus[position]]) refuse("GPUs", fmt::format("{} is given twice", position));
    kept[gpus[position]] = true;
  }
  return kept;
}

// By node, whether it is, or is within, a machine that has GPUs and keeps none.
std::vector<bool> in_empty_machine(const Graph& graph, const std::vector<bool>& kept_gpus) {
  const size_t n = graph.nodes.size();
  std::vector<bool> had(n, false);  // GPUs below
  std::vector<bool> has = kept_gpus;
  for (size_t i = n - 1; i > 0; --i) {
    const Node& node = graph.nodes[i];
    if (had[i] || node.kind == NodeKind::kGpu) had[node.parent] = true;
    if (has[i]) has[node.parent] = true;
  }
  std::vector<bool> empty(n, false);
  for (size_t i = 1; i < n; ++i)
    empty[i] = empty[graph.nodes[i].parent] ||
               (graph.nodes[i].kind == NodeKind::kMachine && had[i] && !has[i]);
  return empty;
}

// By node, whether links join it with one of `from`, through no other GPU and no node of `without`.
std::vector<bool> reached(const Graph& graph, const std::vector<bool>& from,
                          const std::vector<bool>& without) {
  std::vector<std::vector<int32_t>> neighbours(graph.nodes.size());
  for (const Link& link : graph.links) {
    neighbours[link.from].push_back(link.to);
    neighbours[link.to].push_back(link.from);
  }
  std::vector<bool> seen = from;
  std::vector<int32_t> stack;
  for (size_t i = 0; i < from.size(); ++i)
    if (from[i]) stack.push_back(static_cast<int32_t>(i));
  while (!stack.empty()) {
    const int32_t node = stack.back();
    stack.pop_back();
    for (const int32_t next : neighbours[node]) {
      if (seen[next] || without[next] || graph.nodes[next].kind == NodeKind::kGpu) continue;
      seen[next] = true;
      stack.push_back(next);
    }
  }
  return seen;
}

// By node, whether only_gpus() keeps it.
std::vector<bool> kept_nodes(const Graph& graph, const std::vector<bool>& gpus) {
  const std::vector<bool> empty = in_empty_machine(graph, gpus);
  std::vector<bool> kept = reached(graph, gpus, empty);
  for (size_t i = 0; i < kept.size(); ++i) {
    switch (graph.nodes[i].kind) {
      case NodeKind::kGpu:
      case NodeKind::kNic:
      case NodeKind::kPciSwitch:
      case NodeKind::kNvSwitch:
      case NodeKind::kNetSwitch:
        break;
      default:
        kept[i] = !empty[i];
    }
  }
  return kept;
}

}  // namespace

Graph only_gpus(const Graph& graph, std::span<const int32_t> positions) {
  const std::vector<bool> kept = kept_nodes(graph, kept_gpus(graph, positions));
  Graph result;
  std::vector<int32_t> place(graph.nodes.size(), -1);  // of a node that goes: its parent's
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const int32_t parent = node.parent < 0 ? -1 : place[node.parent];
    place[i] = kept[i] ? add_node(result, node.id, node.kind, parent, node.attributes) : parent;
  }
  for (Link link : graph.links) {
    if (!kept[link.from] || !kept[link.to]) continue;
    link.from = place[link.from];
    link.to = place[link.to];
    result.links.push_back(link);
  }
  return result;
}

Graph changed(const Graph& graph, std::string_view changes) {
  Graph result = graph;
  for (size_t at = 0; at <= changes.size();) {
    const size_t end = std::min(changes.find_first_of(",;", at), changes.size());
    apply(result, trimmed(changes.substr(at, end - at)));
    at = end + 1;
  }
  return result;
}

std::string change_help() {
  std::string text;
  for (const Verb& verb : kVerbs) text += fmt::format("  {:<31} {}\n", verb.form, verb.doc);
  return text;
}

}  // namespace tutti::topology
