// SPDX-License-Identifier: Apache-2.0
// What `tutti top` says about one moment, as lines and as JSON.
#pragma once

#include <string>
#include <vector>

#include "src/trace/live.h"

namespace tutti::command {

std::vector<std::string> top_lines(const std::vector<trace::LiveComm>& comms);
std::string top_json(const std::vector<trace::LiveComm>& comms,
                     const std::vector<std::string>& warnings);

}  // namespace tutti::command
