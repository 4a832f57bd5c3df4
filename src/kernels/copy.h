// SPDX-License-Identifier: Apache-2.0
// Copies of one source, which every kernel falls back to.
#pragma once

#include <cstddef>

#include "src/kernels/reduce_copy.h"

namespace tutti::kernels {

// Copies the only source of the call to all its sinks, reading it from memory once.
void copy_to_sinks(const ReduceCopy& call, size_t bytes) noexcept;

}  // namespace tutti::kernels
