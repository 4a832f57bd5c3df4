// SPDX-License-Identifier: Apache-2.0
// `tutti run` and `tutti`: failures of ranks, signals, time limits, terminals and wrong usage.
#include <pty.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/unit/run_child.h"

namespace tutti::command {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::SizeIs;

std::vector<std::string> shell(int ranks, const std::string& script,
                               std::vector<std::string> options = {}) {
  std::vector<std::string> arguments = {"run", "-n", std::to_string(ranks)};
  arguments.insert(arguments.end(), options.begin(), options.end());
  for (const std::string& word : {std::string("sh"), std::string("-c"), script})
    arguments.push_back(word);
  return arguments;
}

TEST(RunFailure_EachWayToEnd, GivesStatusAndMessage) {
  struct Case {
    int ranks;
    const char* script;
    int status;
    const char* message;  // regular expression of the last line on stderr; "" for none
  };
  const Case cases[] = {
      {1, "exit 0", 0, ""},
      {4, "exit 0", 0, ""},
      {1, "exit 5", 5, "tutti run: the program \\(pid [0-9]+\\) exited with status 5"},
      {1, "kill -9 $$", 137,
       "tutti run: the program \\(pid [0-9]+\\) was killed by signal 9 \\(SIGKILL\\)"},
      {2, "[ $TUTTI_RANK = 1 ] && exit 3; sleep 60", 3,
       "tutti run: rank 1 \\(pid [0-9]+\\) exited with status 3; the other rank was stopped"},
      {4, "[ $TUTTI_RANK = 2 ] && kill -9 $$; sleep 60", 137,
       "tutti run: rank 2 \\(pid [0-9]+\\) was killed by signal 9 \\(SIGKILL\\); the other 3 ranks "
       "were stopped"},
      {3, "[ $TUTTI_RANK = 0 ] && kill -SEGV $$; sleep 60", 139,
       "tutti run: rank 0 \\(pid [0-9]+\\) was killed by signal 11 \\(SIGSEGV\\); the other 2 "
       "ranks were stopped"},
  };
  for (const Case& c : cases) {
    const Result result = run_tutti(shell(c.ranks, c.script));
    EXPECT_EQ(result.status, c.status) << c.script;
    EXPECT_THAT(result.out, IsEmpty());
    const std::vector<std::string> lines = lines_of(result.err);
    if (*c.message == '\0') {
      EXPECT_THAT(lines, IsEmpty()) << c.script;
    } else {
      ASSERT_THAT(lines, SizeIs(1)) << result.err;
      EXPECT_THAT(lines[0], MatchesRegex(c.message)) << c.script;
    }
  }
}

TEST(RunFailure_RanksThatEndedBefore, AreNotCountedAsStopped) {
  const Result result = run_tutti(
      shell(3, "case $TUTTI_RANK in 0) exit 0;; 1) sleep 0.3; exit 9;; 2) sleep 60;; esac"));
  EXPECT_EQ(result.status, 9);
  EXPECT_THAT(result.err, HasSubstr("rank 1 "));
  EXPECT_THAT(result.err, HasSubstr("status 9; 1 rank was stopped"));
}

TEST(RunFailure_RankIgnoresSigterm, IsKilledAfterTheGrace) {
  const int64_t start = now_ns();
  const Result result = run_tutti(
      shell(2, "trap '' TERM; [ $TUTTI_RANK = 1 ] && exit 4; while :; do sleep 0.1; done"));
  EXPECT_EQ(result.status, 4);
  EXPECT_GE(now_ns() - start, 2 * kNsPerSecond);
}

// "pid N" printed by a rank about a process of its own.
pid_t printed_pid(const std::string& out) {
  const size_t at = out.find("pid ");
  return at == std::string::npos ? -1 : atoi(out.c_str() + at + 4);
}

TEST(RunEnd_GrandchildrenOfRanks, DieWithTheJob) {
  for (const char* end : {"exit 0", "exit 1", "kill -9 $$"}) {
    const Result result =
        run_tutti(shell(1, std::string("sleep 300 >/dev/null 2>&1 & echo pid $!; ") + end));
    const pid_t grandchild = printed_pid(result.out);
    ASSERT_GT(grandchild, 0) << result.out;
    EXPECT_TRUE(eventually([&] { return is_gone(grandchild); })) << end;
  }
}

TEST(RunEnd_GrandchildHoldsTheOutput, DoesNotDelayTheEnd) {
  const int64_t start = now_ns();
  const Result result = run_tutti(shell(2, "sleep 300 & echo done"));
  EXPECT_EQ(result.status, 0);
  EXPECT_LT(now_ns() - start, 20 * kNsPerSecond);
}

TEST(RunEnd_LauncherKilled, TakesTheRanksAlong) {
  Child child(shell(2, "[ $TUTTI_RANK = 1 ] && echo pid $$ && exec sleep 300; exec sleep 300"));
  ASSERT_TRUE(child.wait_for("\n"));
  const pid_t rank = printed_pid(child.out());
  ASSERT_GT(rank, 0);
  kill(child.pid(), SIGKILL);
  EXPECT_EQ(child.wait(), 128 + SIGKILL);
  EXPECT_TRUE(eventually([&] { return is_gone(rank); }));
}

TEST(RunSignal_EachForwarded, ReachesEveryRank) {
  struct Case {
    int number;
    const char* name;
  };
  for (const Case& c : {Case{SIGINT, "INT"}, Case{SIGTERM, "TERM"}, Case{SIGHUP, "HUP"},
                        Case{SIGUSR1, "USR1"}, Case{SIGUSR2, "USR2"}}) {
    const std::string script = std::string("trap 'echo got $TUTTI_RANK; exit 0' ") + c.name +
                               "; echo ready; while :; do sleep 0.05; done";
    Child child(shell(2, script, {"--prefix-all"}));
    ASSERT_TRUE(child.wait_for("[0] ready") && child.wait_for("[1] ready"));
    kill(child.pid(), c.number);
    EXPECT_EQ(child.wait(), 0) << c.name;
    EXPECT_THAT(child.out(), AllOf(HasSubstr("[0] got 0"), HasSubstr("[1] got 1"))) << c.name;
  }
}

TEST(RunSignal_Interrupt, EndsRanksThatDoNotHandleIt) {
  Child child(shell(2, "echo ready; exec sleep 60"));
  ASSERT_TRUE(child.wait_for("[1] ready"));
  kill(child.pid(), SIGINT);
  EXPECT_EQ(child.wait(), 128 + SIGINT);
  EXPECT_THAT(child.err(), HasSubstr("after signal 2 (SIGINT) had been passed on"));
}

TEST(RunSignal_SecondInterrupt, StopsRanksThatIgnoreIt) {
  Child child(shell(2, "trap '' INT; echo ready; exec sleep 60", {"--prefix-all"}));
  ASSERT_TRUE(child.wait_for("[0] ready") && child.wait_for("[1] ready"));
  kill(child.pid(), SIGINT);
  ASSERT_TRUE(eventually([&] {  // equal signals merge while one is pending
    kill(child.pid(), SIGINT);
    return is_gone(child.pid());
  }));
  EXPECT_EQ(child.wait(), 128 + SIGTERM);
}

TEST(RunSignal_StopAndContinue, StopsAndContinuesRanks) {
  Child child(shell(2, "[ $TUTTI_RANK = 1 ] && echo pid $$; exec sleep 1", {"--timeout", "25"}));
  ASSERT_TRUE(child.wait_for("\n"));
  const pid_t rank = printed_pid(child.out());
  kill(child.pid(), SIGTSTP);
  EXPECT_TRUE(
      eventually([&] { return process_state(child.pid()) == 'T' && process_state(rank) == 'T'; }));
  kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

TEST(RunTimeout_Expires, StopsTheJob) {
  const Result result = run_tutti(shell(3, "sleep 60", {"--timeout", "0.2"}));
  EXPECT_EQ(result.status, 124);
  EXPECT_EQ(result.err, "tutti run: the job did not end within 0.2 s; 3 ranks were stopped\n");
}

TEST(RunTimeout_ReaderStuck, StillEnds) {
  Child child({"run", "-n", "2", "--timeout", "0.2", "yes"});
  // Nobody reads until it has ended.
  EXPECT_TRUE(eventually([&] { return is_gone(child.pid()); }));
  EXPECT_EQ(child.wait(), 124);
}

TEST(RunProgram_Missing, IsExplained) {
  Result result = run_tutti({"run", "-n", "2", "no-such-program"});
  EXPECT_EQ(result.status, 127);
  EXPECT_EQ(result.err,
            "tutti run: can't find a program \"no-such-program\" beside tutti or on PATH\n");
  result = run_tutti({"run", "-n", "2", "./no-such-program"});
  EXPECT_EQ(result.status, 127);
  result = run_tutti({"run", "-n", "2", "/proc/self/status"});
  EXPECT_EQ(result.status, 127);
}

TEST(RunProgram_CannotBeExecuted, IsExplained) {
  const std::string path = ::testing::TempDir() + "run_bad_program." + std::to_string(getpid());
  std::ofstream(path) << "#!/no/such/interpreter\n";
  chmod(path.c_str(), 0755);
  const Result result = run_tutti({"run", "-n", "2", path});
  unlink(path.c_str());
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("tutti run: can't run " + path), HasSubstr("No such file")));
}

