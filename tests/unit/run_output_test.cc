// SPDX-License-Identifier: Apache-2.0
// `tutti run`: what ranks are given, and what becomes of their output and input.
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "perf/line_relay.h"
#include "tests/unit/run_child.h"

namespace tutti::command {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

TEST(RunEnvironment_ThreeRanks, NamesRankSizeAndJob) {
  const Result result = run_tutti(
      {"run", "-n", "3", "--prefix-all", "sh", "-c",
       "echo $TUTTI_RANK $TUTTI_SIZE $TUTTI_LOCAL_RANK $TUTTI_LOCAL_SIZE ${TUTTI_THREADS:-none}; "
       "echo $TUTTI_JOB >&2"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(lines_of(result.out),
              UnorderedElementsAre("[0] 0 3 0 3 none", "[1] 1 3 1 3 none", "[2] 2 3 2 3 none"));
  std::set<std::string> jobs;
  for (const std::string& line : lines_of(result.err)) jobs.insert(line.substr(line.find(' ')));
  EXPECT_THAT(jobs, SizeIs(1));
  EXPECT_THAT(*jobs.begin(), SizeIs(17));
}

TEST(RunEnvironment_TwoJobs, HaveDifferentNames) {
  const std::vector<std::string> command = {"run", "-n", "1", "sh", "-c", "echo $TUTTI_JOB"};
  EXPECT_NE(run_tutti(command).out, run_tutti(command).out);
}

TEST(RunThreads_FourRanks, IsOneProcessToldSo) {
  const Result result = run_tutti(
      {"run", "-n", "4", "--threads", "sh", "-c", "echo $TUTTI_THREADS $TUTTI_RANK $TUTTI_SIZE"});
  EXPECT_EQ(result.out, "4 0 1\n");
}

TEST(RunArguments_AfterProgram, ArePassedUnchanged) {
  const Result result = run_tutti({"run", "-n", "1", "printf", "<%s>", "-n", "5", "--", "[a,b]", "",
                                   "--help", "a b", "--no-prefix"});
  EXPECT_EQ(result.out, "<-n><5><--><[a,b]><><--help><a b><--no-prefix>");
}

TEST(RunArguments_SeparatorBeforeProgram, IsDroppedOnce) {
  const std::vector<std::string> rests[] = {{}, {"--timeout", "20"}, {"--no-prefix"}};
  for (const auto& options : rests) {
    std::vector<std::string> arguments = {"run", "-n", "1"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    for (const char* word : {"--", "printf", "<%s>", "--", "-n", "a"}) arguments.emplace_back(word);
    const Result result = run_tutti(arguments);
    EXPECT_EQ(result.out, "<--><-n><a>") << result.err;
    EXPECT_EQ(result.status, 0);
  }
}

TEST(RunPrefix_EachMode, MarksTheRightLines) {
  struct Case {
    std::vector<std::string> options;
    std::vector<std::string> out, err;
  };
  const Case cases[] = {
      {{}, {"o0", "[1] o1"}, {"[0] e0", "[1] e1"}},
      {{"--prefix-all"}, {"[0] o0", "[1] o1"}, {"[0] e0", "[1] e1"}},
      {{"--no-prefix"}, {"o0", "o1"}, {"e0", "e1"}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> arguments = {"run", "-n", "2"};
    arguments.insert(arguments.end(), c.options.begin(), c.options.end());
    for (const char* word : {"sh", "-c", "echo o$TUTTI_RANK; echo e$TUTTI_RANK >&2"})
      arguments.emplace_back(word);
    const Result result = run_tutti(arguments);
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(lines_of(result.out), ::testing::UnorderedElementsAreArray(c.out));
    EXPECT_THAT(lines_of(result.err), ::testing::UnorderedElementsAreArray(c.err));
  }
}

TEST(RunOutput_LastLineWithoutNewline, IsNotLost) {
  const Result result = run_tutti({"run", "-n", "2", "sh", "-c", "printf part$TUTTI_RANK"});
  EXPECT_THAT(result.out, HasSubstr("[1] part1\n"));
  EXPECT_THAT(result.out, HasSubstr("part0"));
  EXPECT_THAT(result.out, SizeIs(sizeof("[1] part1\npart0") - 1));
}

// Lines are written in pieces so that mixing them would show.
TEST(RunOutput_LargeAndConcurrent, KeepsLinesWholeAndInOrder) {
  constexpr int kRanks = 4;
  constexpr int kLines = 20'000;
  const Result result = run_tutti(
      {"run", "-n", "4", "--prefix-all", "awk",
       "BEGIN { for (i = 0; i < 20000; i++) { printf \"line \"; if (i % 50 == 0) fflush(); "
       "printf \"%d of some length to fill the pipe\\n\", i } }"});
  EXPECT_EQ(result.status, 0);
  std::map<char, int> next;
  for (const std::string& line : lines_of(result.out)) {
    ASSERT_THAT(line, StartsWith("["));
    const std::string expected =
        "] line " + std::to_string(next[line[1]]++) + " of some length to fill the pipe";
    ASSERT_EQ(line.substr(2), expected);
  }
  EXPECT_THAT(next, SizeIs(kRanks));
  for (const auto& [rank, lines] : next) EXPECT_EQ(lines, kLines) << rank;
}

TEST(RunOutput_ReaderGone, RanksEndAsWithoutTutti) {
  Child child({"run", "-n", "2", "yes"});
  ASSERT_TRUE(child.wait_for("y\n"));
  child.close_out();
  EXPECT_EQ(child.wait(), 128 + SIGPIPE);
}

TEST(RunInput_File, GoesToRankZeroOnly) {
  const std::string path = ::testing::TempDir() + "run_input." + std::to_string(getpid());
  std::ofstream(path) << "hello\n";
  const Result result =
      run_tutti({"run", "-n", "3", "--prefix-all", "sh", "-c", "cat; echo end"}, path);
  std::remove(path.c_str());
  EXPECT_THAT(lines_of(result.out),
              UnorderedElementsAre("[0] hello", "[0] end", "[1] end", "[2] end"));
}

TEST(RunBind_MoreRanksThanCores, PinsRoundRobin) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  const int cpus = CPU_COUNT(&mine);
  const int ranks = cpus + 1;
  const Result result = run_tutti({"run", "-n", std::to_string(ranks), "--bind", "--prefix-all",
                                   "sed", "-n", "s/Cpus_allowed_list:\\t//p", "/proc/self/status"});
  EXPECT_EQ(result.status, 0);
  std::vector<std::string> lines = lines_of(result.out);
  ASSERT_THAT(lines, SizeIs(ranks));
  std::map<std::string, int> ranks_on;
  for (const std::string& line : lines) ++ranks_on[line.substr(line.find(' '))];
  EXPECT_LE(ranks_on.size(), static_cast<size_t>(cpus));
  const auto [least, most] =
      std::minmax_element(ranks_on.begin(), ranks_on.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
  EXPECT_LE(most->second - least->second, 1);
}

TEST(RunPinning_AsManyRanksAsCores_DefaultSharesThem, AndNoBindDoesNot) {
  cpu_set_t mine;
  ASSERT_EQ(sched_getaffinity(0, sizeof mine, &mine), 0);
  const int cpus = CPU_COUNT(&mine);
  if (cpus < 2) GTEST_SKIP() << "one CPU can't be shared";
  for (const bool pinned : {true, false}) {
    std::vector<std::string> command = {"run", "-n", "2", "--prefix-all"};
    if (!pinned) command.push_back("--no-bind");
    for (const char* word : {"sed", "-n", "s/Cpus_allowed_list:\\t//p", "/proc/self/status"}) {
      command.push_back(word);
    }
    const std::vector<std::string> lines = lines_of(run_tutti(command).out);
    ASSERT_THAT(lines, SizeIs(2));
    EXPECT_EQ(lines[0].substr(lines[0].find(' ')) != lines[1].substr(lines[1].find(' ')), pinned);
  }
}

class Relay : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe2(ends_, O_CLOEXEC | O_NONBLOCK), 0); }
  void TearDown() override {
    close(ends_[0]);
    close(ends_[1]);
  }
  std::string written(LineSink& sink) {
    std::string text;
    std::array<char, 65536> buffer;
    do {
      sink.write_some();
      const ssize_t got = read(ends_[0], buffer.data(), buffer.size());
      if (got > 0) text.append(buffer.data(), static_cast<size_t>(got));
    } while (!sink.empty());
    return text;
  }
  int ends_[2] = {-1, -1};
};

TEST_F(Relay, LineSource_AnyCuts_GiveTheSameLines) {
  const std::string text = "one\n\ntwo three\n";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    LineSink sink(ends_[1]);
    LineSource source("> ", sink);
    source.add(text.substr(0, cut));
    source.add(text.substr(cut));
    source.finish();
    EXPECT_EQ(written(sink), "> one\n> \n> two three\n") << cut;
  }
}

TEST_F(Relay, LineSource_EndlessLine_IsCut) {
  LineSink sink(ends_[1]);
  LineSource source("> ", sink);
  const std::string piece(size_t{1} << 20, 'x');
  source.add(piece);
  EXPECT_TRUE(sink.empty());
  source.add("y");
  EXPECT_TRUE(sink.full());
  EXPECT_EQ(written(sink), "> " + piece + "y\n");
}

TEST_F(Relay, LineSink_ReaderGone_DropsAndSaysSo) {
  const auto before = signal(SIGPIPE, SIG_IGN);
  LineSink sink(ends_[1]);
  close(ends_[0]);
  ends_[0] = -1;
  sink.add("x\n");
  sink.write_some();
  EXPECT_TRUE(sink.closed());
  sink.add("y\n");
  EXPECT_TRUE(sink.empty());
  signal(SIGPIPE, before);
}

}  // namespace
}  // namespace tutti::command
