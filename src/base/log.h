// SPDX-License-Identifier: Apache-2.0
// Log lines with level, subsystem and rank; silent unless TUTTI_LOG asks for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <spdlog/fmt/fmt.h>

namespace tutti {

enum class LogLevel : int { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// The parts of the library that TUTTI_LOG can name.
inline constexpr std::string_view kLogSubsystems[] = {"api",     "bootstrap", "comm",     "config",
                                                      "control", "exec",      "metrics",  "plan",
                                                      "shm",     "trace",     "transport"};
inline constexpr size_t kLogSubsystemCount = std::size(kLogSubsystems);

// Where a line comes from: part of the library, and place in the code. Made of the subsystem's
// name; one that is not in the table does not compile.
class LogSource {
 public:
  template <size_t N>
  // NOLINTNEXTLINE(google-explicit-constructor): so that calls name it by a literal
  consteval LogSource(const char (&subsystem)[N], const char* file = __builtin_FILE(),
                      int line = __builtin_LINE())
      : subsystem_(index_of(subsystem)), file_(file), line_(line) {}
  size_t subsystem() const noexcept { return subsystem_; }
  const char* file() const noexcept { return file_; }
  int line() const noexcept { return line_; }

 private:
  static consteval size_t index_of(std::string_view name) {
    size_t i = 0;
    while (kLogSubsystems[i] != name) ++i;  // past the end: not a constant, so an error
    return i;
  }

  size_t subsystem_;
  const char* file_;
  int line_;
};

// The least severe level of each subsystem that is written.
struct LogLevels {
  static constexpr int kBits = 3;
  uint64_t packed = 0;

  LogLevel of(size_t subsystem) const noexcept {
    return static_cast<LogLevel>(packed >> (kBits * subsystem) & 7);
  }
  void set(size_t subsystem, LogLevel level) noexcept {
    const size_t shift = kBits * subsystem;
    packed = (packed & ~(uint64_t{7} << shift)) | static_cast<uint64_t>(level) << shift;
  }
  void set_all(LogLevel level) noexcept {
    for (size_t i = 0; i < kLogSubsystemCount; ++i) set(i, level);
  }
};
static_assert(kLogSubsystemCount * LogLevels::kBits <= 60);
// "warn", "warn,shm=debug": a level for all, and others for single subsystems, in any order; off
// where nothing is said. Returns what is wrong with it, "" when nothing.
std::string parse_log_levels(std::string_view text, LogLevels* levels);

bool log_enabled(LogLevel level, const LogSource& source) noexcept;
void log_line(LogLevel level, const LogSource& source, int rank, std::string_view text);

// For warnings that a user must see who never asked for a log: written unless TUTTI_LOG says that
// warnings are not wanted ("off", "error"); a TUTTI_LOG that is not set does not say so.
bool warning_wanted(const LogSource& source) noexcept;
template <typename... Args>
void warn_user(const LogSource& source, fmt::format_string<Args...> format, Args&&... args) {
  if (warning_wanted(source))
    log_line(LogLevel::kWarn, source, -1, fmt::format(format, std::forward<Args>(args)...));
}

// log(LogLevel::kInfo, "shm", rank, "connected to rank {}", peer). rank -1: not about a rank. Never
// on a hot path. Of one place in the code, and of all, only so many lines a second are written; the
// others are counted. A line that no memory is left for is lost.
template <typename... Args>
void log(LogLevel level, const LogSource& source, int rank, fmt::format_string<Args...> format,
         Args&&... args) noexcept {
  if (!log_enabled(level, source)) return;
  try {
    log_line(level, source, rank, fmt::format(format, std::forward<Args>(args)...));
  } catch (const std::exception&) {
    return;
  }
}

}  // namespace tutti
