// SPDX-License-Identifier: Apache-2.0
// Reads /proc/self/smaps_rollup.
#include "src/base/process_memory.h"

#include <fstream>
#include <sstream>
#include <string>

namespace tutti {

std::optional<uint64_t> private_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  uint64_t kib = 0;
  bool found = false;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Private_")) continue;
    std::istringstream fields(line);
    std::string name;
    uint64_t value = 0;
    if (fields >> name >> value) {
      kib += value;
      found = true;
    }
  }
  return found ? std::optional(kib * 1024) : std::nullopt;
}

}  // namespace tutti
