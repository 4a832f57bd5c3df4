// SPDX-License-Identifier: Apache-2.0
// Asks the system for cores. A simulation puts its own in place of this file.
#include <sched.h>

#include "src/base/cores.h"

namespace tutti {

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
