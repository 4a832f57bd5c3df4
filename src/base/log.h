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

// For warnings that a user must see who never asked for a log: written unless TUTTI_LOG says that
// warnings are not wanted ("off", "error"); a TUTTI_LOG that is not set does not say so.
bool warning_wanted() noexcept;
template <typename... Args>
void warn_user(std::string_view subsystem, fmt::format_string<Args...> format, Args&&... args) {
  if (warning_wanted())
    log_line(LogLevel::kWarn, subsystem, -1, fmt::format(format, std::forward<Args>(args)...));
}

// log(LogLevel::kInfo, "shm", rank, "connected to rank {}", peer). rank -1: not about a rank. Never
// on a hot path.
template <typename... Args>
void log(LogLevel level, std::string_view subsystem, int rank, fmt::format_string<Args...> format,
         Args&&... args) {
  if (log_enabled(level))
    log_line(level, subsystem, rank, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tutti
