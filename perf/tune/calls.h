// SPDX-License-Identifier: Apache-2.0
// Calls of the C API by what they do, as a user's program makes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "include/tutti/tutti.h"
#include "src/plan/collective.h"

namespace tutti::command {

// Throws SystemError with the library's message.
void require(tuttiResult_t result, const char* what);

// Memory of both buffers of any rank for a call of blocks of so many bytes.
struct BufferBytes {
  size_t input = 0;
  size_t output = 0;
};
BufferBytes buffer_bytes(plan::Collective collective, int n_ranks, uint64_t block_bytes);

struct Buffers {
  void* input = nullptr;
  void* output = nullptr;
};
// float, sums. Waits until it is complete.
tuttiResult_t call(plan::Collective collective, const Buffers& buffers, size_t count, int root,
                   tuttiComm_t comm);

}  // namespace tutti::command
