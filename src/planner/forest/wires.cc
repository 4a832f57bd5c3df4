// SPDX-License-Identifier: Apache-2.0
// Takes switches out of a network.
#include "src/planner/forest/wires.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "src/planner/flow/max_flow.h"
#include "src/planner/forest/port_matching.h"

namespace tutti::planner {
namespace {

// Indices of a switch's wires, by the neighbour at the other end.
struct Ports {
  std::vector<int32_t> neighbours;
  std::vector<std::vector<size_t>> in;
  std::vector<std::vector<size_t>> out;
};

Ports ports_of(const Wires& wires, int32_t node) {
  std::map<int32_t, std::pair<std::vector<size_t>, std::vector<size_t>>> by_neighbour;
  for (size_t i = 0; i < wires.wires.size(); ++i) {
    const Wire& wire = wires.wires[i];
    if (wire.amount == 0) continue;
    if (wire.to == node) by_neighbour[wire.from].first.push_back(i);
    if (wire.from == node) by_neighbour[wire.to].second.push_back(i);
  }
  Ports ports;
  for (auto& [neighbour, both] : by_neighbour) {
    ports.neighbours.push_back(neighbour);
    ports.in.push_back(std::move(both.first));
    ports.out.push_back(std::move(both.second));
  }
  return ports;
}

int64_t total(const Wires& wires, const std::vector<size_t>& indices) {
  int64_t sum = 0;
  for (const size_t i : indices) sum += wires.wires[i].amount;
  return sum;
}

Matching guess(const Wires& wires, const Ports& ports) {
  std::vector<int64_t> in;
  std::vector<int64_t> out;
  for (const auto& indices : ports.in) in.push_back(total(wires, indices));
  for (const auto& indices : ports.out) out.push_back(total(wires, indices));
  return even_matching(in, out);
}

// Takes `amount` from the wires of `indices` in their order; calls use(index, part) for each part.
template <typename Use>
void take(const std::vector<size_t>& indices, std::vector<int64_t>* left, int64_t amount, Use use) {
  for (const size_t i : indices) {
    const int64_t part = std::min(amount, (*left)[i]);
    if (part == 0) continue;
    (*left)[i] -= part;
    amount -= part;
    use(i, part);
    if (amount == 0) return;
  }
}

// Joins `amount` of what comes in from one neighbour with what goes out to another.
void join(Wires* wires, const std::vector<size_t>& in, const std::vector<size_t>& out,
          int64_t amount) {
  std::vector<int64_t> left;
  left.reserve(wires->wires.size());
  for (const Wire& wire : wires->wires) left.push_back(wire.amount);
  std::vector<Wire> made;
  take(in, &left, amount, [&](size_t first, int64_t part) {
    take(out, &left, part, [&](size_t second, int64_t both) {
      Wire wire = wires->wires[first];
      const Wire& tail = wires->wires[second];
      wire.to = tail.to;
      wire.amount = both;
      wire.hops.insert(wire.hops.end(), tail.hops.begin(), tail.hops.end());
      made.push_back(std::move(wire));
    });
  });
  for (size_t i = 0; i < left.size(); ++i) wires->wires[i].amount = left[i];
  for (Wire& wire : made) wires->wires.push_back(std::move(wire));
}

void join_all(Wires* wires, const Ports& ports, const Matching& matching) {
  for (size_t a = 0; a < ports.neighbours.size(); ++a)
    for (size_t b = 0; b < ports.neighbours.size(); ++b)
      if (matching[a][b] > 0) join(wires, ports.in[a], ports.out[b], matching[a][b]);
}

void drop_switch(Wires* wires, int32_t node) {
  std::erase_if(wires->wires, [node](const Wire& wire) {
    return wire.amount == 0 || wire.from == node || wire.to == node;
  });
}

// As much of the pair as does no harm, by bisection.
void join_what_is_free(Wires* wires, const std::vector<size_t>& in, const std::vector<size_t>& out,
                       int64_t k) {
  int64_t good = 0;
  int64_t high = std::min(total(*wires, in), total(*wires, out));
  Wires best = *wires;
  while (good < high) {
    const int64_t middle = good + (high - good + 1) / 2;
    Wires next = *wires;
    join(&next, in, out, middle);
    if (supports_trees(next, k)) {
      good = middle;
      best = std::move(next);
    } else {
      high = middle - 1;
    }
  }
  *wires = std::move(best);
}

Wires split_pair_by_pair(const Wires& wires, int32_t node, int64_t k) {
  Wires split = wires;
  const Ports ports = ports_of(wires, node);
  const size_t n = ports.neighbours.size();
  for (size_t distance = 1; distance < n; ++distance)
    for (size_t a = 0; a < n; ++a) {
      const size_t b = (a + distance) % n;
      join_what_is_free(&split, ports.in[a], ports.out[b], k);
    }
  drop_switch(&split, node);
  return split;
}

// Few ports first: most of those have no choice.
std::vector<int32_t> switches_by_ports(const Wires& wires) {
  std::vector<std::set<int32_t>> neighbours(static_cast<size_t>(wires.n_nodes));
  for (const Wire& wire : wires.wires) {
    neighbours[wire.from].insert(wire.to);
    neighbours[wire.to].insert(wire.from);
  }
  std::vector<int32_t> order;
  for (int32_t node = wires.n_terminals; node < wires.n_nodes; ++node) order.push_back(node);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return neighbours[a].size() < neighbours[b].size();
  });
  return order;
}

}  // namespace

Wires wires_of(const FlowNetwork& network, int64_t trees, int64_t capacity) {
  __extension__ using Wide = __int128;
  Wires wires{.n_nodes = network.n_nodes(), .n_terminals = network.n_terminals, .wires = {}};
  for (const FlowNetwork::Arc& arc : network.arcs) {
    const auto amount = static_cast<int64_t>(static_cast<Wide>(arc.capacity) * trees / capacity);
    if (amount > 0) wires.wires.push_back({arc.from, arc.to, amount, {arc.hop}});
  }
  return wires;
}

bool supports_trees(const Wires& wires, int64_t k) {
  const int32_t source = wires.n_nodes;
  MaxFlow flow(wires.n_nodes + 1);
  for (const Wire& wire : wires.wires)
    if (wire.amount > 0) flow.add_arc(wire.from, wire.to, wire.amount);
  for (int32_t t = 0; t < wires.n_terminals; ++t) flow.add_arc(source, t, k);
  for (int32_t t = 0; t < wires.n_terminals; ++t)
    if (flow.run(source, t) < k * wires.n_terminals) return false;
  return true;
}

std::optional<Wires> without_switches(const Wires& wires, int64_t k) {
  Wires left = wires;
  for (const int32_t node : switches_by_ports(wires)) {
    Wires guessed = left;
    const Ports ports = ports_of(left, node);
    join_all(&guessed, ports, guess(left, ports));
    drop_switch(&guessed, node);
    left = supports_trees(guessed, k) ? std::move(guessed) : split_pair_by_pair(left, node, k);
  }
  if (!supports_trees(left, k)) return std::nullopt;
  left.n_nodes = left.n_terminals;
  return left;
}

}  // namespace tutti::planner
