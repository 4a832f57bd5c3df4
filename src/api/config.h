// SPDX-License-Identifier: Apache-2.0
// tuttiConfig_t as options of a communicator.
#pragma once

#include "include/tutti/tutti.h"
#include "src/comm/options.h"

namespace tutti::api {

// `base` with every defined field of `config` (may be NULL) put over it. Throws InvalidArgument naming the field.
comm::Options options_from(const tuttiConfig_t* config, comm::Options base);
// Environment and defaults.
comm::Options default_options();

}  // namespace tutti::api
