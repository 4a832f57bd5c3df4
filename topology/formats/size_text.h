// SPDX-License-Identifier: Apache-2.0
// Sizes of memory for people, as trees and pictures write them.
#pragma once

#include <cstdint>
#include <string>

namespace tutti::topology {

std::string bytes_text(int64_t bytes);  // "23.54 GiB", with four digits at most

}  // namespace tutti::topology
