// SPDX-License-Identifier: Apache-2.0
// Asks the driver only where TUTTI_DEVICE does not say it: programs on memory of the host need not
// start one.
#include "src/api/nccl/device.h"

#include <numeric>

#include <spdlog/fmt/fmt.h>

#include "src/api/config.h"
#include "src/api/nccl/translate.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "tutti/tutti.h"

namespace tutti::nccl {
namespace {

bool is_chosen_by_user() { return !variable("TUTTI_DEVICE").empty(); }

}  // namespace

int device_of_thread() {
  static_assert(kHostDevice == TUTTI_DEVICE_HOST && kCurrentDevice == TUTTI_DEVICE_CURRENT);
  if (is_chosen_by_user()) {
    const int device = config_from_environment().local.device;
    return device == kCurrentDevice ? api::thread_device() : device;
  }
  if (api::gpu_count() == 0) return TUTTI_DEVICE_HOST;
  const int current = api::thread_device();
  return current >= 0 ? current : 0;
}

std::vector<int> devices_of_all(int ndev, const int* devlist) {
  if (is_chosen_by_user() || ndev < 1 || api::gpu_count() == 0) return {};
  if (devlist != nullptr) return {devlist, devlist + ndev};
  if (ndev > api::gpu_count()) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("ndev is {} and devlist is NULL, but there are {} GPUs; pass devlist, "
                            "or set TUTTI_DEVICE=host for communicators of the host",
                            ndev, api::gpu_count()));
  }
  std::vector<int> devices(static_cast<size_t>(ndev));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}

}  // namespace tutti::nccl
