// SPDX-License-Identifier: Apache-2.0
// The log: spdlog sinks behind a lock, levels read once, and limits on lines per second.
#include "src/base/log.h"

#include <algorithm>
#include <atomic>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <spdlog/logger.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "src/base/clock.h"
#include "src/base/config_table.h"
#include "src/base/file.h"
#include "src/base/process_local.h"

namespace tutti {
namespace {

constexpr uint32_t kLinesPerSecond = 500;
constexpr uint32_t kLinesPerPlace = 50;  // of one rank, in one second
constexpr uint64_t kLevelsUnknown = ~uint64_t{0};

constexpr std::string_view kLevelNames[] = {"off", "error", "warn", "info", "debug", "trace"};

std::optional<LogLevel> level_of(std::string_view name) {
  const auto* at = std::ranges::find(kLevelNames, name);
  if (at == std::end(kLevelNames)) return std::nullopt;
  return static_cast<LogLevel>(std::end(kLevelNames) - 1 - at);
}

// One part of TUTTI_LOG.
std::string parse_part(std::string_view part, std::optional<LogLevel>* all,
                       std::map<size_t, LogLevel>* single) {
  const size_t equals = part.find('=');
  const std::string_view level_name = equals == part.npos ? part : part.substr(equals + 1);
  const auto level = level_of(level_name);
  if (!level.has_value()) {
    return "'" + std::string(level_name) + "' is no level; allowed are " +
           known_names(level_name, kLevelNames);
  }
  if (equals == part.npos) {
    if (all->has_value())
      return "two levels for all subsystems; give one, and name=level for others";
    *all = level;
    return "";
  }
  const std::string_view name = part.substr(0, equals);
  const auto* at = std::ranges::find(kLogSubsystems, name);
  if (at == std::end(kLogSubsystems)) {
    return "'" + std::string(name) + "' is no subsystem; known are " +
           known_names(name, kLogSubsystems);
  }
  (*single)[static_cast<size_t>(at - std::begin(kLogSubsystems))] = *level;
  return "";
}

// Lines of one place of one rank in the current second.
struct Flood {
  uint32_t lines = 0;
  uint32_t suppressed = 0;
  LogLevel level = LogLevel::kOff;
  std::string last;  // that was suppressed
};

// The process's log. Used under its lock only, so the sinks need none.
class Log {
 public:
  void line(LogLevel level, const LogSource& source, int rank, std::string_view text) {
    const int64_t now = now_ns();
    if (now - second_start_ns_ >= kNsPerSecond) next_second(now);
    Flood& flood = floods_[{source.file(), source.line(), source.subsystem(), rank}];
    if (flood.lines == kLinesPerPlace || lines_ == kLinesPerSecond) {
      ++flood.suppressed;
      flood.level = level;
      flood.last = text;
      return;
    }
    ++lines_;
    const bool last = ++flood.lines == kLinesPerPlace;
    write(level, source.subsystem(), rank,
          last ? std::string(text) + " (more like this are suppressed for a second)"
               : std::string(text));
  }

 private:
  struct Place {
    const char* file;
    int line;
    size_t subsystem;
    int rank;
    auto operator<=>(const Place&) const = default;
  };

  // Reports what was suppressed in the last one.
  void next_second(int64_t now) {
    for (const auto& [place, flood] : floods_) {
      if (flood.suppressed == 0) continue;
      write(flood.level, place.subsystem, place.rank,
            fmt::format("{} more suppressed, the last: {}", flood.suppressed, flood.last));
    }
    floods_.clear();
    second_start_ns_ = now;
    lines_ = 0;
  }

  void write(LogLevel level, size_t subsystem, int rank, std::string_view text) {
    const std::string who = rank < 0 ? "-" : std::to_string(rank);
    logger(rank).log(to_spdlog(level), "[{}] [rank {}] {}", kLogSubsystems[subsystem], who, text);
  }

  static spdlog::level::level_enum to_spdlog(LogLevel level) {
    switch (level) {
      case LogLevel::kTrace:
        return spdlog::level::trace;
      case LogLevel::kDebug:
        return spdlog::level::debug;
      case LogLevel::kInfo:
        return spdlog::level::info;
      case LogLevel::kWarn:
        return spdlog::level::warn;
      case LogLevel::kError:
        return spdlog::level::err;
      case LogLevel::kOff:
        break;
    }
    return spdlog::level::off;
  }

  // One logger, or one per rank when the file's name holds %r.
  spdlog::logger& logger(int rank) {
    const int key = pattern_.find("%r") == std::string::npos ? -1 : rank;
    std::unique_ptr<spdlog::logger>& found = loggers_[key];
    if (found == nullptr) found = make_logger(key);
    return *found;
  }

  std::unique_ptr<spdlog::logger> make_logger(int rank) const {
    auto made = std::make_unique<spdlog::logger>("tutti", make_sink(rank));
    made->set_level(spdlog::level::trace);  // log_enabled() decides
    made->flush_on(spdlog::level::trace);
    made->set_pattern("%Y-%m-%d %H:%M:%S.%f [tutti] [%l] [%P] %v");
    made->set_error_handler([](const std::string&) {});
    return made;
  }

  // stderr when the file can't be opened: a log must not stop the program.
  spdlog::sink_ptr make_sink(int rank) const {
    if (pattern_.empty()) return std::make_shared<spdlog::sinks::stderr_sink_st>();
    try {
      return std::make_shared<spdlog::sinks::basic_file_sink_st>(expand_path(pattern_, rank));
    } catch (const std::exception&) {
      return std::make_shared<spdlog::sinks::stderr_sink_st>();
    }
  }

  const std::string pattern_ = log_settings_from_environment().file;
  std::map<int, std::unique_ptr<spdlog::logger>> loggers_;
  int64_t second_start_ns_ = 0;
  uint32_t lines_ = 0;
  std::map<Place, Flood> floods_;
};

}  // namespace

std::string parse_log_levels(std::string_view text, LogLevels* levels) {
  levels->set_all(LogLevel::kOff);
  std::optional<LogLevel> all;
  std::map<size_t, LogLevel> single;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string problem = parse_part(text.substr(0, comma), &all, &single);
    if (!problem.empty()) return problem;
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  if (all.has_value()) levels->set_all(*all);
  for (const auto& [subsystem, level] : single) levels->set(subsystem, level);
  return "";
}

bool log_enabled(LogLevel level, const LogSource& source) noexcept {
  // Relaxed: every thread computes the same value. No lock, so a forked child never finds one.
  static std::atomic<uint64_t> known{kLevelsUnknown};
  LogLevels levels{known.load(std::memory_order_relaxed)};
  if (levels.packed == kLevelsUnknown) {
    try {
      levels = log_settings_from_environment().levels;
    } catch (const std::exception&) {
      return false;  // no memory left
    }
    known.store(levels.packed, std::memory_order_relaxed);
  }
  return level != LogLevel::kOff && level >= levels.of(source.subsystem());
}

bool warning_wanted(const LogSource& source) noexcept {
  try {
    return log_enabled(LogLevel::kWarn, source) || !log_settings_from_environment().chosen;
  } catch (const std::exception&) {
    return false;  // no memory left
  }
}

void log_line(LogLevel level, const LogSource& source, int rank, std::string_view text) {
  ProcessLocal<Log>::with([&](Log& log) { log.line(level, source, rank, text); });
}

}  // namespace tutti
