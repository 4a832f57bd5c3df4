// SPDX-License-Identifier: Apache-2.0
// The instruction mix of a call, counted while it runs step by step.
#pragma once

#include <cstddef>
#include <functional>

namespace tutti::perf {

// Moves between memory and registers are not counted: they are what a stream does too.
struct VectorInstructions {
  double total = 0;
  double convert = 0;  // between float formats; part of the total, as all below
  double divide_float = 0;
  double divide_double = 0;
};

// False where the processor can't be stepped.
bool count_instructions(const std::function<void()>& call, VectorInstructions* counted);

}  // namespace tutti::perf
