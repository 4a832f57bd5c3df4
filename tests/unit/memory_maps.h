// SPDX-License-Identifier: Apache-2.0
// What the kernel and the allocator say about this process's memory.
#pragma once

#include <malloc.h>

#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

namespace tutti::testing {

// Over all mappings of memfds whose name holds `name`.
struct Mapped {
  size_t count = 0;
  size_t bytes = 0;     // of address space
  size_t resident = 0;  // of memory, shared pages by their share
};
inline Mapped mapped(const std::string& name) {
  Mapped sum;
  std::ifstream file("/proc/self/smaps");
  bool ours = false;
  for (std::string line; std::getline(file, line);) {
    size_t begin = 0;
    size_t end = 0;
    char dash = 0;
    std::istringstream in(line);
    if (in >> std::hex >> begin >> dash >> end && dash == '-') {
      ours = line.find("/memfd:" + name) != std::string::npos;
      if (!ours) continue;
      ++sum.count;
      sum.bytes += end - begin;
    } else if (ours && line.starts_with("Pss:")) {
      sum.resident += std::stoul(line.substr(4)) << 10;
    }
  }
  return sum;
}

// In use, of all arenas, large blocks included.
inline size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

}  // namespace tutti::testing
