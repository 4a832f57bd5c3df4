// SPDX-License-Identifier: Apache-2.0
// The grammar of synthetic lines.
#pragma once

#include <string>
#include <string_view>

#include "topology/synthetic/model.h"

namespace tutti::topology {

struct Line {
  const Model* model = nullptr;
  Options options;
};

// Throws InvalidArgument naming the word that is wrong and listing what is allowed in its place.
Line parse_line(std::string_view text);

// Throws InvalidArgument: what is wrong with a word of a line.
[[noreturn]] void refuse_word(std::string_view word, const std::string& reason);

// One line per model and key.
std::string line_help();

}  // namespace tutti::topology
