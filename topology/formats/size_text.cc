// SPDX-License-Identifier: Apache-2.0
// Picks the unit in which a size is short.
#include "topology/formats/size_text.h"

#include <array>
#include <cstddef>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology {

std::string bytes_text(int64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.4g} {}", value, kUnits[unit]);
}

}  // namespace tutti::topology
