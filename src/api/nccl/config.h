// SPDX-License-Identifier: Apache-2.0
// ncclConfig_t of any version as tuttiConfig_t.
#pragma once

#include "src/api/nccl/layout.h"
#include "tutti/tutti.h"

namespace tutti::nccl {

// What a call hands on for the configuration that it was given.
class ConfigArgument {
 public:
  // A communicator from nothing, of the calling thread's GPU: without a configuration the
  // environment's holds. Throws InvalidArgument when it was not initialised.
  static ConfigArgument of_new(const ncclConfig_t* config);
  // One from another, of the parent's GPU: without a configuration the parent's holds.
  static ConfigArgument of_child(const ncclConfig_t* config);

  // Null: none. Valid as long as this and the user's configuration.
  tuttiConfig_t* get() noexcept { return given_ ? &config_ : nullptr; }

 private:
  bool given_ = false;
  tuttiConfig_t config_ = TUTTI_CONFIG_INITIALIZER;
};

}  // namespace tutti::nccl
