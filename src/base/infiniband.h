// SPDX-License-Identifier: Apache-2.0
// Codes of the InfiniBand architecture that verbs and the fabric's management both use.
#pragma once

namespace tutti {

// Lanes of a port, from the code of its active width; 0 when it is none.
constexpr int infiniband_lanes(unsigned active_width) noexcept {
  switch (active_width) {
    case 1:
      return 1;
    case 2:
      return 4;
    case 4:
      return 8;
    case 8:
      return 12;
    case 16:
      return 2;
    default:
      return 0;
  }
}

}  // namespace tutti
