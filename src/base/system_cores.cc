// SPDX-License-Identifier: Apache-2.0
// Asks the system for cores. A simulation puts its own in place of this file.
#include <sched.h>

#include <fstream>
#include <string>

#include "src/base/cores.h"

namespace tutti {
namespace {

constexpr size_t kUsualSecondLevelBytes = 1 << 20;
constexpr size_t kUsualLastLevelBytes = 32 << 20;

// "32768K" or "32M" in a file of /sys/devices/system/cpu; 0 where there is none.
size_t cache_bytes(int index) {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
  size_t size = 0;
  char unit = 0;
  if (!(file >> size >> unit)) return 0;
  return unit == 'K' ? size << 10 : unit == 'M' ? size << 20 : 0;
}

}  // namespace

CacheSizes cache_sizes() {
  constexpr int kSecond = 2;  // after those of the first level, for data and for instructions
  constexpr int kDeepest = 4;
  CacheSizes sizes{.second_level = kUsualSecondLevelBytes, .last_level = kUsualLastLevelBytes};
  if (const size_t bytes = cache_bytes(kSecond); bytes != 0) sizes.second_level = bytes;
  for (int index = kDeepest; index > 0; --index) {
    const size_t bytes = cache_bytes(index);
    if (bytes == 0) continue;
    sizes.last_level = bytes;
    break;
  }
  return sizes;
}

CoreSet usable_cores() {
  CoreSet cores{};
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) {
    cores[0] = 1;
    return cores;
  }
  for (size_t i = 0; i < cores.size() * 64 && i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) cores[i / 64] |= uint64_t{1} << (i % 64);
  }
  return cores;
}

}  // namespace tutti
