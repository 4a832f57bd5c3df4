// SPDX-License-Identifier: Apache-2.0
// Which GPU the communicators and the memory of a thread are of.
#pragma once

#include <vector>

namespace tutti::nccl {

// The number of a GPU, or TUTTI_DEVICE_HOST. TUTTI_DEVICE says it where it is set. Else it is as
// with NCCL, which asks cudaGetDevice: the calling thread's GPU, the first one where the thread has
// chosen none; and the host where there is no driver, or no GPU.
int device_of_thread();

// Of the ranks of ncclCommInitAll; empty: for each what TUTTI_DEVICE says, or the host. `devlist`
// NULL: the first `ndev` GPUs. Throws InvalidArgument when there are fewer.
std::vector<int> devices_of_all(int ndev, const int* devlist);

}  // namespace tutti::nccl
