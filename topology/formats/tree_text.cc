// SPDX-License-Identifier: Apache-2.0
// Renders topology trees with box-drawing characters and readable units.
#include "topology/formats/tree_text.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/size_text.h"

namespace tutti::topology {
namespace {

// Ids and models come from files: nothing in them may move the cursor.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(),
      [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return text;
}

// Of UTF-8 text: bytes that do not continue a character.
size_t columns(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string bandwidth_text(int64_t mbit_s) {
  if (mbit_s == kUnknown) return "unknown bandwidth";
  if (mbit_s == 0) return "down";
  return fmt::format("{:.6g} GB/s", static_cast<double>(mbit_s) / kMbitPerGigabyte);
}

std::string capacity_text(const Link& link) {
  std::string text = bandwidth_text(link.forward_mbit_s);
  if (link.reverse_mbit_s != link.forward_mbit_s)
    text += ", back " + bandwidth_text(link.reverse_mbit_s);
  if (link.latency_ns != kUnknown) text += fmt::format(", {} ns", link.latency_ns);
  return text;
}

class TreePrinter {
 public:
  explicit TreePrinter(const Report& report)
      : graph_(report.graph),
        notes_(report.notes),
        children_(children(graph_)),
        link_to_parent_(graph_.nodes.size(), -1) {
    for (size_t i = 0; i < graph_.links.size(); ++i) {
      const Link& link = graph_.links[i];
      for (const auto& [child, other] :
           {std::pair(link.from, link.to), std::pair(link.to, link.from)})
        if (graph_.nodes[child].parent == other && link_to_parent_[child] < 0) {
          link_to_parent_[child] = static_cast<int32_t>(i);
          shown_.insert(i);
        }
    }
  }

  std::string print() {
    std::vector<std::string> lines = {name(0) + details(0)};
    add_children(0, lines);
    add_links(lines);
    if (!notes_.empty()) lines.emplace_back("notes:");
    for (const Note& note : notes_)
      lines.push_back(fmt::format("  {}: {}", printable(note.source), printable(note.text)));
    return fmt::format("{}\n", fmt::join(lines, "\n"));
  }

 private:
  const Attributes& attributes(int32_t node) const { return graph_.nodes[node].attributes; }
  NodeKind kind(int32_t node) const { return graph_.nodes[node].kind; }

  // The id without its machine's prefix.
  std::string name(int32_t node) const {
    std::string_view id = graph_.nodes[node].id;
    for (int32_t above = graph_.nodes[node].parent; above >= 0;
         above = graph_.nodes[above].parent) {
      const std::string_view prefix = graph_.nodes[above].id;
      if (kind(above) == NodeKind::kMachine && id.size() > prefix.size() + 1 &&
          id.starts_with(prefix) && id[prefix.size()] == '/')
        id.remove_prefix(prefix.size() + 1);
    }
    return printable(std::string(id));
  }

  std::string details(int32_t node) const {
    const Attributes& a = attributes(node);
    std::vector<std::string> words;
    const auto add_text = [&](const std::string& text) {  // unless the id says it already
      if (!text.empty() && graph_.nodes[node].id.find(text) == std::string::npos)
        words.push_back(printable(text));
    };
    const auto add_size = [&](const char* what, int64_t bytes) {
      if (bytes != kUnknown) words.push_back(what + bytes_text(bytes));
    };
    add_text(a.model);
    add_text(a.arch);
    if (kind(node) == NodeKind::kMachine) add_core_count(node, words);
    add_size("", a.memory_bytes);
    if (a.cache_level != kUnknown)
      add_size(fmt::format("L{} cache ", a.cache_level).c_str(), a.cache_bytes);
    add_size("L1d ", a.l1d_bytes);
    add_size("L2 ", a.l2_bytes);
    add_size("L3 ", a.l3_bytes);
    if (kind(node) == NodeKind::kCore && a.usable_cpus.empty())
      words.emplace_back("not usable by this process");
    add_text(a.device);
    add_text(a.verbs_device);
    add_text(a.pci_address);
    if (kind(node) == NodeKind::kNic)
      words.push_back(
          a.speed_mbit_s == kUnknown
              ? "speed unknown"
              : fmt::format("{:.6g} Gbit/s", static_cast<double>(a.speed_mbit_s) / 1000));
    if (a.level != kUnknown) words.push_back(fmt::format("level {}", a.level));
    if (a.reduces) words.emplace_back("reduces");
    if (a.multicasts) words.emplace_back("multicasts");
    if (const int32_t link = link_to_parent_[node]; link >= 0)
      words.push_back(fmt::format("{} {}", to_text(graph_.links[link].type),
                                  capacity_text(graph_.links[link])));
    return words.empty() ? "" : fmt::format(": {}", fmt::join(words, ", "));
  }

  void add_core_count(int32_t machine, std::vector<std::string>& words) const {
    int cores = 0;
    int usable = 0;
    std::vector<int32_t> stack = {machine};
    while (!stack.empty()) {
      const int32_t node = stack.back();
      stack.pop_back();
      if (kind(node) == NodeKind::kCore) {
        ++cores;
        if (!attributes(node).usable_cpus.empty()) ++usable;
      }
      stack.insert(stack.end(), children_[node].begin(), children_[node].end());
    }
    if (cores == 0) return;
    words.push_back(fmt::format("{} core{}{}", cores, cores == 1 ? "" : "s",
                                usable == cores ? "" : fmt::format(" ({} usable)", usable)));
  }

  void add_children(int32_t node, std::vector<std::string>& lines) const {
    const std::vector<int32_t>& below = children_[node];
    for (size_t i = 0; i < below.size();) {
      std::vector<std::string> block = subtree(below[i]);
      size_t next = i + 1;
      while (next < below.size() && alike(below[i], below[next], block)) ++next;
      const bool several = next - i > 1;
      block.insert(block.begin(),
                   (several ? name(below[i]) + " to " + name(below[next - 1]) : name(below[i])) +
                       details(below[i]) + (several ? ", each" : ""));
      const bool last = next == below.size();
      for (size_t l = 0; l < block.size(); ++l)
        lines.push_back((l == 0 ? (last ? "└─ " : "├─ ") : (last ? "   " : "│  ")) + block[l]);
      i = next;
    }
  }

  std::vector<std::string> subtree(int32_t node) const {
    std::vector<std::string> lines;
    add_children(node, lines);
    return lines;
  }

  // Whether two siblings are drawn as one. `first_subtree` is what is below the first.
  bool alike(int32_t first, int32_t second, const std::vector<std::string>& first_subtree) const {
    return kind(first) == kind(second) && details(first) == details(second) &&
           first_subtree == subtree(second);
  }

  void add_links(std::vector<std::string>& lines) const {
    constexpr size_t kMaxShown = 8;
    std::map<std::tuple<LinkType, int64_t, int64_t, int64_t>, std::vector<size_t>> groups;
    for (size_t i = 0; i < graph_.links.size(); ++i) {
      const Link& link = graph_.links[i];
      if (!shown_.contains(i))
        groups[{link.type, link.forward_mbit_s, link.reverse_mbit_s, link.latency_ns}].push_back(i);
    }
    if (!groups.empty()) lines.emplace_back("links, each way:");
    for (const auto& [key, members] : groups) {
      std::vector<std::string> names = pair_names(members);
      if (names.size() > kMaxShown) {
        const size_t more = names.size() - kMaxShown;
        names.resize(kMaxShown);
        names.push_back(fmt::format("and {} more", more));
      }
      add_wrapped(fmt::format("  {} {}:", to_text(std::get<LinkType>(key)),
                              capacity_text(graph_.links[members[0]])),
                  names, lines);
    }
  }

  // Each two nodes that the links join, once, with how many links it is.
  std::vector<std::string> pair_names(const std::vector<size_t>& links) const {
    std::vector<std::pair<int32_t, int32_t>> pairs;
    std::map<std::pair<int32_t, int32_t>, int> count;
    for (const size_t i : links) {
      const std::pair pair(graph_.links[i].from, graph_.links[i].to);
      if (++count[pair] == 1) pairs.push_back(pair);
    }
    std::vector<std::string> names;
    for (const auto& pair : pairs) {
      const std::string times = count[pair] > 1 ? fmt::format(" ×{}", count[pair]) : "";
      names.push_back(
          printable(graph_.nodes[pair.first].id + " ↔ " + graph_.nodes[pair.second].id + times));
    }
    return names;
  }

  static void add_wrapped(std::string line, const std::vector<std::string>& words,
                          std::vector<std::string>& lines) {
    constexpr size_t kColumns = 100;
    for (size_t i = 0; i < words.size(); ++i) {
      const std::string word = words[i] + (i + 1 < words.size() ? "," : "");
      if (columns(line) + 1 + columns(word) > kColumns) {
        lines.push_back(std::move(line));
        line = "   ";
      }
      line += ' ' + word;
    }
    lines.push_back(std::move(line));
  }

  const Graph& graph_;
  const std::vector<Note>& notes_;
  const std::vector<std::vector<int32_t>> children_;
  std::vector<int32_t> link_to_parent_;  // by node; -1: none
  std::set<size_t> shown_;               // links drawn at a node
};

}  // namespace

std::string tree_text(const Report& report) { return TreePrinter(report).print(); }

}  // namespace tutti::topology
