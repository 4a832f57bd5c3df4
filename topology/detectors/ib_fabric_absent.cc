// SPDX-License-Identifier: Apache-2.0
// Stands in for ib_fabric.cc where its headers were missing when the library was built.
#include "topology/detectors/ib_fabric.h"

namespace tutti::topology {

Report add_ib_fabric(const Report& host) {
  Report report = host;
  report.notes.push_back(
      {"fabric",
       "the InfiniBand fabric is left out: built without the headers of libibnetdisc "
       "(Debian: libibnetdisc-dev, libibmad-dev and libibumad-dev)"});
  return report;
}

}  // namespace tutti::topology
