// SPDX-License-Identifier: Apache-2.0
// Ends GPU threads that compute for ever: they never come back to the scheduler by themselves.
#pragma once

#include <cstdint>

namespace cudasim {

// Called once by the engine's thread.
void watch_engine();
// By the engine's thread, whenever it enters a GPU thread (with a number) and leaves it (0).
void note_entry(uint64_t number);

}  // namespace cudasim
