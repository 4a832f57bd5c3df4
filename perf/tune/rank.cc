// SPDX-License-Identifier: Apache-2.0
// Measures candidates in turn, as a user's program would call them.
#include "perf/tune/rank.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "perf/cli/cli.h"
#include "perf/tune/calls.h"
#include "perf/tune/placement.h"
#include "perf/tune/points.h"
#include "src/base/clock.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

constexpr int kWarmCalls = 3;
constexpr double kMostCalls = 4096;       // in one slice
constexpr uint64_t kLongBytes = 1 << 20;  // calls from here on need not go round all roots
constexpr int kLongRoots = 2;

// Nothing here may be left to the user's environment: the job is about these ranks alone.
void set_up_environment() {
  for (const char* name : {"TUTTI_PLAN_FILE", "TUTTI_ALGO", "TUTTI_DETERMINISTIC",
                           "TUTTI_TRACE_DIR", "TUTTI_METRICS_FILE", "TUTTI_MEMORY_CAP"})
    unsetenv(name);
  // Candidates take turns; none may pay for pages that another has taken away.
  setenv("TUTTI_STAGING_POOL", "1G", 1);
}

struct CommDeleter {
  void operator()(tuttiComm* comm) const { tuttiCommDestroy(comm); }
};
using Comm = std::unique_ptr<tuttiComm, CommDeleter>;

// Memory of the kind that the request asks for.
class Memory {
 public:
  Memory(size_t bytes, bool mapped) : bytes_(std::max<size_t>(bytes, 4096)), mapped_(mapped) {
    if (mapped_) {
      require(tuttiMemAlloc(&data_, bytes_), "tuttiMemAlloc");
    } else {
      data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (data_ == MAP_FAILED) throw system_error("can't map a buffer", errno);
    }
    std::memset(data_, 0, bytes_);
  }
  ~Memory() {
    if (mapped_) {
      tuttiMemFree(data_);
    } else {
      ::munmap(data_, bytes_);
    }
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }

 private:
  size_t bytes_;
  bool mapped_;
  void* data_ = nullptr;
};

class Bench {
 public:
  explicit Bench(const Request& request) : effort_(request.effort) {
    require(tuttiLaunchInfo(&rank_, &n_ranks_, nullptr, nullptr), "tuttiLaunchInfo");
    base_ = make({});
    placement_ = Placement(rank_, n_ranks_);
    BufferBytes most;
    for (const Point& point : request.points) {
      const BufferBytes bytes = buffer_bytes(point.collective, n_ranks_, point.bytes);
      most.input = std::max(most.input, bytes.input);
      most.output = std::max(most.output, bytes.output);
    }
    input_ = std::make_unique<Memory>(most.input, request.mapped);
    output_ = std::make_unique<Memory>(most.output, request.mapped);
  }

  int rank() const { return rank_; }
  // The same on all ranks.
  Times measure(const Point& point);

 private:
  struct Runner {  // one candidate at one point
    tuttiComm_t comm = nullptr;
    double estimate_ns = 0;
    int calls = 1;  // in a slice
    bool dropped = false;
  };
  Comm make(const Candidate& candidate) const;
  Runner start(const Point& point, const Candidate& candidate);
  double time(const Point& point, tuttiComm_t comm, int calls) const;
  void run(const Point& point, tuttiComm_t comm, int calls) const;
  int roots(const Point& point) const {
    if (!plan::has_root(point.collective)) return 1;
    return point.bytes < kLongBytes ? n_ranks_ : std::min(n_ranks_, kLongRoots);
  }
  double slice_ns() const { return static_cast<double>(effort_.slice_ns); }
  int calls_in(const Point& point, double ns, double estimate_ns) const;
  int rounds(const std::vector<Runner>& runners) const;

  Effort effort_;
  int rank_ = 0;
  int n_ranks_ = 1;
  Comm base_;
  std::map<Candidate, Comm> comms_;
  Placement placement_;
  uint32_t shuffles_ = 0;
  std::unique_ptr<Memory> input_;
  std::unique_ptr<Memory> output_;
};

Comm Bench::make(const Candidate& candidate) const {
  // A configuration has no member for slots.
  const char* before = std::getenv("TUTTI_SLOT_BYTES");
  const std::string kept = before == nullptr ? "" : before;
  if (candidate.slot_bytes != 0)
    setenv("TUTTI_SLOT_BYTES", std::to_string(candidate.slot_bytes).c_str(), 1);
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  if (!candidate.algorithm.empty()) config.algorithm = candidate.algorithm.c_str();
  if (candidate.channels != 0) config.channels = static_cast<int>(candidate.channels);
  tuttiUniqueId id;
  require(tuttiGetLaunchUniqueId(&id), "tuttiGetLaunchUniqueId");
  tuttiComm_t comm = nullptr;
  require(tuttiCommInitRankConfig(&comm, n_ranks_, id, rank_, &config), "tuttiCommInitRankConfig");
  setenv("TUTTI_SLOT_BYTES", kept.c_str(), 1);
  return Comm(comm);
}

void Bench::run(const Point& point, tuttiComm_t comm, int calls) const {
  const Buffers buffers{input_->data(), output_->data()};
  const int n_roots = roots(point);
  for (int i = 0; i < calls; ++i) {
    require(call(point.collective, buffers, point.bytes / sizeof(float), i % n_roots, comm),
            plan::name(point.collective));
  }
}

