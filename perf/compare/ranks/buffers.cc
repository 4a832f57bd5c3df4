// SPDX-License-Identifier: Apache-2.0
#include "perf/compare/ranks/buffers.h"

#include <algorithm>
#include <cstring>
#include <new>

#include <sys/mman.h>

namespace tutti::compare {

void* map_private(size_t bytes, Pages pages) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  // Refused where the kernel has no huge pages: then all pages are small anyway.
  madvise(memory, bytes, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  std::memset(memory, 0, bytes);
  return memory;
}

void unmap_private(void* memory, size_t bytes) { munmap(memory, bytes); }

Table input_table(uint32_t seed, int rank) {
  Table table(kPeriod);
  for (size_t i = 0; i < kPeriod; ++i) {
    table[i] = static_cast<float>(1 + (i * 7 + static_cast<size_t>(rank) * 13 + seed) % 61);
  }
  return table;
}

Table reduced_table(uint32_t seed, int n_ranks) {
  Table sum(kPeriod, 0.0F);
  for (int rank = 0; rank < n_ranks; ++rank) {
    const Table one = input_table(seed, rank);
    for (size_t i = 0; i < kPeriod; ++i) {
      sum[i] += one[i];
    }
  }
  return sum;
}

void fill(float* buffer, const Table& table, size_t first, size_t elems) {
  for (size_t done = 0; done < elems;) {
    const size_t at = (first + done) % kPeriod;
    const size_t piece = std::min(kPeriod - at, elems - done);
    std::memcpy(buffer + done, table.data() + at, piece * sizeof(float));
    done += piece;
  }
}

size_t count_wrong(const float* buffer, const Table& table, size_t first, size_t elems) {
  size_t wrong = 0;
  for (size_t done = 0; done < elems;) {
    const size_t at = (first + done) % kPeriod;
    const size_t piece = std::min(kPeriod - at, elems - done);
    // Bytes decide for whole pieces, as values have one representation; only then elements.
    if (std::memcmp(buffer + done, table.data() + at, piece * sizeof(float)) != 0) {
      for (size_t i = 0; i < piece; ++i) {
        wrong += buffer[done + i] == table[at + i] ? 0 : 1;
      }
    }
    done += piece;
  }
  return wrong;
}

}  // namespace tutti::compare
