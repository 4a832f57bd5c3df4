// SPDX-License-Identifier: Apache-2.0
// Runs a test's rows on this process's threads: warm up, time, check.
#include "perf/bench/bench.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <numeric>
#include <optional>
#include <string>
#include <thread>

#include "perf/bench/gpu.h"
#include "perf/bench/options.h"
#include "perf/bench/pattern.h"
#include "perf/bench/table.h"
#include "perf/bench/team.h"
#include "src/base/error.h"
#include "src/kernels/dtypes.h"

namespace tutti::bench {
namespace {

constexpr int kPoison = 0x5a;  // what a result buffer holds before the checked call

struct RowKey {
  size_t bytes = 0;
  int type = 0;
  int op = 0;
  int root = 0;
  bool in_place = false;
};

// One thread's part of the job.
class Worker {
 public:
  Worker(const Options& options, const Test& test, Team& team, Table& table)
      : options_(options), test_(test), team_(team), table_(table) {}

  void run() {
    for (int cycle = 0; options_.cycles == 0 || cycle < options_.cycles; ++cycle) {
      for (const int type : options_.types) {
        for (const int op : test_.has_op ? options_.ops : std::vector<int>{tuttiSum}) {
          for (const int root : roots()) sweep(type, op, root);
        }
      }
    }
    team_.release_operations();
  }

