// SPDX-License-Identifier: Apache-2.0
// How close a plan comes to what its topology allows, and the proof of both, checked by code that
// shares none with the planner.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/rational.h"
#include "src/plan/plan.h"
#include "src/verify/bound.h"
#include "src/verify/placement.h"
#include "topology/graph.h"

namespace tutti::verify {

// Everything that the proof needs; nothing of it is believed.
//
// Times are for one unit of data per rank, an n-th of what all ranks have together, capacities in
// Mbit/s of `graph`. AllToAll: a unit is what a rank sends to all ranks, itself too, so that a
// block is an n-th of a unit. With B+(S) the capacity that leaves a set of nodes and B-(S) what
// enters it:
//   AllGather      T >= |S| / B+(S), S any set that misses a rank: what S holds must leave it
//   ReduceScatter  T >= |S| / B-(S), the same backwards
//   AllReduce      T >= 2 (p-1) n / sum of B-(P) over p disjoint parts that hold all ranks and all
//                  switches that reduce (ForestColl, arXiv 2402.06787)
//   AllToAll       T >= (sum of d(s, t) over ordered pairs of ranks) / (n sum of c(e) l(e) over
//                  links, each way), l >= 0 any lengths of links, d the distance by them: the dual
//                  of the maximum concurrent flow
struct Certificate {
  topology::Graph graph;
  plan::Plan plan;
  Placement placement;
  // Indices of nodes. One part S for AllGather and ReduceScatter, the partition for AllReduce, none
  // for AllToAll.
  std::vector<std::vector<int32_t>> parts;
  // AllToAll only: by link of the graph, forward and reverse.
  std::vector<std::array<int64_t, 2>> lengths;
};

struct CertifiedLink {
  int32_t link = 0;
  bool reverse = false;
  Rational time;  // that it is busy
};
struct CertificateVerdict : BoundVerdict {
  std::vector<CertifiedLink> busiest;  // links that take as long as the plan
};

// Verifies the plan, checks its placement, adds up what crosses each link, and works out the bound
// of the parts or lengths. Never throws for a bad certificate; that is a verdict.
CertificateVerdict check_certificate(const Certificate& certificate);

// The text of a certificate's file, which holds the topology, the plan, where it is placed, the
// parts or lengths, and the figures for people to read. certificate_from_json throws
// InvalidArgument with the place of the fault.
std::string to_json(const Certificate& certificate);
Certificate certificate_from_json(std::string_view text, const std::string& source);

}  // namespace tutti::verify
