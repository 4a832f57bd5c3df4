// SPDX-License-Identifier: Apache-2.0
// What the documents say of algorithms is true: the how-to's example works, the table of
// docs/algorithms.md is complete.
#include <fstream>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "src/planner/planner.h"
#include "tests/support/plan_interpreter.h"

namespace tutti::planner {

extern const AlgorithmRow kStarAllReduce;  // planner_howto_example.cc

namespace {

std::string read(const std::string& path) {
  std::ifstream file(std::string(TUTTI_SOURCE_DIR "/") + path);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(HowToAddAnAlgorithm, Example_IsTheOneThatIsCompiled) {
  const std::string declaration = "extern const AlgorithmRow kStarAllReduce;\n";
  std::string example = read("tests/unit/planner_howto_example.cc");
  const size_t at = example.find(declaration);
  ASSERT_NE(at, std::string::npos);
  example.erase(at, declaration.size());
  EXPECT_NE(read("docs/howto/add-an-algorithm.md").find("```cpp\n" + example + "```"),
            std::string::npos);
}

TEST(HowToAddAnAlgorithm, Example_IsVerifiedAndComputesAllReduce) {
  for (int32_t n = 1; n <= 16; ++n) {
    const auto verified = verified_plan(kStarAllReduce, {plan::Collective::kAllReduce, n});
    for (const bool in_place : {false, true}) {
      EXPECT_EQ(test::interpret(verified->plan, {.slots = 1, .in_place = in_place}), "")
          << n << " ranks";
    }
    for (const verify::ConnectionVerdict& c : verified->verdict.connections) {
      EXPECT_TRUE(c.reference_safe_out_of_place && c.reference_safe_in_place);
    }
  }
}

TEST(AlgorithmsPage, Table_HasALinePerRow) {
  const std::string page = read("docs/algorithms.md");
  for (const AlgorithmRow& row : algorithm_table()) {
    const std::string start =
        std::string("| ") + plan::name(row.collective) + " | " + row.name + " | ";
    const size_t at = page.find(start);
    ASSERT_NE(at, std::string::npos) << start;
    const std::string line = page.substr(at, page.find('\n', at) - at);
    EXPECT_NE(line.find(row.limits), std::string::npos) << line;
    EXPECT_NE(line.find(row.source), std::string::npos) << line;
    EXPECT_EQ(line.find("| uneven |") != std::string::npos, row.uneven) << line;
  }
  size_t lines = 0;
  std::istringstream stream(page);
  for (std::string line; std::getline(stream, line);) {
    lines +=
        line.find("| even |") != std::string::npos || line.find("| uneven |") != std::string::npos;
  }
  EXPECT_EQ(lines, algorithm_table().size()) << "a line names no row of the table";
}

}  // namespace
}  // namespace tutti::planner
