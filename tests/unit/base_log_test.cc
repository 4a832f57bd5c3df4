// SPDX-License-Identifier: Apache-2.0
// The log, each case in a child: level and file are read once per process.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/log.h"
#include "src/base/wait.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class LogTest : public testing::Test {
 protected:
  LogTest() {
    std::string name = testing::TempDir() + "tutti-log-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~LogTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string text(const std::string& name) const {
    std::stringstream all;
    all << std::ifstream(path(name)).rdbuf();
    return all.str();
  }
  // Runs `body` in a child with these settings; "" leaves a variable unset.
  template <typename Body>
  int run(const std::string& level, const std::string& file, Body body) {
    return exit_status(fork_child([&] {
      ::unsetenv("TUTTI_LOG");
      if (!level.empty()) ::setenv("TUTTI_LOG", level.c_str(), 1);
      ::setenv("TUTTI_LOG_FILE", file.c_str(), 1);
      body();
      return 0;
    }));
  }

 private:
  std::string folder_;
};

size_t count_lines(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

TEST_F(LogTest, NotAskedFor_IsSilent) {
  for (const char* level : {"", "off", "nonsense"}) {
    EXPECT_EQ(run(level, path("log"), [] { log(LogLevel::kError, "comm", 0, "never seen"); }), 0);
    EXPECT_FALSE(std::filesystem::exists(path("log"))) << level;
  }
}

TEST_F(LogTest, LevelInfo_HasLinesOfThatLevelAndAbove) {
  EXPECT_EQ(run("info", path("log"),
                [] {
                  log(LogLevel::kDebug, "shm", 3, "too detailed {}", 1);
                  log(LogLevel::kInfo, "shm", 3, "connected to rank {}", 5);
                  log(LogLevel::kWarn, "bootstrap", -1, "braces {} stay", "{}");
                  log(LogLevel::kOff, "bootstrap", -1, "never");
                }),
            0);
  const std::string lines = text("log");
  EXPECT_EQ(count_lines(lines), 2u) << lines;
  EXPECT_THAT(lines,
              AllOf(HasSubstr("[info]"), HasSubstr("[shm] [rank 3] connected to rank 5\n"),
                    HasSubstr("[warning]"), HasSubstr("[bootstrap] [rank -] braces {} stay\n")));
}

TEST_F(LogTest, FileNameWithRankAndPid_MakesOneFileEach) {
  EXPECT_EQ(run("info", path("log.%r.%p"),
                [] {
                  log(LogLevel::kInfo, "comm", 0, "from zero");
                  log(LogLevel::kInfo, "comm", 1, "from one");
                  log(LogLevel::kInfo, "comm", -1, "from nobody");
                }),
            0);
  EXPECT_EQ(run("info", path("pid"),
                [&] {
                  log(LogLevel::kInfo, "comm", 0, "x");
                  std::ofstream(path("number")) << ::getpid();
                }),
            0);
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(path("x")).parent_path())) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("log.")) continue;
    ++files;
    const std::string expected = name.starts_with("log.0.")   ? "from zero"
                                 : name.starts_with("log.1.") ? "from one"
                                                              : "from nobody";
    EXPECT_THAT(text(name), HasSubstr(expected));
    EXPECT_EQ(name.find('%'), std::string::npos);
  }
  EXPECT_EQ(files, 3u);
  EXPECT_THAT(text("pid"), HasSubstr("[" + text("number") + "]"));
}

void log_in_this_place(int rank, int i) { log(LogLevel::kInfo, "comm", rank, "line {}", i); }

