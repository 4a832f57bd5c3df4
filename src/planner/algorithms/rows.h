// SPDX-License-Identifier: Apache-2.0
// The algorithm table. To add an algorithm: one file here and one row below
// (docs/howto/add-an-algorithm.md).
#pragma once

#include "src/planner/planner.h"

// In this order; where two cost the same, the first is chosen.
// clang-format off
#define TUTTI_ALGORITHM_ROWS(X) \
  X(kOneShotAllReduce) \
  X(kTwoShotAllReduce) \
  X(kRingAllReduce) \
  X(kTreeAllReduce) \
  X(kHalvingDoublingAllReduce) \
  X(kRecursiveDoublingAllReduce) \
  X(kSwingAllReduce) \
  X(kBineAllReduce) \
  X(kTwoLevelAllReduce) \
  X(kTwoLevelDirectAllReduce) \
  X(kTwoLevelHalvingAllReduce) \
  X(kTwoLevelTreeAllReduce) \
  X(kOneShotReduce) \
  X(kBinomialReduce) \
  X(kChainReduce) \
  X(kBineReduce) \
  X(kTwoLevelReduce) \
  X(kTwoLevelTreeReduce) \
  X(kOneShotBroadcast) \
  X(kBinomialBroadcast) \
  X(kChainBroadcast) \
  X(kScatterAllGatherBroadcast) \
  X(kBineBroadcast) \
  X(kTwoLevelBroadcast) \
  X(kTwoLevelTreeBroadcast) \
  X(kOneShotAllGather) \
  X(kRingAllGather) \
  X(kRecursiveDoublingAllGather) \
  X(kBruckAllGather) \
  X(kPatAllGather) \
  X(kBineAllGather) \
  X(kTwoLevelAllGather) \
  X(kTwoLevelDirectAllGather) \
  X(kOneShotReduceScatter) \
  X(kRingReduceScatter) \
  X(kRecursiveHalvingReduceScatter) \
  X(kPatReduceScatter) \
  X(kBineReduceScatter) \
  X(kTwoLevelReduceScatter) \
  X(kTwoLevelDirectReduceScatter) \
  X(kPairwiseAllToAll) \
  X(kTwoLevelAllToAll) \
  X(kDirectGather) \
  X(kBinomialGather) \
  X(kDirectScatter) \
  X(kBinomialScatter) \
  X(kDisseminationBarrier) \
  X(kTwoLevelBarrier)
// clang-format on

namespace tutti::planner {

#define X(row) extern const AlgorithmRow row;
TUTTI_ALGORITHM_ROWS(X)
#undef X

}  // namespace tutti::planner
