// SPDX-License-Identifier: Apache-2.0
// Holds every kernel against what memory allows, and the slower ones against what the core allows.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace tutti::perf {

struct JudgeOptions {
  std::vector<size_t> sizes;  // bytes per buffer
  int rounds = 7;
  std::string filter;  // only cases whose name contains it
};

// Prints one line per case. True when each reaches 0.85 of the stream of the same bytes and shape,
// or 0.85 of the rate of its own instructions, these from the first-level cache.
bool judge(const JudgeOptions& options);

}  // namespace tutti::perf
