// SPDX-License-Identifier: Apache-2.0
// tuttiConfig_t as options of a communicator.
#pragma once

#include "src/comm/options.h"
#include "tutti/tutti.h"

namespace tutti::api {

// `base` with every defined field of `config` (may be NULL) put over it. Throws InvalidArgument
// naming the field.
comm::Options options_from(const tuttiConfig_t* config, comm::Options base);
// Environment and defaults.
comm::Options default_options();

// What the CUDA driver shows; 0: there is none either.
int gpu_count() noexcept;
// The GPU that the calling thread has chosen; TUTTI_DEVICE_HOST: none.
int thread_device() noexcept;

}  // namespace tutti::api
