// SPDX-License-Identifier: Apache-2.0
// The kernels of one data type, in one module: compiled once per data type, which the build gives
// as TUTTI_KERNEL_DTYPE (kInt8, ...).
#include "src/exec/cuda/plan_kernel.h"
#include "src/kernels/cuda/reduce_copy_kernel.h"
