// SPDX-License-Identifier: Apache-2.0
// The calls that the kernel benchmark measures, and the memory they work on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "perf/kernels/stream.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::perf {

inline constexpr size_t kMiB = size_t{1} << 20;

struct Case {
  DType dtype = DType::kFloat32;
  Op op = Op::kSum;
  size_t n_sources = 2;
  size_t n_sinks = 1;
  size_t bytes = kMiB;  // per buffer
  bool streaming = false;

  size_t moved_bytes() const { return (n_sources + n_sinks) * bytes; }
};
std::string name(const Case& c);  // kernel/DTYPE/OP/2to1/cached/BYTES

// Every data type and operation with two sources, what one_shot and two_shot do with four and
// eight, a copy and a multicast; `bytes` per buffer with two sources, and as many in all sources
// with more.
std::vector<Case> all_cases(size_t bytes);

// A case bound to buffers, which are shared by all cases and touched once.
class Prepared {
 public:
  explicit Prepared(const Case& c);
  void run_kernel() const;
  void run_stream(StreamLoop loop) const { stream(streams_, loop); }
  void run_memcpy() const;  // one source and one sink

 private:
  Case case_;
  Streams streams_;
  kernels::Scaling scaling_;
  kernels::ReduceCopyFn reduce_copy_;
};

}  // namespace tutti::perf
