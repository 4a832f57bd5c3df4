// SPDX-License-Identifier: Apache-2.0
// How the simulator's set-up code says that a driver call can't succeed.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "src/device/cuda/abi.h"

namespace cudasim {

namespace abi = tutti::cuda;
using abi::Result;

// Caught at the driver's boundary (driver/call.h), which returns the code and logs the reason.
class Failure : public std::exception {
 public:
  Failure(Result code, std::string reason) : code_(code), reason_(std::move(reason)) {}
  Result code() const noexcept { return code_; }
  const char* what() const noexcept override { return reason_.c_str(); }

 private:
  Result code_;
  std::string reason_;
};

inline void require(bool condition, Result code, const char* reason) {
  if (!condition) throw Failure(code, reason);
}

}  // namespace cudasim
