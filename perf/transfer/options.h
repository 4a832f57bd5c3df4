// SPDX-License-Identifier: Apache-2.0
// The command line of transfer_perf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tutti::transfer_perf {

struct Options {
  std::vector<std::string> ways = {"mapped", "plain", "tcp"};
  std::vector<uint64_t> blocks = {4 << 10, 64 << 10, 1 << 20};  // bytes
  std::vector<int> batches;  // blocks per transfer; empty: as many as make 8 MiB, at most 256
  int depth = 2;             // transfers in flight
  int iterations = 0;        // 0: about half a second's
  int warmup = 3;
  bool check = true;
  bool best = true;  // measure what the way does at best as well
  std::string json_file;
  std::string serve_file;  // write an invitation there, and serve
  std::string with_file;   // measure with who has written it
  std::string expect;      // "64K:0.8,1M:0.9"
};

// Parses; on --help or an error prints and sets *exit_status, and returns false.
bool parse(int argc, char** argv, Options* options, int* exit_status);
// "64K" and the like. Throws std::invalid_argument.
uint64_t bytes_of(const std::string& text);
std::string text_of_bytes(uint64_t bytes);
// The least ratio that is asked for blocks of this size; 0: none.
double expected_ratio(const std::string& expect, uint64_t block);

}  // namespace tutti::transfer_perf
