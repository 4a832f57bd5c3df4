// SPDX-License-Identifier: Apache-2.0
// The printed table and the JSON file; only the first rank writes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "perf/bench/bench.h"
#include "perf/bench/options.h"

namespace tutti::bench {

// One side of a row.
struct Measured {
  bool available = false;  // false: printed as N/A
  double seconds = 0;
  Bandwidth bandwidth;
  int64_t wrong = -1;                     // -1: not checked
  std::vector<double> iteration_seconds;  // of this process's first rank; for -I
};

struct RankLine {
  int rank = 0;
  int pid = 0;
  char host[64] = {};
  int number = 0;     // of the device
  char bus[24] = {};  // "0000:1b:00"; "host"
  char device[64] = {};
};

class Table {
 public:
  Table(const Options& options, const Test& test, bool writes);
  ~Table();
  void header(const std::vector<RankLine>& ranks);
  // On a terminal: what is being measured, overwritten by the row.
  void progress(size_t bytes, const char* type, const char* op);
  void row(size_t bytes, size_t count, const char* type, const char* op, int root,
           const Measured& out_of_place, const Measured& in_place);
  // Prints the footer, writes the JSON file, and returns the exit status: 1 when a result was
  // wrong.
  int footer();

 private:
  struct Json;
  void print_half(const Measured& m) const;

  const Options& options_;
  const Test& test_;
  bool writes_;
  bool terminal_;
  int64_t wrong_ = 0;
  double bus_sum_ = 0;
  int bus_samples_ = 0;
  std::unique_ptr<Json> json_;
};

}  // namespace tutti::bench
