// SPDX-License-Identifier: Apache-2.0
// Files that may be lost: where they are kept, and how they are written.
#pragma once

#include <string>
#include <string_view>

namespace tutti {

// $XDG_CACHE_HOME/tutti, else ~/.cache/tutti. Empty when there is no such folder to be named (no
// HOME).
std::string cache_folder();

// Replaces the file at once, so that no reader sees half of it, and makes its folder. Throws
// SystemError; `what` names the file for the message ("the profile").
void replace_file(const std::string& path, std::string_view text, const std::string& what);

}  // namespace tutti
