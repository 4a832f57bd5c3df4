// SPDX-License-Identifier: Apache-2.0
// Launches the kernels of MoE layers.
#include "src/exec/cuda/moe.h"

#include "src/exec/cuda/executor.h"
#include "src/exec/cuda/executor_state.h"

namespace tutti::exec {

bool DeviceExecutor::launch(MoeLaunch& launch) {
  const cuda::Current current(state_->gpu);
  for (const MoeKernel kernel : launch.kernels) {
    const unsigned blocks = kernel == MoeKernel::kLayOut ? 1 : launch.args.blocks;
    state_->submit({.place = state_->place_of(launch.stream),
                    .function = state_->kernels.moe(kernel),
                    .blocks = blocks,
                    .call = launch.call},
                   launch.args.team.watch, &launch.args);
  }
  return !state_->place_of(launch.stream).capture;
}

}  // namespace tutti::exec
