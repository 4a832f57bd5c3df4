// SPDX-License-Identifier: Apache-2.0
// Plans as JSON, from the text to the verdict.
#include "tests/fuzz/plan_properties.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  if (const auto plan = accepted([&] { return plan::from_json(input); })) check_plan(*plan);
}

std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const plan::Plan& plan : small_plans()) texts.push_back(plan::to_json(plan));
  return texts;
}

}  // namespace tutti::fuzz
