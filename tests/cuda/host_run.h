// SPDX-License-Identifier: Apache-2.0
// A plan run on the host by the plainest of executors: what a GPU's result must be, bit for bit.
#pragma once

#include <cstddef>
#include <vector>

#include "src/exec/operation.h"
#include "src/plan/plan.h"

namespace tutti::test {

struct HostCall {
  DType dtype;
  Op op;
  size_t block_count;  // elements
  exec::Tiling tiling;
  kernels::Scaling scaling;
};
// Rank r's input in inputs[r]; returns the outputs, of output_bytes(r) each.
std::vector<std::vector<std::byte>> host_run(const plan::Plan& plan, const HostCall& call,
                                             const std::vector<std::vector<std::byte>>& inputs);
size_t buffer_bytes(const plan::Plan& plan, int rank, plan::Buffer buffer, const HostCall& call);

}  // namespace tutti::test
