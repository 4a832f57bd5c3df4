// SPDX-License-Identifier: Apache-2.0
// Plans of large clusters without their steps: levels of groups whose members all do the same, and
// what can be proved of them.
//
// A level is an AllGather among the members of each group, of what each has from the levels before:
// first of its own data, then of all that its groups so far have brought together. Its trees are
// those of one group and hold for all. ReduceScatter runs the levels last to first and their trees
// from the leaves to the roots; AllReduce does that and then an AllGather.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/rational.h"
#include "src/plan/collective.h"
#include "src/verify/bound.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::verify {

// Between members of a group.
struct LevelEdge {
  int32_t from = 0;
  int32_t to = 0;
};

// Leaves `root` and reaches every member; an edge comes after the one that reaches its beginning.
struct LevelTree {
  int32_t root = 0;
  std::vector<int32_t> edges;  // indices
};

struct Level {
  std::vector<LevelEdge> edges;
  std::vector<LevelTree> trees;                     // as many from each member
  std::vector<std::vector<int32_t>> groups;         // ranks, by member; each rank is in one
  std::vector<std::vector<std::vector<Hop>>> hops;  // by group and edge
  int32_t members() const { return static_cast<int32_t>(groups.front().size()); }
};

struct Hierarchy {
  std::vector<int32_t> node_of_rank;  // index into Graph::nodes
  std::vector<Level> levels;          // the first is run first
};

// The certificate of a hierarchy: `parts` as in verify::Certificate.
struct HierarchyCertificate {
  plan::Collective collective = plan::Collective::kAllGather;
  topology::Graph graph;
  Hierarchy hierarchy;
  std::vector<std::vector<int32_t>> parts;
};

struct HierarchyVerdict : BoundVerdict {
  std::vector<Hop> busiest;  // links that take as long as the plan
};

// Proves that after the last level every rank has every rank's data, and each of them once: that
// trees span their groups, that groups are disjoint, and that what the members of a group bring
// together is disjoint (with one bit for each pair of ranks). Then adds up the links' loads and
// works out the bound. Never throws for a bad certificate.
HierarchyVerdict check_hierarchy(const HierarchyCertificate& certificate);

// As verify::to_json and certificate_from_json of a Certificate, and to tell the two apart.
std::string to_json(const HierarchyCertificate& certificate);
HierarchyCertificate hierarchy_from_json(std::string_view text, const std::string& source);
bool is_hierarchy_json(std::string_view text);

// Chunks that cross each link, each way, when a rank's data is `chunks` chunks and AllGather is
// run; `chunks` is a multiple of the number of each level's trees per member.
std::vector<LinkLoad> link_loads(const Hierarchy& hierarchy, const topology::Graph& graph,
                                 int64_t chunks);
// The smallest such number.
int64_t chunks_per_rank(const Hierarchy& hierarchy);

}  // namespace tutti::verify
