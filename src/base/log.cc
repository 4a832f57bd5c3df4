// SPDX-License-Identifier: Apache-2.0
// The log: spdlog sinks behind a lock, a level read once, and a limit on lines per second.
#include "src/base/log.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
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

constexpr uint32_t kLinesPerSecond = 100;
constexpr int kLevelUnknown = -1;

// The process's log. Used under its lock only, so the sinks need none.
class Log {
 public:
  void line(LogLevel level, std::string_view subsystem, int rank, std::string_view text) {
    if (!admit(rank)) return;
    write(level, subsystem, rank, text);
  }

 private:
  // Counts the line against the current second; reports what the previous ones dropped.
  bool admit(int rank) {
    const int64_t now = now_ns();
    if (now - second_start_ns_ >= kNsPerSecond) {
      const uint64_t dropped = dropped_;
      second_start_ns_ = now;
      lines_ = 0;
      dropped_ = 0;
      if (dropped != 0) {
        write(
            LogLevel::kWarn, "log", rank,
            fmt::format("{} lines dropped: more than {} in one second", dropped, kLinesPerSecond));
      }
    }
    if (lines_ == kLinesPerSecond) {
      ++dropped_;
      return false;
    }
    ++lines_;
    return true;
  }

  void write(LogLevel level, std::string_view subsystem, int rank, std::string_view text) {
    const std::string who = rank < 0 ? "-" : std::to_string(rank);
    logger(rank).log(to_spdlog(level), "[{}] [rank {}] {}", subsystem, who, text);
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
  uint64_t dropped_ = 0;
};

}  // namespace

bool log_enabled(LogLevel level) noexcept {
  // Relaxed: every thread computes the same value.
  static std::atomic<int> threshold{kLevelUnknown};
  int least = threshold.load(std::memory_order_relaxed);
  if (least == kLevelUnknown) {
    least = static_cast<int>(log_settings_from_environment().level);
    threshold.store(least, std::memory_order_relaxed);
  }
  return level != LogLevel::kOff && static_cast<int>(level) >= least;
}

bool warning_wanted() noexcept {
  return log_enabled(LogLevel::kWarn) || !log_settings_from_environment().chosen;
}

void log_line(LogLevel level, std::string_view subsystem, int rank, std::string_view text) {
  try {
    ProcessLocal<Log>::with([&](Log& log) { log.line(level, subsystem, rank, text); });
  } catch (const std::exception&) {
    return;  // out of memory: the line is lost, the program goes on
  }
}

}  // namespace tutti
