// SPDX-License-Identifier: Apache-2.0
// What links of a named technology carry each way, in Mbit/s.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tutti::topology {

// InfiniBand data rate: the signalling rate less the line code (8b/10b up to QDR, 64b/66b from
// FDR10) and, from HDR, the forward error correction. `speed` is SDR to XDR as the tools print it.
// kUnknown for a speed or a number of lanes (1, 2, 4, 8, 12) that does not exist.
int64_t infiniband_mbit_s(int64_t lanes, std::string_view speed);
std::string infiniband_speed_names();  // "SDR, DDR, ..." for messages

// PCIe generation 1 to 6 after line code, before packet headers, as hwloc counts it; else kUnknown.
int64_t pcie_mbit_s(int64_t generation, int64_t lanes);

}  // namespace tutti::topology
