// SPDX-License-Identifier: Apache-2.0
// Arguments of the test kernels, for kernels and tests.
#pragma once

#include <cstdint>

#include "src/kernels/cuda/primitives.h"

struct FillArgs {
  uint32_t* to;
  uint64_t count;
  uint32_t value;
};
struct SumArgs {
  const uint32_t* from;
  uint32_t* to;
};
struct WarpSums {
  uint32_t of[32];
};
struct MessageArgs {
  uint32_t* data;
  uint32_t* flag;
  uint32_t* taken;
  uint32_t* wrong;
  uint32_t* abort;
  uint32_t rounds;
  uint32_t writes;
};
struct LineArgs {
  const tutti::gpu::Vec16* from;
  tutti::gpu::Vec16* to;
  uint32_t* wrong;
  uint32_t* abort;
  uint32_t rounds;
  uint32_t writes;
};
struct MultimemArgs {
  const tutti::gpu::Vec16* from;
  tutti::gpu::Vec16* to;
  tutti::gpu::Vec16* out;
  uint32_t* counter;
  uint32_t store;
};
struct WaitArgs {
  uint32_t* flag;
  uint32_t* answer;
  uint32_t value;
};
