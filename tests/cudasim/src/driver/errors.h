// SPDX-License-Identifier: Apache-2.0
// Names of the driver's errors.
#pragma once

#include <string>

#include "tests/cudasim/src/failure.h"

namespace cudasim {

const char* error_name(Result code);  // "CUDA_ERROR_OUT_OF_MEMORY"; nullptr when there is none
// "OUT_OF_MEMORY" or the whole name. False when there is none.
bool error_named(const std::string& name, Result* code);

}  // namespace cudasim
