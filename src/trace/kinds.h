// SPDX-License-Identifier: Apache-2.0
// What the kinds of calls in a recording are called and how many bytes they stand for.
#pragma once

#include <cstdint>

#include "src/trace/record.h"

namespace tutti::trace {

// "AllReduce", "Send"; "?" for what is no kind.
const char* kind_name(uint8_t kind) noexcept;
// What is called so; -1: nothing.
int kind_of_name(const char* name) noexcept;

struct CallSize {
  uint8_t kind = 0;
  uint8_t flags = 0;
  uint8_t dtype = 0;
  uint64_t count = 0;
};
bool moves_data(uint8_t kind) noexcept;
// Collectives whose count is that of one block of n.
bool counts_blocks(uint8_t kind) noexcept;
// As bandwidth tests count them: the size of the whole operation.
uint64_t payload_bytes(const CallSize& call, int n_ranks) noexcept;

}  // namespace tutti::trace