TEST(RunProgram_BesideTutti, IsFoundWithoutPath) {
  const Result result = run_tutti({"run", "-n", "1", "tutti", "--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.out, MatchesRegex("tutti [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(TuttiCommand_WrongUsage, Exits2AndNamesTheSubcommand) {
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const Case cases[] = {
      {{}, "Usage: tutti"},
      {{"frobnicate"}, "tutti: "},
      {{"run"}, "tutti run: --ranks is required"},
      {{"run", "-n", "2"}, "tutti run: PROGRAM is required"},
      {{"run", "-n", "2", "--"}, "tutti run: PROGRAM is required"},
      {{"run", "--", "true"}, "tutti run: --ranks is required"},
      {{"run", "-n", "0", "true"}, "tutti run: --ranks"},
      {{"run", "-n", "4097", "true"}, "tutti run: --ranks"},
      {{"run", "-n", "x", "true"}, "tutti run: "},
      {{"run", "-n", "2", "--frob", "true"},
       "tutti run: The following argument was not expected: --frob"},
      {{"run", "-n", "2", "--timeout", "0", "true"}, "tutti run: --timeout"},
      {{"run", "-n", "2", "--no-prefix", "--prefix-all", "true"}, "tutti run: "},
      {{"topo", "--as", "dot"}, "tutti topo: --as"},
      {{"topo", "--from", "a", "--synthetic", "host"}, "tutti topo: "},
  };
  for (const Case& c : cases) {
    const Result result = run_tutti(c.arguments);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.message));
    EXPECT_THAT(result.out, IsEmpty());
  }
}

TEST(TuttiTopo_EachSource, PrintsOrExplains) {
  EXPECT_THAT(run_tutti({"topo"}).out, HasSubstr("numa0"));
  EXPECT_THAT(run_tutti({"topo", "--synthetic", "dgx-h100 x2"}).out, HasSubstr("nvlink 450 GB/s"));
  const Result missing = run_tutti({"topo", "--from", "/no/such/file"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err, "tutti topo: can't open /no/such/file for reading\n");
  EXPECT_THAT(run_tutti({"topo", "--from", "-"}).err,
              HasSubstr("tutti topo: standard input: expected one of native JSON"));
  EXPECT_THAT(run_tutti({"topo", "--synthetic", "cray"}).err, HasSubstr("\"cray\": unknown model"));
  const std::string path = ::testing::TempDir() + "topo." + std::to_string(getpid());
  const std::string json = run_tutti({"topo", "--synthetic", "dgx-1v", "--as", "json"}).out;
  std::ofstream(path) << json;
  EXPECT_EQ(run_tutti({"topo", "--from", path, "--as", "json"}).out, json);
  EXPECT_EQ(run_tutti({"topo", "--from", "-", "--as", "json"}, path).out, json);
  unlink(path.c_str());
}

// A pseudo-terminal as the job's input and output.
class Terminal : public ::testing::Test {
 protected:
  void start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), TUTTI_COMMAND);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      execv(argv[0], argv.data());
      _exit(98);
    }
  }
  void type(const std::string& text) const {
    ASSERT_EQ(write(fd_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool wait_for(const std::string& text) {
    const Deadline deadline = Deadline::after_ns(20 * kNsPerSecond);
    while (out_.find(text) == std::string::npos) {
      pollfd polled{fd_, POLLIN, 0};
      if (deadline.expired() || poll(&polled, 1, deadline.left_ms()) <= 0) return false;
      char buffer[4096];
      const ssize_t got = read(fd_, buffer, sizeof buffer);
      if (got <= 0) return false;
      out_.append(buffer, static_cast<size_t>(got));
    }
    return true;
  }
  int end() {
    int status = 0;
    if (!eventually([&] { return waitpid(pid_, &status, WNOHANG) == pid_; })) return -1;
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(fd_);
  }
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string out_;
};

TEST_F(Terminal, Run_TypedLine_ReachesRankZero) {
  start(shell(2, "[ $TUTTI_RANK = 0 ] && read line && echo got $line; exit 0"));
  type("hello\n");
  EXPECT_TRUE(wait_for("got hello")) << out_;
  EXPECT_EQ(end(), 0);
}

TEST_F(Terminal, Run_EndOfInputTyped_EndsTheInput) {
  start(shell(1, "cat; echo end"));
  type("hello\n");
  ASSERT_TRUE(wait_for("hello\r\nhello")) << out_;  // the echo and the answer
  type("\x04");
  EXPECT_TRUE(wait_for("\nend")) << out_;
  EXPECT_EQ(end(), 0);
}

TEST_F(Terminal, Run_ControlC_EndsTheJob) {
  start(shell(2, "echo ready; exec sleep 60"));
  ASSERT_TRUE(wait_for("[1] ready")) << out_;
  type("\x03");
  EXPECT_EQ(end(), 128 + SIGINT);
}

TEST_F(Terminal, Run_SingleProcess_SeesTheTerminal) {
  start(shell(1, "[ -t 1 ] && [ -t 2 ] && echo a terminal"));
  EXPECT_TRUE(wait_for("a terminal")) << out_;
  EXPECT_EQ(end(), 0);
}

}  // namespace
}  // namespace tutti::command
