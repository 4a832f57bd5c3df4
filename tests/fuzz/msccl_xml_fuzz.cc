// SPDX-License-Identifier: Apache-2.0
// MSCCL schedules as XML, from the text to the verdict.
#include "tests/fuzz/plan_properties.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  const auto plan = accepted([&] { return plan::from_msccl_xml(input, "schedule"); });
  if (plan) check_plan(*plan);
}

std::vector<std::string> seeds() {
  std::vector<std::string> texts;
  for (const plan::Plan& plan : small_plans()) {
    if (auto text = accepted([&] { return plan::to_msccl_xml(plan); }))
      texts.push_back(std::move(*text));
  }
  return texts;
}

}  // namespace tutti::fuzz
