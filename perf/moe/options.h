// SPDX-License-Identifier: Apache-2.0
// The command line of moe_perf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tutti/tutti.h"

namespace tutti::moe_perf {

struct Options {
  int threads = 1;  // per process, each a rank
  std::vector<int> tokens = {1, 8, 64, 512, 4096};
  int hidden = 7168;
  int top_k = 8;
  int experts = 256;
  std::vector<std::string> skews = {"uniform"};
  tuttiMoeQuantization_t quantization = tuttiMoeQuantE4m3G128F32;
  tuttiMoeReduction_t reduction = tuttiMoeReducePerRank;
  tuttiMoeLayoutKind_t layout = tuttiMoeExpertMajor;
  int nodes = 0;       // that node-limited routing tells apart; 0: half as many as ranks
  int iterations = 0;  // 0: as many as take about a second
  int warmup = 2;
  bool check = true;
  bool naive = true;
  int registration = 0;  // 1: tokens and results lie in memory of tuttiMemAlloc
  bool lean = false;     // the pipeline's rows travel with their scales and weights
  std::string routing_file;
  uint64_t seed = 1;
  std::string json_file;
};

// Parses; on --help or an error prints and sets *exit_status, and returns false.
bool parse(int argc, char** argv, Options* options, int* exit_status);

}  // namespace tutti::moe_perf
