// SPDX-License-Identifier: Apache-2.0
// Files of routings for moe_perf, from the text to the tables of ranks.
#include <algorithm>
#include <optional>
#include <stdexcept>

#include "perf/moe/routes.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

constexpr int kTopK = 4;
constexpr int kExperts = 16;

using Lines = std::vector<std::vector<int64_t>>;

std::optional<Lines> parsed(std::string_view text) {
  try {
    return moe_perf::parse_routes(text, kTopK, kExperts);
  } catch (const std::invalid_argument& error) {
    require(*error.what() != '\0', "a refusal says why");
    return std::nullopt;
  }
}

std::string written(const Lines& lines) {
  std::string text;
  for (const auto& line : lines) {
    for (const int64_t expert : line) text += std::to_string(expert) + " ";
    text += "\n";
  }
  return text;
}

}  // namespace

void run(std::string_view input) {
  const std::optional<Lines> lines = parsed(input);
  if (!lines.has_value()) return;
  require(!lines->empty(), "there is a token");
  require(parsed(written(*lines)) == lines, "what is written is read back equal");
  for (const int rank : {0, 3}) {
    const auto table = moe_perf::replayed(
        *lines, {.tokens = 7, .k = kTopK, .experts = kExperts, .rank = rank, .n_ranks = 4});
    require(table.size() == size_t{7} * kTopK, "k experts for each token");
    require(std::all_of(table.begin(), table.end(),
                        [](int64_t expert) { return expert >= -1 && expert < kExperts; }),
            "every expert is one");
  }
}

std::vector<std::string> seeds() {
  return {"0 1 2 3\n4 5\n", "# nothing\n1,2,3\r\n\n  7\t8 # two\n", "-1 -1 3\n15\n", "0"};
}

}  // namespace tutti::fuzz
