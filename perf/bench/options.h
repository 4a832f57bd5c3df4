// SPDX-License-Identifier: Apache-2.0
// The command line of the bandwidth binaries.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tutti/tutti.h"

namespace tutti::bench {

// Where ranks and their buffers are.
enum class Place { kAuto, kHost, kGpu };

struct Options {
  int threads = 1;
  int ranks_per_thread = 1;  // -g
  Place place = Place::kAuto;
  size_t min_bytes = 32 << 20;
  size_t max_bytes = 32 << 20;
  size_t step_bytes = 1 << 20;
  double step_factor = 0;  // > 1: multiplies instead of adding
  int iterations = 20;
  int aggregated = 1;
  int warmup = 1;
  int cycles = 1;
  bool parallel_init = false;
  bool check = true;
  std::vector<int> ops = {tuttiSum};
  std::vector<int> types = {tuttiFloat32};
  int root = 0;  // -1: all roots
  bool blocking = false;
  double timeout_seconds = 0;
  bool report_cpu_time = false;
  bool timestamps = false;
  std::string json_file;
  int average = 1;       // 0 rank 0, 1 mean, 2 smallest, 3 largest
  int registration = 0;  // 0 malloc, 1 tuttiMemAlloc and registered, 2 a symmetric window
  bool unalign = false;
  bool per_iteration = false;
};

// Parses; on --help or an error prints and sets *exit_status, and returns false.
bool parse(int argc, char** argv, const char* program, Options* options, int* exit_status);

const char* type_name(int type);
const char* op_name(int op);  // "mulsum" for the operation after the built-in ones

}  // namespace tutti::bench
