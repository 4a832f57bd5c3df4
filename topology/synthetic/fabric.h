// SPDX-License-Identifier: Apache-2.0
// Networks that join the NICs of equal boxes.
#pragma once

#include <cstdint>

#include "topology/graph.h"

namespace tutti::topology {

struct Fabric {
  enum class Kind : uint8_t {
    kDefault,    // none for one box, rails for several
    kRail,       // one switch "railR" for each rail
    kFlat,       // one switch "switch0"
    kFatTree,    // NICs in order fill leaf switches "leafL", which spines "spineS" join
    kRailSpine,  // each rail has leaves of its own, "railR" or "railR-leafL"; spines join all
  };
  Kind kind = Kind::kDefault;
  int64_t leaf_ports = 0;  // of a leaf switch, down; 0: a leaf per box, or per rail
  int64_t spines = 1;
  // What a leaf's ports down carry together, by what its uplinks carry: a fraction.
  int64_t oversubscription = 1;
  int64_t oversubscription_divisor = 1;
  bool sharp = false;  // switches reduce and multicast

  bool has_spines() const { return kind == Kind::kFatTree || kind == Kind::kRailSpine; }
};

// `box` must be rooted at a machine and have NICs, all of one speed, each with a rail from 0. The
// result's root is a cluster node "cluster"; machine M becomes "M0", "M1", ... and its part P
// "M0/P". Each leaf has one link to each spine, all of them equal. Throws InvalidArgument when
// those do not come out as whole Mbit/s, or when there are too many.
Graph build_cluster(const Graph& box, int64_t boxes, const Fabric& fabric);

}  // namespace tutti::topology
