// SPDX-License-Identifier: Apache-2.0
// Reads the few facts in sysfs that hwloc does not report.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "topology/detectors/hwloc_detector.h"

namespace tutti::topology {

// Paths are below the root, without a leading slash. The first line of a file; nullopt when it
// can't be opened or read (drivers refuse reads while a link is down), or there is no root.
std::optional<std::string> first_line(const SystemFiles& files, const std::string& path);
std::vector<std::string> names_in(const SystemFiles& files, const std::string& folder);  // sorted
// Where a symbolic link leads, all links resolved; "" when nowhere.
std::string link_target(const SystemFiles& files, const std::string& path);

// A number of Mbit/s, or why there is none.
struct Rate {
  int64_t mbit_s = -1;
  std::string reason;
};

// /sys/class/net/DEVICE/speed. A driver that does not know answers -1, or an error while the link
// is down.
Rate ethernet_rate(const SystemFiles& files, const std::string& device);
// /sys/class/infiniband/DEVICE/ports/PORT/rate, "200 Gb/sec (4X HDR)": the data rate.
Rate infiniband_rate(const SystemFiles& files, const std::string& device, int port);
std::vector<int> infiniband_ports(const SystemFiles& files,
                                  const std::string& device);  // ascending; empty when absent

// Network interfaces without a PCI device behind them (bridges, veth, loopback, ...), sorted.
std::vector<std::string> virtual_interfaces(const SystemFiles& files);

// CPUs' worth of time this cgroup may use, as "1.50"; "" when there is no limit.
std::string cpu_quota(const SystemFiles& files);

}  // namespace tutti::topology
