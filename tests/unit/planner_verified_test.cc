// SPDX-License-Identifier: Apache-2.0
// Every plan of the algorithm table is accepted by the verifier, and what it finds is what the
// algorithms' comments promise.
#include <algorithm>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "src/planner/planner.h"

namespace tutti::planner {
namespace {

class VerifiedAlgorithm : public testing::TestWithParam<size_t> {
 protected:
  const AlgorithmRow& row() const { return algorithm_table()[GetParam()]; }
  std::string name() const { return row().name; }
  bool is(plan::Collective collective, const char* algorithm) const {
    return row().collective == collective && name() == algorithm;
  }
};

std::string describe(const PlanRequest& r) {
  return std::to_string(r.n_ranks) + " ranks, root " + std::to_string(r.root) + ", channels " +
         std::to_string(r.channels);
}

bool safe_everywhere(const verify::Verdict& verdict, bool in_place) {
  return std::all_of(verdict.connections.begin(), verdict.connections.end(),
                     [&](const verify::ConnectionVerdict& c) {
                       return in_place ? c.reference_safe_in_place : c.reference_safe_out_of_place;
                     });
}

TEST_P(VerifiedAlgorithm, OneToSixteenRanks_AllRoots_Accepted) {
  const bool uses_channels = name() == "ring" || name() == "tree";
  for (int32_t n = 1; n <= 16; ++n) {
    for (int32_t root = 0; root < (plan::has_root(row().collective) ? n : 1); ++root) {
      for (int32_t channels = 1; channels <= (uses_channels && n <= 8 ? 2 : 1); ++channels) {
        const PlanRequest request{row().collective, n, root, channels};
        if (!row().supports(request)) continue;
        const verify::Verdict verdict = verify::verify(row().build(request));
        ASSERT_TRUE(verdict.accepted) << describe(request) << ": " << verdict.reason;
        EXPECT_LE(verdict.min_slots, 2) << describe(request);
      }
    }
  }
}

// Out of place nothing that may travel by reference is overwritten; in place these two AllReduces
// overwrite inputs that others may still read (an operation without scaling ignores `pre`, so its
// inputs do travel by reference).
TEST_P(VerifiedAlgorithm, References_SafeWhereDocumented) {
  const bool in_place = !is(plan::Collective::kAllReduce, "recursive_doubling") &&
                        !is(plan::Collective::kAllReduce, "one_shot");
  for (const int32_t n : {2, 4, 7}) {
    const PlanRequest request{row().collective, n, 0, 1};
    if (!row().supports(request)) continue;
    const verify::Verdict verdict = verify::verify(row().build(request));
    ASSERT_TRUE(verdict.accepted) << verdict.reason;
    EXPECT_TRUE(safe_everywhere(verdict, false)) << describe(request);
    EXPECT_EQ(safe_everywhere(verdict, true), in_place) << describe(request);
  }
}

// Algorithms that every reduction of deterministic mode can rely on.
TEST_P(VerifiedAlgorithm, FoldOrder_OneStepInRankOrderWhereDocumented) {
  const bool reduces = plan::reduces(row().collective);
  const bool once = !reduces || name() == "one_shot" || name() == "two_shot";
  for (const int32_t n : {1, 2, 3, 4, 8, 16, 24}) {
    const PlanRequest request{row().collective, n, plan::has_root(row().collective) ? n / 2 : 0, 1};
    if (!row().supports(request)) continue;
    const verify::Verdict verdict = verify::verify(row().build(request));
    ASSERT_TRUE(verdict.accepted) << verdict.reason;
    if (once || n == 1) {
      EXPECT_EQ(verdict.fold_order, verify::FoldOrder::kInOrderOnce) << describe(request);
    } else if (n >= 4) {
      EXPECT_EQ(verdict.fold_order, verify::FoldOrder::kAny) << describe(request);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, VerifiedAlgorithm,
                         testing::Range<size_t>(0, algorithm_table().size()), [](const auto& info) {
                           const AlgorithmRow& row = algorithm_table()[info.param];
                           return std::string(plan::name(row.collective)) + "_" + row.name;
                         });

}  // namespace
}  // namespace tutti::planner
