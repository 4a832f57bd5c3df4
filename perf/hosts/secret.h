// SPDX-License-Identifier: Apache-2.0
// Fresh secrets of a job.
#pragma once

#include <string>

namespace tutti::command {

std::string random_secret();  // 32 random bytes in hexadecimal. Throws SystemError.

}  // namespace tutti::command
