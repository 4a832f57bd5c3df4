// SPDX-License-Identifier: Apache-2.0
// Maps the memory of a mirror.
#include "transport/network/mirror.h"

#include <string>

#include <sys/mman.h>

#include "src/base/error.h"

namespace tutti::transport::network {

Mirror::Mirror(const FifoLayout& layout) : layout_(layout) {
  void* memory = ::mmap(nullptr, layout.total_bytes(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error(StatusCode::kSystemError,
                "no memory for a connection of " + std::to_string(layout.total_bytes()) + " bytes");
  }
  base_ = static_cast<std::byte*>(memory);
}

Mirror::~Mirror() { ::munmap(base_, layout_.total_bytes()); }

}  // namespace tutti::transport::network
