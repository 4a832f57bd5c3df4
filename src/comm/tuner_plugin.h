// SPDX-License-Identifier: Apache-2.0
// A tuner plugin, whatever the version of its interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "src/comm/tuner_abi.h"

namespace tutti::comm {

struct TunerSetting {
  std::string plugin;  // TUTTI_TUNER_PLUGIN
  uint64_t comm_id = 0;
  int n_ranks = 1;
  int n_hosts = 1;
};

class TunerPlugin {
 public:
  virtual ~TunerPlugin() = default;
  TunerPlugin(const TunerPlugin&) = delete;
  TunerPlugin& operator=(const TunerPlugin&) = delete;

  virtual int version() const noexcept = 0;
  virtual std::string name() const = 0;
  // The algorithm that it wants for a call of so many bytes; kUndefined when it has no opinion, or
  // when asking fails. `costs` are ours, kIgnored for what we don't have.
  virtual tuner_abi::Algorithm ask(tuner_abi::Function function, size_t bytes,
                                   const tuner_abi::CostTable& costs) = 0;

 protected:
  TunerPlugin() = default;
};

// Throws InvalidArgument when there is no such plugin, it is of no version that we speak, or it
// does not start: the user has named it.
std::unique_ptr<TunerPlugin> open_tuner(const TunerSetting& setting);

}  // namespace tutti::comm
