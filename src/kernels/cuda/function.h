// SPDX-License-Identifier: Apache-2.0
// How a function is marked that runs on the GPU, and a loop that shall be unrolled: an array that
// is indexed by an unrolled loop lies in registers.
#pragma once

#ifdef __CUDACC__
#define TUTTI_GPU __device__ __forceinline__
#define TUTTI_UNROLL _Pragma("unroll")
#define TUTTI_NO_UNROLL _Pragma("unroll 1")
#else
#define TUTTI_GPU inline
#define TUTTI_UNROLL
#define TUTTI_NO_UNROLL
#endif
