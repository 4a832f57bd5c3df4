// SPDX-License-Identifier: Apache-2.0
// Tables of link rates.
#include "topology/link_rates.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "topology/graph.h"

namespace tutti::topology {
namespace {

struct InfinibandSpeed {
  std::string_view name;
  int64_t mbit_s_of_4_lanes;
};
// Signalling per lane in Gbaud: 2.5, 5, 10, 10.3125, 14.0625, 25.78125, 53.125, 106.25, 212.5.
constexpr InfinibandSpeed kInfinibandSpeeds[] = {
    {"SDR", 8'000},   {"DDR", 16'000},  {"QDR", 32'000},  {"FDR10", 40'000}, {"FDR", 54'545},
    {"EDR", 100'000}, {"HDR", 200'000}, {"NDR", 400'000}, {"XDR", 800'000}};
constexpr int64_t kInfinibandLanes[] = {1, 2, 4, 8, 12};

struct PcieGeneration {
  int64_t mbaud;  // of one lane
  int64_t data;   // units of data in `line` units on the wire
  int64_t line;
};
constexpr PcieGeneration kPcie[] = {{2'500, 8, 10},     {5'000, 8, 10},     {8'000, 128, 130},
                                    {16'000, 128, 130}, {32'000, 128, 130}, {64'000, 236, 256}};

}  // namespace

int64_t infiniband_mbit_s(int64_t lanes, std::string_view speed) {
  const auto* found = std::find_if(std::begin(kInfinibandSpeeds), std::end(kInfinibandSpeeds),
                                   [speed](const InfinibandSpeed& s) { return s.name == speed; });
  const bool lanes_exist = std::find(std::begin(kInfinibandLanes), std::end(kInfinibandLanes),
                                     lanes) != std::end(kInfinibandLanes);
  if (found == std::end(kInfinibandSpeeds) || !lanes_exist) return kUnknown;
  return found->mbit_s_of_4_lanes * lanes / 4;
}

std::string infiniband_speed_names() {
  std::vector<std::string_view> names;
  for (const InfinibandSpeed& speed : kInfinibandSpeeds) names.push_back(speed.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

int64_t pcie_mbit_s(int64_t generation, int64_t lanes) {
  constexpr int64_t kMaxLanes = 32;
  const bool exists = generation >= 1 && generation <= static_cast<int64_t>(std::size(kPcie)) &&
                      lanes >= 1 && lanes <= kMaxLanes;
  if (!exists) return kUnknown;
  const PcieGeneration& row = kPcie[generation - 1];
  return lanes * row.mbaud * row.data / row.line;
}

}  // namespace tutti::topology