// Lets the current second of the limits pass.
void next_second() {
  const Deadline end = Deadline::after_ns(1'100 * kNsPerMs);
  while (!end.expired()) sleep_ns(end.left_ns());
}

TEST_F(LogTest, FloodOfOnePlace_IsCutAndCounted) {
  EXPECT_EQ(run("info", path("log"),
                [] {
                  for (int i = 0; i < 1000; ++i) log_in_this_place(0, i);
                  log_in_this_place(1, 5000);
                  log(LogLevel::kInfo, "comm", 0, "another place");
                  next_second();
                  log(LogLevel::kInfo, "comm", 0, "afterwards");
                }),
            0);
  const std::string lines = text("log");
  EXPECT_GE(count_lines(lines), 54u) << lines;
  EXPECT_LE(count_lines(lines), 300u) << lines;  // when the loop takes longer than a second
  EXPECT_THAT(lines,
              AllOf(HasSubstr("line 49 (more like this are suppressed for a second)\n"),
                    HasSubstr("[rank 1] line 5000\n"), HasSubstr("another place"),
                    HasSubstr(" more suppressed, the last: line "), HasSubstr("afterwards")));
}

TEST_F(LogTest, FloodOfManyPlaces_IsCutAsAWhole) {
  EXPECT_EQ(run("info", path("log"),
                [] {
                  for (int rank = 0; rank < 1000; ++rank) log_in_this_place(rank, rank);
                }),
            0);
  EXPECT_GE(count_lines(text("log")), 500u);
  EXPECT_LE(count_lines(text("log")), 999u);
}

TEST_F(LogTest, SubsystemWithALevelOfItsOwn_HasItsLines) {
  EXPECT_EQ(run("shm=debug,warn", path("log"),
                [] {
                  log(LogLevel::kDebug, "shm", 0, "detail of shm");
                  log(LogLevel::kTrace, "shm", 0, "too much of shm");
                  log(LogLevel::kInfo, "comm", 0, "too much of comm");
                  log(LogLevel::kWarn, "comm", 0, "warning of comm");
                }),
            0);
  const std::string lines = text("log");
  EXPECT_EQ(count_lines(lines), 2u) << lines;
  EXPECT_THAT(lines, AllOf(HasSubstr("detail of shm"), HasSubstr("warning of comm")));
}

TEST(LogLevels, Text_IsParsedOrItsMistakeNamed) {
  const struct {
    const char* text;
    LogLevel comm, shm;
    const char* problem;
  } cases[] = {
      {"", LogLevel::kOff, LogLevel::kOff, ""},
      {"debug", LogLevel::kDebug, LogLevel::kDebug, ""},
      {"warn,shm=trace", LogLevel::kWarn, LogLevel::kTrace, ""},
      {"shm=trace,comm=off,info", LogLevel::kOff, LogLevel::kTrace, ""},
      {"shm=error", LogLevel::kOff, LogLevel::kError, ""},
      {"wran", LogLevel::kOff, LogLevel::kOff, "did you mean 'warn'?"},
      {"info,smh=debug", LogLevel::kOff, LogLevel::kOff, "did you mean 'shm'?"},
      {"info,bootstrp=debug", LogLevel::kOff, LogLevel::kOff, "did you mean 'bootstrap'?"},
      {"shm=loud", LogLevel::kOff, LogLevel::kOff, "'loud' is no level"},
      {"shm=", LogLevel::kOff, LogLevel::kOff, "'' is no level"},
      {"info,,shm=debug", LogLevel::kOff, LogLevel::kOff, "'' is no level"},
      {"info,debug", LogLevel::kOff, LogLevel::kOff, "two levels"},
  };
  const auto index = [](std::string_view name) {
    return static_cast<size_t>(std::ranges::find(kLogSubsystems, name) -
                               std::begin(kLogSubsystems));
  };
  for (const auto& c : cases) {
    LogLevels levels;
    const std::string problem = parse_log_levels(c.text, &levels);
    if (*c.problem == '\0') {
      EXPECT_EQ(problem, "") << c.text;
      EXPECT_EQ(levels.of(index("comm")), c.comm) << c.text;
      EXPECT_EQ(levels.of(index("shm")), c.shm) << c.text;
    } else {
      EXPECT_THAT(problem, HasSubstr(c.problem)) << c.text;
    }
  }
}

TEST(LogLevels, EverySubsystem_IsInTheTableOfVariables) {
  for (const ConfigRow& row : config_rows()) {
    if (std::string_view(row.name) != "TUTTI_LOG") continue;
    for (const std::string_view name : kLogSubsystems)
      EXPECT_THAT(row.doc, HasSubstr(std::string(name)));
    return;
  }
  FAIL() << "no row TUTTI_LOG";
}

TEST_F(LogTest, ManyThreads_WriteWholeLines) {
  EXPECT_EQ(run("trace", path("log"),
                [] {
                  std::vector<std::thread> threads;
                  for (int t = 0; t < 4; ++t) {
                    threads.emplace_back([t] {
                      for (int i = 0; i < 20; ++i) log(LogLevel::kTrace, "comm", t, "{:=>50}", i);
                    });
                  }
                  for (std::thread& thread : threads) thread.join();
                }),
            0);
  std::istringstream lines(text("log"));
  size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) EXPECT_THAT(line, HasSubstr("===="));
  EXPECT_EQ(count, 80u);
}

TEST_F(LogTest, FileThatCantBeOpened_FallsBackWithoutThrowing) {
  EXPECT_EQ(run("error", "/proc/no-such-folder/log",
                [] { log(LogLevel::kError, "comm", 0, "to stderr"); }),
            0);
}

TEST_F(LogTest, ForkAfterLogging_BothGoOn) {
  EXPECT_EQ(run("info", path("log.%p"),
                [] {
                  log(LogLevel::kInfo, "comm", 0, "parent");
                  const pid_t child = fork_child([] {
                    log(LogLevel::kInfo, "comm", 1, "child");
                    return 0;
                  });
                  if (exit_status(child) != 0) ::_exit(1);
                }),
            0);
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(path("x")).parent_path())) {
    EXPECT_EQ(count_lines(text(entry.path().filename())), 1u);
    ++files;
  }
  EXPECT_EQ(files, 2u);
}

// A misspelt variable is told of although nobody asked for a log, unless TUTTI_LOG says not to.
TEST_F(LogTest, MisspeltVariable_IsWarnedOfOnceUnlessSilenced) {
  struct Case {
    const char* level;  // "": not set
    size_t lines;
  };
  for (const auto& [level, lines] :
       {Case{"", 1}, Case{"warn", 1}, Case{"trace", 1}, Case{"error", 0}, Case{"off", 0}}) {
    const std::string name = std::string("misspelt-") + level;
    EXPECT_EQ(run(level, path(name),
                  [] {
                    ::setenv("TUTTI_TIMOUT", "3", 1);
                    warn_of_unknown_variables();
                    warn_of_unknown_variables();
                  }),
              0);
    EXPECT_EQ(count_lines(text(name)), lines) << level;
    if (lines != 0) {
      EXPECT_THAT(text(name), AllOf(HasSubstr("TUTTI_TIMOUT is set but no variable"),
                                    HasSubstr("is TUTTI_TIMEOUT meant?"),
                                    HasSubstr("TUTTI_LOG=off silences this")));
    }
  }
}

}  // namespace
}  // namespace tutti