 private:
  std::vector<int> roots() const {
    if (!test_.has_root) return {-1};
    if (options_.root >= 0) return {options_.root};
    std::vector<int> all(static_cast<size_t>(team_.n_ranks()));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  void sweep(int type, int op, int root) {
    for (size_t bytes = options_.min_bytes; bytes <= options_.max_bytes;) {
      row({bytes, type, op, root, false});
      const size_t next =
          options_.step_factor > 1
              ? static_cast<size_t>(static_cast<double>(bytes) * options_.step_factor)
              : bytes + options_.step_bytes;
      bytes = std::max(next, bytes + 1);
    }
  }

  void row(RowKey key) {
    const size_t elem = size_of(static_cast<DType>(key.type));
    const Sizes sizes = sizes_of(key);
    const char* op = test_.has_op ? op_name(key.op) : "none";
    const size_t bytes = std::max(sizes.send, sizes.recv) * elem;
    table_.progress(bytes, type_name(key.type), op);
    const Measured out_of_place = measure(key);
    Measured in_place;
    key.in_place = true;
    if (test_.in_place) in_place = measure(key);
    if (team_.first_rank() == 0)
      table_.row(bytes, sizes.count, type_name(key.type), op, key.root, out_of_place, in_place);
  }

  Sizes sizes_of(const RowKey& key) const {
    const size_t elem = size_of(static_cast<DType>(key.type));
    return test_.sizes(key.bytes / elem, elem, team_.n_ranks());
  }

  Call call_of(const RowKey& key, size_t i) {
    const size_t elem = size_of(static_cast<DType>(key.type));
    const size_t shift = options_.unalign ? elem : 0;
    Call call;
    call.sizes = sizes_of(key);
    call.rank = team_.rank(i);
    call.n_ranks = team_.n_ranks();
    call.type = static_cast<tuttiDataType_t>(key.type);
    call.op = team_.operation(i, key.op, key.type);
    call.root = std::max(key.root, 0);
    call.comm = team_.comm(i);
    call.stream = team_.stream(i);
    call.gpu = team_.gpu(i);
    const auto r = static_cast<size_t>(call.rank);
    std::byte* recv = team_.buffers(i).recv + shift;
    call.send = key.in_place ? recv + r * call.sizes.send_in_place_at * elem
                             : team_.buffers(i).send + shift;
    call.recv = key.in_place ? recv + r * call.sizes.recv_in_place_at * elem : recv;
    return call;
  }

  void prepare(const RowKey& key, const std::vector<Call>& calls) {
    const size_t elem = size_of(static_cast<DType>(key.type));
    for (const Call& c : calls) {
      const Pattern& input =
          team_.patterns().input(key.type, test_.has_op ? key.op : 0, c.rank, c.n_ranks);
      auto* const recv = static_cast<std::byte*>(c.recv);
      auto* const send = static_cast<std::byte*>(const_cast<void*>(c.send));
      if (c.gpu == nullptr) {
        std::memset(recv, kPoison, c.sizes.recv * elem);
        fill(send, input, elem, 0, c.sizes.send);
      } else {
        c.gpu->set(recv, kPoison, c.sizes.recv * elem);
        image_.resize(c.sizes.send * elem);
        fill(image_.data(), input, elem, 0, c.sizes.send);
        c.gpu->write(send, image_.data(), image_.size());
      }
    }
  }

  // The rank's result, where the host can read it, until the next call of this function.
  const std::byte* result(const Call& c, size_t elem) {
    if (c.gpu == nullptr) return static_cast<const std::byte*>(c.recv);
    image_.resize(c.sizes.recv * elem);
    c.gpu->read(image_.data(), static_cast<const std::byte*>(c.recv), image_.size());
    return image_.data();
  }

  // `times` operations of every rank of this thread. Those that are made of stages can't share a
  // group.
  void issue(std::vector<Call>& calls, int times) const {
    const int stages = test_.stages == nullptr ? 1 : test_.stages(team_.n_ranks());
    if (stages == 1) return issue_group(calls, times);
    for (int t = 0; t < times; ++t) {
      for (int stage = 0; stage < stages; ++stage) {
        for (Call& call : calls) call.stage = stage;
        issue_group(calls, 1);
      }
    }
  }

  void issue_group(const std::vector<Call>& calls, int times) const {
    const bool grouped = calls.size() > 1 || times > 1 || test_.in_group;
    if (grouped) require(tuttiGroupStart(), "tuttiGroupStart");
    for (int t = 0; t < times; ++t) {
      for (const Call& call : calls) require(test_.issue(call), test_.name);
    }
    if (grouped) require(tuttiGroupEnd(), test_.name);
  }

  double clock_seconds() const {
    timespec t{};
    clock_gettime(options_.report_cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  Measured measure(const RowKey& key) {
    const size_t elem = size_of(static_cast<DType>(key.type));
    std::vector<Call> calls;
    for (size_t i = 0; i < team_.size(); ++i) calls.push_back(call_of(key, i));
    prepare(key, calls);
    for (int w = 0; w < options_.warmup; ++w) issue(calls, options_.aggregated);
    team_.wait();
    team_.reduce(0, tuttiSum);
    Measured m;
    m.available = true;
    const double start = clock_seconds();
    for (int n = 0; n < options_.iterations; ++n) {
      const double begin = options_.per_iteration ? clock_seconds() : 0;
      issue(calls, options_.aggregated);
      if (options_.blocking || options_.per_iteration) team_.wait();
      if (options_.per_iteration) m.iteration_seconds.push_back(clock_seconds() - begin);
    }
    team_.wait();
    const double mine = (clock_seconds() - start) / options_.iterations / options_.aggregated;
    m.seconds = average(mine);
    m.bandwidth = test_.bandwidth(calls[0].sizes, elem, m.seconds, team_.n_ranks());
    if (options_.check) m.wrong = check(key, calls);
    return m;
  }

  double average(double mine) {
    switch (options_.average) {
      case 0:
        return team_.reduce(team_.first_rank() == 0 ? mine : 0, tuttiMax);
      case 2:
        return team_.reduce(mine, tuttiMin);
      case 3:
        return team_.reduce(mine, tuttiMax);
      default:
        return team_.reduce(mine, tuttiAvg);
    }
  }

  int64_t check(const RowKey& key, std::vector<Call>& calls) {
    const size_t elem = size_of(static_cast<DType>(key.type));
    prepare(key, calls);
    team_.reduce(0, tuttiSum);  // nobody's data arrives before the result buffers are poisoned
    issue(calls, 1);
    team_.wait();
    size_t wrong = 0;
    for (const Call& c : calls) {
      const std::byte* const got = result(c, elem);
      for (const Piece& piece : test_.expect(c.sizes, c.rank, c.n_ranks, c.root)) {
        const Pattern& table = piece.source == Piece::kReduction
                                   ? team_.patterns().reduced(key.type, key.op, c.n_ranks)
                                   : team_.patterns().input(key.type, test_.has_op ? key.op : 0,
                                                            piece.source, c.n_ranks);
        wrong += count_differences(got + piece.at * elem, table, elem, piece.first, piece.count);
      }
    }
    return static_cast<int64_t>(team_.reduce(static_cast<double>(wrong), tuttiSum) /
                                static_cast<double>(calls.size()));
  }

  const Options& options_;
  const Test& test_;
  Team& team_;
  Table& table_;
  std::vector<std::byte> image_;  // of a GPU's buffer
};

// Bytes of the largest buffer of any row.
size_t largest_bytes(const Options& o, const Test& test, int n_ranks) {
  size_t most = 0;
  for (const int type : o.types) {
    const size_t elem = size_of(static_cast<DType>(type));
    const Sizes sizes = test.sizes(o.max_bytes / elem, elem, n_ranks);
    most = std::max(most, std::max(sizes.send, sizes.recv) * elem);
  }
  return most + 64;  // room for -u
}

struct Job {
  int process = 0;
  int processes = 1;
  int n_ranks = 1;
  int first_gpu = kNoGpu;  // of this process
  tuttiUniqueId id{};
};

// What is wrong with the request, before a long run, not behind it; "" when nothing is.
std::string refusal(const Options& options, const Test& test, const Job& job) {
  const std::string ranks = std::to_string(job.n_ranks);
  if (test.supports != nullptr && !test.supports(job.n_ranks))
    return std::string("needs ") + test.ranks_wanted + ", got " + ranks + " ranks";
  if (test.has_root && options.root >= job.n_ranks)
    return "-r " + std::to_string(options.root) + " is not a rank; there are " + ranks;
  if (job.process == 0 && !options.json_file.empty() &&
      !std::ofstream(options.json_file, std::ios::app))
    return "-J: can't write '" + options.json_file + "'";
  return "";
}

// One thread's ranks, from their set-up to their end.
void run_team(const Options& o, const Test& test, const Job& job, int thread, Table& table) {
  try {
    const int first = (job.process * o.threads + thread) * o.ranks_per_thread;
    const Team::Seats seats{.n_ranks = job.n_ranks,
                            .first = first,
                            .count = o.ranks_per_thread,
                            .first_gpu = job.first_gpu == kNoGpu
                                             ? kNoGpu
                                             : job.first_gpu + thread * o.ranks_per_thread};
    Team team(o, seats, job.id);
    team.allocate(largest_bytes(o, test, job.n_ranks));
    const std::vector<RankLine> lines = team.gather_lines();
    if (first == 0) table.header(lines);
    Worker(o, test, team, table).run();
  } catch (const Error& error) {  // of a GPU
    std::fprintf(stderr, "%s: %s\n", test.name, error.what());
    std::fflush(nullptr);
    _exit(1);  // as require()
  }
}

int run_threads(const Options& o, const Test& test, const Job& job) {
  Table table(o, test, job.process == 0);
  const auto body = [&](int thread) { run_team(o, test, job, thread, table); };
  std::vector<std::thread> threads;
  for (int t = 1; t < o.threads; ++t) threads.emplace_back(body, t);
  body(0);
  for (std::thread& t : threads) t.join();
  return table.footer();
}

}  // namespace

void copy_locally(const Call& call, void* to, const void* from, size_t bytes) {
  if (call.gpu != nullptr) return call.gpu->copy(to, from, bytes);
  if (bytes != 0) std::memcpy(to, from, bytes);
}

Bandwidth bandwidth(double bytes, double seconds, double bus_factor) {
  const double gbps = seconds > 0 ? bytes / seconds / 1e9 : 0;
  return {gbps, gbps * bus_factor};
}

size_t block_elems(size_t count, size_t elem_bytes, int n_ranks) {
  const size_t align = 16 / elem_bytes;
  return count / static_cast<size_t>(n_ranks) / align * align;
}

int bench_main(int argc, char** argv, const Test& test) {
  Options options;
  int exit_status = 0;
  if (!parse(argc, argv, test.name, &options, &exit_status)) return exit_status;
  Job job;
  Dealing dealing{.ranks = options.threads * options.ranks_per_thread};
  require(tuttiLaunchInfo(&job.process, &job.processes, &dealing.local_rank, &dealing.local_size),
          "tuttiLaunchInfo");
  job.n_ranks = job.processes * dealing.ranks;
  if (const std::string why = refusal(options, test, job); !why.empty()) {
    if (job.process == 0) std::fprintf(stderr, "%s: %s\n", test.name, why.c_str());
    return 1;
  }
  const std::optional<int> gpu = first_gpu(options, test.name, dealing);
  if (!gpu.has_value()) return 1;
  job.first_gpu = *gpu;
  if (job.first_gpu != kNoGpu && options.registration != 0) {
    std::fprintf(stderr, "%s: -R: memory of GPUs is used as it is; only 0 is possible there\n",
                 test.name);
    return 1;
  }
  require(tuttiGetLaunchUniqueId(&job.id), "tuttiGetLaunchUniqueId");
  return run_threads(options, test, job);
}

}  // namespace tutti::bench
