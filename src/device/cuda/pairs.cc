// SPDX-License-Identifier: Apache-2.0
// Questions to the driver about two GPUs.
#include "src/device/cuda/pairs.h"

#include "src/device/cuda/driver.h"

namespace tutti::cuda {

bool reaches(Device from, Device to) noexcept {
  if (from == to) return true;
  const Driver* const cuda = find_driver();
  int can = 0;
  return cuda != nullptr && cuda->cuDeviceCanAccessPeer(&can, from, to) == Result::kSuccess &&
         can != 0;
}

bool linked_by_nvlink(Device from, Device to) noexcept {
  const Driver* const cuda = find_driver();
  int native = 0;
  return cuda != nullptr &&
         cuda->cuDeviceGetP2PAttribute(&native, P2pAttribute::kNativeAtomicSupported, from, to) ==
             Result::kSuccess &&
         native != 0;
}

}  // namespace tutti::cuda
