// SPDX-License-Identifier: Apache-2.0
// What a user may choose for one communicator: environment and tuttiConfig_t, merged.
#pragma once

#include <string>

#include "src/base/config.h"

namespace tutti::comm {

struct Options {
  bool blocking = true;
  std::string name;  // for messages; may be empty
  Config config;
};

}  // namespace tutti::comm
