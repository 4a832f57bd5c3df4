// SPDX-License-Identifier: Apache-2.0
// What each call must yield, element by element, in plain C++.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/sim/scenario.h"

namespace tutti::sim {

// Element `index` of the input of `rank` to a call; small, and different for most arguments.
int64_t input_value(uint64_t salt, int rank, size_t index) noexcept;
void write_value(std::byte* buffer, DType dtype, size_t index, int64_t value) noexcept;
int64_t read_value(const std::byte* buffer, DType dtype, size_t index) noexcept;

// Elements of the buffers that a rank brings.
size_t input_count(const Step& step, int n_ranks, int rank) noexcept;
size_t output_count(const Step& step, int n_ranks, int rank) noexcept;

// Element `index` of the output of `rank`.
int64_t expected_value(const Step& step, uint64_t salt, int n_ranks, int rank,
                       size_t index) noexcept;

}  // namespace tutti::sim
