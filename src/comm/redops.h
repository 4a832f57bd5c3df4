// SPDX-License-Identifier: Apache-2.0
// The user's PreMulSum operations of one communicator.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <optional>
#include <vector>

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::comm {

// What a tuttiRedOp_t means for one call.
struct ResolvedOp {
  Op op = Op::kSum;
  kernels::Scaling scaling;
  const void* late_scalar = nullptr;  // to be read when the call runs
};

// Any thread. Built-in operations take no lock.
class RedOps {
 public:
  // Returns the new operation's value. `immediate`: the scalar is read now, else when a call runs.
  int create(const void* scalar, DType dtype, bool immediate);
  // Throws InvalidArgument when create() has made no such operation.
  void destroy(int op);
  // Throws InvalidArgument for an unknown operation or one made for another type.
  ResolvedOp resolve(int op, DType dtype, int n_ranks) const;

 private:
  struct Custom {
    DType dtype = DType::kInt8;
    std::array<unsigned char, 8> scalar{};
    const void* late_scalar = nullptr;
  };
  // Under mutex_. `allowed`: what the message names beside those of create().
  const Custom& find(int op, const char* allowed) const;

  mutable std::mutex mutex_;
  std::vector<std::optional<Custom>>
      customs_;  // op value - kFirstCustom; freed entries are used again
};

}  // namespace tutti::comm
