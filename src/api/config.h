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

}  // namespace tutti::api
