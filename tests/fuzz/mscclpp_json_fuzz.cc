// SPDX-License-Identifier: Apache-2.0
// MSCCL++ plans as JSON, from the text to the verdict.
#include "src/plan/mscclpp_json.h"
#include "tests/fuzz/plan_properties.h"
#include "tests/support/mscclpp_plan.h"

namespace tutti::fuzz {

void run(std::string_view input) {
  plan::is_mscclpp_json(input);
  const auto plan = accepted([&] { return plan::from_mscclpp_json(input, "plan"); });
  if (plan) check_plan(*plan);
}

std::vector<std::string> seeds() {
  using testing::MscclppPlan;
  return {
      testing::mscclpp_all_gather(2).text(),
      testing::mscclpp_all_reduce(2).text(),
      testing::mscclpp_all_reduce(3).text(),
      MscclppPlan(
          "allgather", true,
          {"gpu 1 2 0", "mem 1", "port 1", "remote 1o", "sem 0", "tb", "pws o0 > r0:0 ch0 port",
           "wait ch0 port", "sem_release sem0", "barrier bar0/2", "tb", "sem_acquire sem0",
           "barrier bar0/2",  //
           "gpu 1 2 0", "port 0", "remote 0o", "tb", "pws o1 > r0:1 ch0 port", "wait ch0 port"})
          .text(),
  };
}

}  // namespace tutti::fuzz
