// SPDX-License-Identifier: Apache-2.0
// What the driver says of one GPU and another.
#pragma once

#include "src/device/cuda/abi.h"

namespace tutti::cuda {

// `from` uses the memory of `to` without going through the host's: over NVLink or PCIe, or it is
// the same GPU. False without a driver, as below.
bool reaches(Device from, Device to) noexcept;
// NVLink leads from one to the other: atomics go natively over it alone.
bool linked_by_nvlink(Device from, Device to) noexcept;

}  // namespace tutti::cuda
