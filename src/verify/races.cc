// SPDX-License-Identifier: Apache-2.0
// Looks at each location's accesses pair by pair; in different tiles they never meet (see
// happens_before.h).
#include "src/verify/races.h"

#include <spdlog/fmt/fmt.h>

#include "src/verify/symbolic.h"

namespace tutti::verify {
namespace {

using plan::Operand;

std::string describe_access(const Network& network, const Access& access) {
  const Node& node = network.nodes[access.node];
  return fmt::format("{} {} extent {}", describe(node), access.writes ? "writes" : "reads",
                     node.code->extent);
}

// What the location is called by the step that accesses it.
std::string describe_chunk(const Network& network, const Layout& layout, uint32_t location,
                           NodeId id) {
  const Node& node = network.nodes[id];
  for (const auto* operands : {&node.code->sinks, &node.code->sources})
    for (const Operand& operand : *operands)
      if (operand.kind == Operand::Kind::kChunk && layout.location(node.rank, operand) == location)
        return fmt::format("{}[{}]", plan::name(operand.buffer), operand.index);
  return "?";
}

// May the message of this step stand for a chunk that stays where it is? Scratch and reduced values
// are bytes. `pre` and `post` do nothing in most operations, so a scaled source counts: a verdict
// has to hold for every operation.
bool carries_reference(const plan::Step& step) {
  if (step.extent == plan::kNoExtent || step.sources.size() != 1) return false;
  const Operand& source = step.sources[0];
  return source.kind == Operand::Kind::kChunk && source.buffer != plan::Buffer::kScratch;
}

}  // namespace

Accesses accesses_of(const Network& network, const std::vector<NodeId>& order,
                     const Layout& layout) {
  Accesses accesses(layout.count());
  for (const NodeId id : order) {
    const Node& node = network.nodes[id];
    for (const Operand& source : node.code->sources)
      if (source.kind == Operand::Kind::kChunk)
        accesses[layout.location(node.rank, source)].push_back({id, false});
    for (const Operand& sink : node.code->sinks)
      if (layout.changes(node.rank, *node.code, sink))
        accesses[layout.location(node.rank, sink)].push_back({id, true});
  }
  return accesses;
}

Rejection check_races(const Network& network, const Accesses& accesses, const Layout& layout,
                      Mode mode, HappensBefore& order) {
  auto extent = [&](const Access& a) { return network.nodes[a.node].code->extent; };
  for (uint32_t location = 0; location < accesses.size(); ++location) {
    const std::vector<Access>& list = accesses[location];
    for (size_t i = 0; i < list.size(); ++i) {
      for (size_t j = i + 1; j < list.size(); ++j) {
        const Access& a = list[i];
        const Access& b = list[j];
        if (a.node == b.node || !(a.writes || b.writes)) continue;
        if (order.before(a.node, b.node, extent(a), extent(b))) continue;
        return fmt::format(
            "race, {}: {} of rank {}, every tile: {}, {}; expected one to happen before the other, "
            "got "
            "no order by lanes, waits, signals or messages of these extents",
            name(mode), describe_chunk(network, layout, location, a.node),
            network.nodes[a.node].rank, describe_access(network, a), describe_access(network, b));
      }
    }
  }
  return std::nullopt;
}

bool is_reference_safe(const Network& network, const Connection& connection, const Layout& layout,
                       const Accesses& accesses, HappensBefore& order) {
  for (size_t i = 0; i < connection.sends.size(); ++i) {
    const NodeId sender = connection.sends[i];
    const Node& node = network.nodes[sender];
    if (!carries_reference(*node.code)) continue;
    const int32_t extent = node.code->extent;
    for (const Access& access : accesses[layout.location(node.rank, node.code->sources[0])]) {
      if (!access.writes || order.before(access.node, sender, extent, extent)) continue;
      if (!order.before(connection.receives[i], access.node, extent, extent)) return false;
    }
  }
  return true;
}

Rejection check_barrier(const Network& network, const std::vector<NodeId>& order) {
  const int32_t n_ranks = network.plan->shape.n_ranks;
  std::vector<RankSet> started(network.nodes.size(),
                               RankSet(n_ranks));  // ranks known to have started
  std::vector<RankSet> at_end(n_ranks, RankSet(n_ranks));
  for (const NodeId id : order) {
    const Node& node = network.nodes[id];
    RankSet& known = started[id];
    known.insert(node.rank);
    if (node.step > 0) known |= started[id - 1];
    for (const plan::Wait& wait : node.code->waits)
      known |= started[network.node_of(node.rank, wait.lane, wait.step)];
    for (const Port& port : node.receives)
      known |= started[network.connections[port.connection].sends[port.message]];
    at_end[node.rank] |= known;
  }
  for (int32_t rank = 0; rank < n_ranks; ++rank) {
    at_end[rank].insert(rank);
    if (at_end[rank].size() == n_ranks) continue;
    return fmt::format(
        "barrier: rank {}: expected its end after the start of every rank, got only {}", rank,
        at_end[rank].to_string());
  }
  return std::nullopt;
}

}  // namespace tutti::verify
