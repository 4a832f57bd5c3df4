// SPDX-License-Identifier: Apache-2.0
// Memory of GPUs that users ask for, found again by pointer when they free it.
#pragma once

#include <cstddef>

#include "src/device/cuda/abi.h"

namespace tutti::cuda {

// Memory of one GPU that peers can map, by a file descriptor where the GPU can, else by an IPC
// handle. Every GPU of this process that reaches the device may use it where it has a descriptor.
// Its contents are undefined. Throws UnhandledCudaError; InvalidArgument: there is no such GPU.
void* allocate_for_user(Device device, size_t bytes);
// False when `base` is not from allocate_for_user, or was freed. Kernels that use the memory must
// have ended.
bool free_for_user(void* base) noexcept;

}  // namespace tutti::cuda