// ns of one call on the rank that took longest; the same on all ranks. Roots change from call to
// call, so that none runs ahead of the others.
double Bench::time(const Point& point, tuttiComm_t comm, int calls) const {
  require(tuttiBarrier(base_.get(), nullptr), "tuttiBarrier");
  const int64_t begin = now_ns();
  run(point, comm, calls);
  double ns = static_cast<double>(now_ns() - begin) / calls;
  require(tuttiAllReduce(&ns, &ns, 1, tuttiFloat64, tuttiMax, base_.get(), nullptr),
          "tuttiAllReduce");
  return ns;
}

int Bench::calls_in(const Point& point, double ns, double estimate_ns) const {
  const int n_roots = roots(point);
  const double wanted = std::clamp(ns / std::max(estimate_ns, 1.0), 1.0, kMostCalls);
  return static_cast<int>(std::ceil(wanted / n_roots)) * n_roots;
}

Bench::Runner Bench::start(const Point& point, const Candidate& candidate) {
  Comm& comm = comms_[candidate];
  if (comm == nullptr) comm = make(candidate);
  Runner runner{.comm = comm.get()};
  const int n_roots = roots(point);
  run(point, runner.comm, n_roots);  // connections, pages
  const double slice = slice_ns();
  runner.estimate_ns = time(point, runner.comm, n_roots);
  if (runner.estimate_ns * n_roots < slice / 4) {
    run(point, runner.comm, kWarmCalls * n_roots);
    runner.estimate_ns = time(point, runner.comm, calls_in(point, slice / 8, runner.estimate_ns));
    runner.estimate_ns = time(point, runner.comm, calls_in(point, slice / 2, runner.estimate_ns));
  }
  runner.calls = calls_in(point, slice, runner.estimate_ns);
  return runner;
}

int Bench::rounds(const std::vector<Runner>& runners) const {
  double round_ns = 0;
  for (const Runner& runner : runners)
    if (!runner.dropped) round_ns += runner.estimate_ns * runner.calls;
  const auto affordable =
      static_cast<int>(static_cast<double>(effort_.point_ns) / std::max(round_ns, 1.0));
  return std::min(effort_.rounds, std::max(affordable, effort_.least_rounds));
}

Times Bench::measure(const Point& point) {
  std::vector<Runner> runners;
  for (const Candidate& candidate : point.candidates) runners.push_back(start(point, candidate));
  const double best = std::ranges::min(runners, {}, &Runner::estimate_ns).estimate_ns;
  Times times(runners.size());
  for (size_t i = 0; i < runners.size(); ++i) {
    Runner& runner = runners[i];
    const bool kept = static_cast<int>(i) == point.keep;
    // A second look: the first may have been disturbed.
    if (!kept && runner.estimate_ns > effort_.drop_above * best) {
      runner.estimate_ns =
          std::min(runner.estimate_ns,
                   time(point, runner.comm, calls_in(point, slice_ns() / 2, runner.estimate_ns)));
      runner.calls = calls_in(point, slice_ns(), runner.estimate_ns);
    }
    runner.dropped = !kept && runner.estimate_ns > effort_.drop_above * best;
    if (runner.dropped) times[i].push_back(runner.estimate_ns);
  }
  const int n_rounds = rounds(runners);
  for (int round = 0; round < n_rounds; ++round) {
    const bool moved = placement_.shuffle(shuffles_++);
    for (size_t k = 0; k < runners.size(); ++k) {
      const size_t i = (k + static_cast<size_t>(round)) % runners.size();
      // Caches are cold after a move, which must not be the first candidate's cost.
      if (moved && k == 0) run(point, runners[i].comm, roots(point));
      if (!runners[i].dropped) times[i].push_back(time(point, runners[i].comm, runners[i].calls));
    }
  }
  return times;
}

std::string read_whole(int fd) {
  std::string text;
  char piece[1 << 16];
  ssize_t got = 0;
  // Not read(): the ranks share the descriptor and its place.
  while ((got = ::pread(fd, piece, sizeof piece, static_cast<off_t>(text.size()))) > 0)
    text.append(piece, static_cast<size_t>(got));
  if (got < 0) throw system_error("can't read what to measure", errno);
  return text;
}

void write_line(int fd, std::string line) {
  line += '\n';
  for (size_t done = 0; done < line.size();) {
    const ssize_t put = ::write(fd, line.data() + done, line.size() - done);
    if (put < 0 && errno != EINTR) throw system_error("can't report what was measured", errno);
    if (put > 0) done += static_cast<size_t>(put);
  }
}

struct RankOptions {
  int request_fd = -1;
  int report_fd = -1;
};

void measure_all(const RankOptions& options) {
  set_up_environment();
  const Request request = request_from_text(read_whole(options.request_fd));
  Bench bench(request);
  for (const Point& point : request.points) {
    const Times times = bench.measure(point);
    if (bench.rank() == 0) write_line(options.report_fd, to_text(times));
  }
}

}  // namespace

void add_tune_rank(cli::Command app, int* exit_status) {
  auto options = std::make_shared<RankOptions>();
  cli::Command rank = app.add_subcommand(kRankCommand, "One rank of a measurement");
  rank.hide();
  rank.add_option("REQUEST", options->request_fd).required();
  rank.add_option("REPORT", options->report_fd).required();
  rank.callback([options, exit_status] {
    measure_all(*options);
    *exit_status = 0;
  });
}

}  // namespace tutti::command
