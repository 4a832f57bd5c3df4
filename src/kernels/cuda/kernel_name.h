// SPDX-License-Identifier: Apache-2.0
// Names of kernels that are compiled once per data type.
#pragma once

#ifndef TUTTI_KERNEL_DTYPE
#error "the build gives the data type: -DTUTTI_KERNEL_DTYPE=kFloat32"
#endif
#define TUTTI_KERNEL_JOIN_2(prefix, id) prefix##_##id
#define TUTTI_KERNEL_JOIN(prefix, id) TUTTI_KERNEL_JOIN_2(prefix, id)
// The kernel prefix_<dtype>, e.g. tutti_nvls_kFloat32. The name is expanded before it is pasted.
#define TUTTI_DTYPE_KERNEL(prefix, Args, threads, blocks) \
  TUTTI_DTYPE_KERNEL_2(TUTTI_KERNEL_JOIN(prefix, TUTTI_KERNEL_DTYPE), Args, threads, blocks)
#define TUTTI_DTYPE_KERNEL_2(name, Args, threads, blocks) \
  TUTTI_KERNEL_BOUNDS(name, Args, threads, blocks)
