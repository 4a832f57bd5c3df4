// SPDX-License-Identifier: Apache-2.0
// Log lines with level, subsystem and rank; silent unless TUTTI_LOG asks for them.
#pragma once

#include <string_view>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace tutti {

enum class LogLevel : int { kTrace, kDebug, kInfo, kWarn, kError, kOff };

bool log_enabled(LogLevel level) noexcept;
void log_line(LogLevel level, std::string_view subsystem, int rank, std::string_view text);

// log(LogLevel::kInfo, "shm", rank, "connected to rank {}", peer). rank -1: not about a rank. Never
// on a hot path.
template <typename... Args>
void log(LogLevel level, std::string_view subsystem, int rank, fmt::format_string<Args...> format,
         Args&&... args) {
  if (log_enabled(level))
    log_line(level, subsystem, rank, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tutti
