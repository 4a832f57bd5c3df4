// SPDX-License-Identifier: Apache-2.0
// Time that passes only as a test says, and a little each time that somebody looks. Programs that
// take transport_virtual_time.cc have it in place of the system's.
#pragma once

#include <cstdint>
#include <functional>

namespace tutti::transport::testing {

void pass_time(int64_t ns) noexcept;
// What the rest of the world does while somebody sleeps; called once per sleep.
void while_asleep(std::function<void()> others);

}  // namespace tutti::transport::testing
