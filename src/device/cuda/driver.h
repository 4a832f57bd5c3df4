// SPDX-License-Identifier: Apache-2.0
// The CUDA driver, opened at run time: its functions, or why there are none.
#pragma once

#include <string>
#include <string_view>

#include "src/device/cuda/abi.h"

namespace tutti::cuda {

// One pointer per row of TUTTI_CUDA_FUNCTIONS. Rows of CUDA 12.0 and before are never null; newer
// ones (multicast) are null where the driver is older.
struct Driver {
#define TUTTI_CUDA_POINTER(symbol, name, version, ...) Result (*symbol)(__VA_ARGS__) = nullptr;
  TUTTI_CUDA_FUNCTIONS(TUTTI_CUDA_POINTER)
#undef TUTTI_CUDA_POINTER
};

// Null when this process can't use CUDA: no library, no device, a driver older than CUDA 12.0, or
// a child of fork() (a driver that the parent has initialised does not work in it). Opens the
// library at the first call; any thread.
const Driver* find_driver() noexcept;
// Why it is null; "" when it is not.
const std::string& driver_reason() noexcept;
// The same; throws UnhandledCudaError with the reason.
const Driver& driver();
int device_count() noexcept;  // 0 without a driver

// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
std::string text_of(Result result);
// Throws UnhandledCudaError "`what`: ..." unless it is success.
void check(Result result, std::string_view what);

}  // namespace tutti::cuda
