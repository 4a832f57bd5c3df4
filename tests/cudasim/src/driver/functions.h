// SPDX-License-Identifier: Apache-2.0
// What a handle of a kernel's function points to.
#pragma once

#include <cstdint>
#include <string>

#include <cudasim/kernel_abi.h>

#include "src/device/cuda/abi.h"
#include "tests/cudasim/src/occupancy.h"

namespace tutti::cuda {

struct FunctionObject {
  std::string name;
  const cudasim::KernelDescriptor* kernel = nullptr;
  uint32_t most_shared = cudasim::kSharedPerBlock;  // of dynamic shared memory

  uint32_t max_threads() const {
    return kernel->max_threads != 0 ? kernel->max_threads : cudasim::kMaxThreadsPerBlock;
  }
};

}  // namespace tutti::cuda
