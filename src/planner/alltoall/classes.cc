// SPDX-License-Identifier: Apache-2.0
// Colour refinement: nodes of one colour are told apart by the colours around them until nothing
// changes.
#include "src/planner/alltoall/classes.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "src/base/hash.h"

namespace tutti::planner {
namespace {

// An arc as one of its ends sees it: whether it leaves, its capacity and colour, the colour of the
// other end.
using Sight = std::tuple<bool, int64_t, int32_t, int32_t>;
struct Look {
  int32_t colour = 0;
  std::vector<Sight> sights;  // sorted
  auto operator<=>(const Look&) const = default;
};

std::vector<Look> looks_of(const FlowNetwork& network, const std::vector<int32_t>& arc_colours,
                           const std::vector<int32_t>& colours) {
  std::vector<Look> looks(colours.size());
  for (size_t node = 0; node < colours.size(); ++node) looks[node].colour = colours[node];
  for (size_t i = 0; i < network.arcs.size(); ++i) {
    const FlowNetwork::Arc& arc = network.arcs[i];
    looks[arc.from].sights.emplace_back(true, arc.capacity, arc_colours[i], colours[arc.to]);
    looks[arc.to].sights.emplace_back(false, arc.capacity, arc_colours[i], colours[arc.from]);
  }
  for (Look& look : looks) std::ranges::sort(look.sights);
  return looks;
}

uint64_t hash_of(const Look& look, int32_t count) {
  Hasher hash;
  hash.value(look.colour);
  hash.value(count);
  for (const auto& [leaves, capacity, arc_colour, colour] : look.sights) {
    hash.value(leaves);
    hash.value(capacity);
    hash.value(arc_colour);
    hash.value(colour);
  }
  return hash.finish();
}

// New colours by the order of looks, so that they do not depend on how nodes are numbered. Returns
// how many there are.
int32_t recolour(const std::vector<Look>& looks, std::vector<int32_t>* colours,
                 std::vector<uint64_t>* trace) {
  std::vector<int32_t> order(looks.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  std::ranges::sort(order, [&](int32_t a, int32_t b) { return looks[a] < looks[b]; });
  int32_t colour = -1;
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    ++colour;
    for (; end < order.size() && looks[order[end]] == looks[order[i]]; ++end)
      (*colours)[order[end]] = colour;
    trace->push_back(hash_of(looks[order[i]], static_cast<int32_t>(end - i)));
    i = end;
  }
  return colour + 1;
}

void classify_arcs(const FlowNetwork& network, const std::vector<int32_t>& colours,
                   Classes* classes) {
  using Key = std::tuple<int32_t, int32_t, int64_t, int32_t>;
  const auto key_of = [&](size_t i) {
    const FlowNetwork::Arc& arc = network.arcs[i];
    return Key{classes->node[arc.from], classes->node[arc.to], arc.capacity, colours[i]};
  };
  std::map<Key, int32_t> numbers;
  for (size_t i = 0; i < network.arcs.size(); ++i) numbers.try_emplace(key_of(i), 0);
  for (auto& [key, number] : numbers) number = classes->n_arc_classes++;
  for (size_t i = 0; i < network.arcs.size(); ++i) classes->arc.push_back(numbers.at(key_of(i)));
}

}  // namespace

Classes classes_of(const FlowNetwork& network, const std::vector<int32_t>& colours, int32_t apart) {
  Classes classes;
  classes.node.assign(static_cast<size_t>(network.n_nodes()), 0);
  for (int32_t t = 0; t < network.n_terminals; ++t) classes.node[t] = t == apart ? 2 : 1;
  for (int32_t before = 0;; before = classes.n_node_classes) {
    classes.n_node_classes =
        recolour(looks_of(network, colours, classes.node), &classes.node, &classes.trace);
    if (classes.n_node_classes == before) break;
  }
  classify_arcs(network, colours, &classes);
  return classes;
}

}  // namespace tutti::planner
