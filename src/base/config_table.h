// SPDX-License-Identifier: Apache-2.0
// The table behind config.h: one entry per variable, with its parser; only src/base uses it.
#pragma once

#include <span>
#include <string>

#include "src/base/config.h"
#include "src/base/log.h"

namespace tutti {

struct ConfigEntry {
  ConfigRow row;
  // Checks `value` and stores it. Throws InvalidArgument naming the variable, the value and what is
  // allowed.
  void (*parse)(const ConfigRow& row, const std::string& value, Config* into);
};
std::span<const ConfigEntry> config_entries();

// What the log needs before, and even if, the rest can't be read: TUTTI_LOG (all off when its value
// is not allowed) and TUTTI_LOG_FILE.
struct LogSettings {
  LogLevels levels;
  bool chosen;  // TUTTI_LOG is set
  std::string file;
};
LogSettings log_settings_from_environment();

}  // namespace tutti
