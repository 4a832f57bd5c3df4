// SPDX-License-Identifier: Apache-2.0
// Looks up reduction operations.
#include "src/comm/redops.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "src/base/error.h"

namespace tutti::comm {
namespace {

constexpr int kFirstCustom = static_cast<int>(Op::kPreMulSum);  // tuttiNumOps

}  // namespace

int RedOps::create(const void* scalar, DType dtype, bool immediate) {
  Custom custom{.dtype = dtype};
  if (immediate) {
    std::memcpy(custom.scalar.data(), scalar, size_of(dtype));
  } else {
    custom.late_scalar = scalar;
  }
  const std::lock_guard lock(mutex_);
  auto slot = std::find(customs_.begin(), customs_.end(), std::nullopt);
  if (slot == customs_.end()) slot = customs_.emplace(customs_.end());
  *slot = custom;
  return kFirstCustom + static_cast<int>(slot - customs_.begin());
}

const RedOps::Custom& RedOps::find(int op, const char* allowed) const {
  const auto index = static_cast<size_t>(static_cast<int64_t>(op) - kFirstCustom);
  if (op < kFirstCustom || index >= customs_.size() || !customs_[index].has_value()) {
    throw Error(StatusCode::kInvalidArgument,
                "op is " + std::to_string(op) + "; allowed are " + allowed +
                    " that tuttiRedOpCreatePreMulSum has made for this communicator");
  }
  return *customs_[index];
}

void RedOps::destroy(int op) {
  const std::lock_guard lock(mutex_);
  find(op, "only operations");
  customs_[static_cast<size_t>(op - kFirstCustom)].reset();
}

ResolvedOp RedOps::resolve(int op, DType dtype, int n_ranks) const {
  ResolvedOp resolved;
  resolved.scaling.post_divisor = n_ranks;
  if (op >= 0 && op < kFirstCustom) {
    resolved.op = static_cast<Op>(op);
    return resolved;
  }
  const std::lock_guard lock(mutex_);
  const Custom& custom = find(op, "tuttiSum (0) to tuttiAvg (4) and operations");
  if (custom.dtype != dtype) {
    throw Error(StatusCode::kInvalidArgument, "op " + std::to_string(op) + " was made for " +
                                                  name(custom.dtype) + ", datatype is " +
                                                  name(dtype) + "; both must be equal");
  }
  resolved.op = Op::kPreMulSum;
  std::memcpy(resolved.scaling.pre, custom.scalar.data(), custom.scalar.size());
  resolved.late_scalar = custom.late_scalar;
  return resolved;
}

}  // namespace tutti::comm
