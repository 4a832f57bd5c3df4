// SPDX-License-Identifier: Apache-2.0
// The one loop that makes progress: drives works of any number of communicators on the calling
// thread until all have ended.
#pragma once

#include <span>

namespace tutti::comm {

class Work;

// Waits on the communicator's bell when all works are of one, else naps. Failures are in each
// work's error().
void drive(std::span<Work* const> works) noexcept;

}  // namespace tutti::comm
