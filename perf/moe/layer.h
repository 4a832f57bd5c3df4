// SPDX-License-Identifier: Apache-2.0
// One rank's layer, as both ways of computing it have it, and the library's way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "perf/moe/options.h"
#include "src/kernels/token_rows.h"
#include "tutti/tutti.h"

namespace tutti::moe_perf {

struct Seat {
  tuttiComm_t comm = nullptr;
  int rank = 0;
  int n_ranks = 1;
};

// Ends the process with the library's message when a call has failed.
void require(tuttiResult_t result, const char* what);

// Memory on whole pages, touched; `shared`: of tuttiMemAlloc.
class Buffer {
 public:
  explicit Buffer(size_t bytes = 0, bool shared = false);
  std::byte* data() const { return memory_.get(); }

 private:
  std::unique_ptr<std::byte, void (*)(std::byte*)> memory_;
};

// The input of one rank, and what its experts return.
struct Input {
  Input(const Options& options, const Seat& seat, size_t tokens, std::vector<int64_t> table);
  size_t tokens = 0;
  std::vector<int64_t> experts;  // [tokens][k]
  std::vector<float> weights;
  Buffer x;  // [tokens][hidden]
};
// How rows travel.
struct RowBytes {
  explicit RowBytes(const Options& options);
  kernels::QuantizedRow form;
  bool quantized = false;
  size_t hidden = 0;
  size_t data = 0;
  size_t scales = 0;
  size_t all() const { return data + scales; }
  size_t value() const { return 2 * hidden; }
};

// Seconds of one call's parts on one rank.
struct Times {
  double dispatch = 0;
  double combine = 0;
  double both() const { return dispatch + combine; }
};

// What an expert returns for a received row, made once: the timed part moves bytes only.
void fill_results(std::byte* rows, size_t n_rows, size_t hidden, uint64_t seed);

// How many rows each rank receives, one for each token and expert or (rank-major) rank.
struct Demand {
  size_t here = 0;
  size_t most = 0;  // of any rank
};

class Fused {
 public:
  Fused(const Options& options, const Seat& seat, size_t tokens, const Demand& demand);
  ~Fused();
  Fused(const Fused&) = delete;
  Fused& operator=(const Fused&) = delete;
  // Routes, dispatches and combines. `results`: before the combine, of as many rows as were
  // received.
  Times run(const Input& input);
  tuttiMoeLayout_t layout() const;
  tuttiMoeStats_t stats() const;
  const std::byte* rows() const { return rows_.data(); }
  const std::byte* scales() const { return scales_.data(); }
  std::byte* results() { return results_.data(); }
  const std::byte* output() const { return output_.data(); }

 private:
  tuttiMoeGroup_t group_ = nullptr;
  tuttiMoeHandle_t handle_ = nullptr;
  int top_k_;
  Buffer rows_, scales_, results_, output_;
};

}  // namespace tutti::moe_perf
