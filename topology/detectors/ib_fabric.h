// SPDX-License-Identifier: Apache-2.0
// Explores the InfiniBand subnets that this host is on, with libibnetdisc.
#pragma once

#include "topology/report.h"

namespace tutti::topology {

// `host` joined with the fabric (topology/fabric.h), or `host` with a note that says why there is
// none. Sends management packets from the first active port of each subnet, which takes the right
// to open /dev/infiniband/umad*: root, as a rule. libibnetdisc.so.5 is opened at run time.
Report add_ib_fabric(const Report& host);

}  // namespace tutti::topology
