// SPDX-License-Identifier: Apache-2.0
// Plans as JSON, from the text to the verdict.
#include "tests/fuzz/plan_properties.h"
#include "tests/support/hand_plans.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  if (const auto plan = accepted([&] { return plan::from_json(input); })) check_plan(*plan);
}

std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const plan::Plan& plan : small_plans()) texts.push_back(plan::to_json(plan));
  for (const int32_t n_ranks : {2, 3})
    texts.push_back(plan::to_json(testing::switch_all_reduce(n_ranks)));
  return texts;
}

}  // namespace tutti::fuzz
