// SPDX-License-Identifier: Apache-2.0
// Times MoE layers on the ranks of a job: the library's dispatch and combine in turns with the
// pipeline of perf/moe/naive.h, checks one against the other, and reports bytes against their
// bound.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "perf/moe/layer.h"
#include "perf/moe/naive.h"
#include "perf/moe/options.h"
#include "perf/moe/routes.h"
#include "src/base/clock.h"

namespace tutti::moe_perf {
namespace {

// A row of the table, of all ranks.
struct Result {
  std::string skew;
  size_t tokens = 0;
  int iterations = 0;
  Times fused, naive;  // medians over iterations of the slowest rank's
  double ratio = 0;    // median of the iterations' ratios
  double ranks_of_token = 0;
  double wire_over_bound = 0;
  double copies_over_formula = 0;
  double wire_bytes = 0;  // of one iteration, all ranks
  double naive_wire_bytes = 0;
  uint64_t wrong = 0;
};

class Bench {
 public:
  Bench(const Options& options, const Seat& seat, const std::vector<std::vector<int64_t>>& routing)
      : options_(options), seat_(seat), routing_(routing) {}
  Result measure(const std::string& skew, size_t tokens);

 private:
  std::vector<int64_t> table(const std::string& skew, size_t tokens, int rank) const;
  Demand demand(const std::string& skew, size_t tokens) const;
  double all(double value, tuttiRedOp_t op) const;
  std::vector<double> all(std::vector<double> values, tuttiRedOp_t op) const;
  void time(const Input& input, Fused& fused, Naive* naive, Result* result) const;
  void count_bytes(const Input& input, const tuttiMoeStats_t& before, const tuttiMoeStats_t& after,
                   Result* result) const;
  uint64_t check(const Input& input, const Fused& fused, const Naive& naive,
                 const Demand& rows) const;
  int rank_of(int64_t expert) const;
  int ranks_of(const Input& input, size_t token, bool* stays) const;

  const Options& options_;
  const Seat seat_;
  const std::vector<std::vector<int64_t>>& routing_;
};

std::vector<int64_t> Bench::table(const std::string& skew, size_t tokens, int rank) const {
  const RouteShape shape{
      .tokens = tokens,
      .k = options_.top_k,
      .experts = options_.experts,
      .rank = rank,
      .n_ranks = seat_.n_ranks,
      .nodes = options_.nodes != 0 ? options_.nodes : std::max(1, seat_.n_ranks / 2),
      .seed = options_.seed};
  return routing_.empty() ? synthetic(skew, shape) : replayed(routing_, shape);
}

int Bench::rank_of(int64_t expert) const {
  const int each = options_.experts / seat_.n_ranks, more = options_.experts % seat_.n_ranks;
  const int with_more = more * (each + 1), e = static_cast<int>(expert);
  return e < with_more ? e / (each + 1) : more + (e - with_more) / std::max(1, each);
}

Demand Bench::demand(const std::string& skew, size_t tokens) const {
  std::vector<size_t> rows(static_cast<size_t>(seat_.n_ranks));
  for (const int64_t expert : table(skew, tokens, seat_.rank)) {
    if (expert >= 0) ++rows[static_cast<size_t>(rank_of(expert))];
  }
  std::vector<double> sums(rows.begin(), rows.end());
  sums = all(std::move(sums), tuttiSum);
  return {static_cast<size_t>(sums[static_cast<size_t>(seat_.rank)]),
          static_cast<size_t>(*std::max_element(sums.begin(), sums.end()))};
}

std::vector<double> Bench::all(std::vector<double> values, tuttiRedOp_t op) const {
  require(tuttiAllReduce(values.data(), values.data(), values.size(), tuttiDouble, op, seat_.comm,
                         nullptr),
          "tuttiAllReduce");
  return values;
}
double Bench::all(double value, tuttiRedOp_t op) const {
  return all(std::vector<double>{value}, op)[0];
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

// Both ways in turns, each between barriers; of every iteration the slowest rank's time counts.
void Bench::time(const Input& input, Fused& fused, Naive* naive, Result* result) const {
  std::vector<double> times[4];
  const auto once = [&](bool timed) {
    require(tuttiBarrier(seat_.comm, nullptr), "tuttiBarrier");
    const Times a = fused.run(input);
    require(tuttiBarrier(seat_.comm, nullptr), "tuttiBarrier");
    const Times b = naive != nullptr ? naive->run(input, fused.results()) : Times{};
    if (!timed) return a.both() + b.both();
    times[0].push_back(a.dispatch);
    times[1].push_back(a.combine);
    times[2].push_back(b.dispatch);
    times[3].push_back(b.combine);
    return a.both() + b.both();
  };
  double seconds = 0;
  for (int i = 0; i < std::max(1, options_.warmup); ++i) seconds = once(false);
  int iterations = options_.iterations;
  if (iterations == 0)
    iterations = static_cast<int>(std::clamp(1.0 / all(seconds, tuttiMax), 5.0, 2000.0));
  for (int i = 0; i < iterations; ++i) once(true);
  for (auto& part : times) part = all(std::move(part), tuttiMax);
  result->iterations = iterations;
  result->fused = {median(times[0]), median(times[1])};
  result->naive = {median(times[2]), median(times[3])};
  std::vector<double> ratios;
  for (size_t i = 0; i < times[0].size(); ++i)
    ratios.push_back((times[2][i] + times[3][i]) / (times[0][i] + times[1][i]));
  result->ratio = median(std::move(ratios));
}

// Ranks other than this one that a token goes to; *stays: it also goes to this one.
int Bench::ranks_of(const Input& input, size_t token, bool* stays) const {
  const auto k = static_cast<size_t>(options_.top_k);
  std::vector<int> ranks;
  *stays = false;
  for (size_t j = 0; j < k; ++j) {
    const int64_t expert = input.experts[token * k + j];
    if (expert < 0) continue;
    const int rank = rank_of(expert);
    if (rank == seat_.rank) {
      *stays = true;
    } else if (std::find(ranks.begin(), ranks.end(), rank) == ranks.end()) {
      ranks.push_back(rank);
    }
  }
  return static_cast<int>(ranks.size());
}

// One layer's bytes, from the library's counters, against d*W on the wire each way, and
// (1+2d+k)*W and (k+2d+1)*2H in memory (rank-major: (1+2d)*W and (1+2d)*2H).
void Bench::count_bytes(const Input& input, const tuttiMoeStats_t& before,
                        const tuttiMoeStats_t& after, Result* result) const {
  const RowBytes row(options_);
  double remote = 0, everywhere = 0, pairs = 0, off_rank_pairs = 0;
  for (size_t token = 0; token < input.tokens; ++token) {
    bool stays = false;
    const int n = ranks_of(input, token, &stays);
    remote += n;
    everywhere += n + (stays ? 1 : 0);
  }
  for (const int64_t expert : input.experts) {
    pairs += expert >= 0 ? 1 : 0;
    off_rank_pairs += expert >= 0 && rank_of(expert) != seat_.rank ? 1 : 0;
  }
  const auto sum = [](const uint64_t(&a)[3], const uint64_t(&b)[3]) {
    return static_cast<double>(a[0] + a[1] + a[2] - b[0] - b[1] - b[2]);
  };
  const double out = sum(after.dispatchPayloadBytes, before.dispatchPayloadBytes) +
                     sum(after.dispatchMetadataBytes, before.dispatchMetadataBytes);
  const double back = sum(after.combinePayloadBytes, before.combinePayloadBytes) +
                      sum(after.combineMetadataBytes, before.combineMetadataBytes);
  const auto w = static_cast<double>(row.all()), v = static_cast<double>(row.value());
  const double partial = options_.reduction == tuttiMoeReduceOnce ? 2 * v : v;
  const double tokens = static_cast<double>(input.tokens);
  const double copies = static_cast<double>(after.dispatchCopyBytes - before.dispatchCopyBytes +
                                            after.combineCopyBytes - before.combineCopyBytes);
  const double rows = options_.layout == tuttiMoeRankMajor ? 0 : pairs;
  const double formula =
      (tokens + 2 * everywhere + rows) * w + (rows + tokens) * v + 2 * everywhere * partial;
  // What this rank sends back is what it received, so bounds hold for the sum over ranks.
  const auto sums = all({out + back, remote * (w + partial), copies, formula, everywhere, tokens,
                         off_rank_pairs * (w + sizeof(float) + v)},
                        tuttiSum);
  result->wire_bytes = sums[0];
  result->wire_over_bound = sums[1] == 0 ? 1 : sums[0] / sums[1];
  result->copies_over_formula = sums[3] == 0 ? 1 : sums[2] / sums[3];
  result->ranks_of_token = sums[5] == 0 ? 0 : sums[4] / sums[5];
  result->naive_wire_bytes = sums[6];
}

float float_of(const std::byte* rows, size_t i) {
  uint16_t code = 0;
  std::memcpy(&code, rows + 2 * i, sizeof code);
  const uint32_t bits = static_cast<uint32_t>(code) << 16;
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Received rows are equal, since both ways quantise alike and sort by (expert, source, token); sums
// differ by roundings of their partial sums, each at most 2^-8 of what it rounds.
uint64_t Bench::check(const Input& input, const Fused& fused, const Naive& naive,
                      const Demand& rows) const {
  const RowBytes row(options_);
  uint64_t wrong = 0;
  if (options_.layout == tuttiMoeExpertMajor) {
    wrong += std::memcmp(fused.rows(), naive.rows(), rows.here * row.data) != 0 ? 1 : 0;
    wrong += std::memcmp(fused.scales(), naive.scales(), rows.here * row.scales) != 0 ? 1 : 0;
    for (size_t i = 0; i < input.tokens * row.hidden; ++i) {
      const float a = float_of(fused.output(), i), b = float_of(naive.output(), i);
      const float bound = 16.0F * static_cast<float>(options_.top_k) / 256.0F;
      wrong += std::fabs(a - b) <= bound * (0.25F + std::fabs(b)) ? 0 : 1;
    }
  }
  return static_cast<uint64_t>(all(static_cast<double>(wrong), tuttiSum));
}

Result Bench::measure(const std::string& skew, size_t tokens) {
  Result result{.skew = routing_.empty() ? skew : "file", .tokens = tokens};
  const Demand rows = demand(skew, tokens);
  const Input input(options_, seat_, tokens, table(skew, tokens, seat_.rank));
  Fused fused(options_, seat_, tokens, rows);
  std::unique_ptr<Naive> naive;
  if (options_.naive && options_.layout == tuttiMoeExpertMajor)
    naive = std::make_unique<Naive>(options_, seat_, tokens, rows);
  const tuttiMoeStats_t before = fused.stats();
  fused.run(input);
  count_bytes(input, before, fused.stats(), &result);
  time(input, fused, naive.get(), &result);
  if (naive != nullptr && options_.check) result.wrong = check(input, fused, *naive, rows);
  return result;
}

void print_head(const Options& o, int n_ranks) {
  static constexpr const char* kForms[] = {"bfloat16", "e4m3, float32 scales of 128",
                                           "e4m3, UE8M0 scales of 128", "MXFP8"};
  std::printf(
      "# moe_perf: %d ranks, hidden %d, top-%d of %d experts, rows %s\n"
      "# times: median of the slowest rank, us; wire and copies: bytes over their bound\n"
      "#%8s %-13s %6s %6s | %10s %10s %10s | %10s %10s %10s | %6s %7s %7s %5s\n",
      n_ranks, o.hidden, o.top_k, o.experts, kForms[o.quantization], "tokens", "skew", "ranks",
      "iters", "dispatch", "combine", "both", "naive d.", "naive c.", "naive both", "ratio", "wire",
      "copies", "wrong");
}

void print(const Result& r) {
  const auto us = [](double seconds) { return seconds * 1e6; };
  std::printf(
      " %8zu %-13s %6.2f %6d | %10.1f %10.1f %10.1f | %10.1f %10.1f %10.1f | %6.2f %7.4f %7.4f "
      "%5zu\n",
      r.tokens, r.skew.c_str(), r.ranks_of_token, r.iterations, us(r.fused.dispatch),
      us(r.fused.combine), us(r.fused.both()), us(r.naive.dispatch), us(r.naive.combine),
      us(r.naive.both()), r.ratio, r.wire_over_bound, r.copies_over_formula,
      static_cast<size_t>(r.wrong));
  std::fflush(stdout);
}

void write_json(const Options& o, int n_ranks, const std::vector<Result>& results) {
  std::ofstream file(o.json_file);
  file << "{\"ranks\": " << n_ranks << ", \"hidden\": " << o.hidden << ", \"topk\": " << o.top_k
       << ", \"experts\": " << o.experts << ", \"quantization\": " << o.quantization
       << ", \"results\": [";
  const char* between = "\n";
  for (const Result& r : results) {
    file << between << "  {\"tokens\": " << r.tokens << ", \"skew\": \"" << r.skew
         << "\", \"iterations\": " << r.iterations << ", \"dispatch_seconds\": " << r.fused.dispatch
         << ", \"combine_seconds\": " << r.fused.combine
         << ", \"naive_dispatch_seconds\": " << r.naive.dispatch
         << ", \"naive_combine_seconds\": " << r.naive.combine << ", \"ratio\": " << r.ratio
         << ", \"wire_bytes\": " << r.wire_bytes << ", \"naive_wire_bytes\": " << r.naive_wire_bytes
         << ", \"wire_over_bound\": " << r.wire_over_bound
         << ", \"copies_over_formula\": " << r.copies_over_formula << ", \"wrong\": " << r.wrong
         << "}";
    between = ",\n";
  }
  file << "\n]}\n";
}

struct Job {
  int process = 0;
  int processes = 1;
  tuttiUniqueId id;
};

// Returns the number of wrong values.
uint64_t run_rank(const Options& o, const Job& job, int thread,
                  const std::vector<std::vector<int64_t>>& routing) {
  Seat seat{.rank = job.process * o.threads + thread, .n_ranks = job.processes * o.threads};
  require(tuttiCommInitRank(&seat.comm, seat.n_ranks, job.id, seat.rank), "tuttiCommInitRank");
  std::vector<Result> results;
  uint64_t wrong = 0;
  if (seat.rank == 0) print_head(o, seat.n_ranks);
  for (const std::string& skew : o.skews) {
    for (const int tokens : o.tokens) {
      results.push_back(Bench(o, seat, routing).measure(skew, static_cast<size_t>(tokens)));
      if (seat.rank == 0) print(results.back());
      wrong += results.back().wrong;
    }
    if (!routing.empty()) break;
  }
  if (seat.rank == 0 && !o.json_file.empty()) write_json(o, seat.n_ranks, results);
  require(tuttiCommDestroy(seat.comm), "tuttiCommDestroy");
  return wrong;
}

std::vector<std::vector<int64_t>> read_routing(const Options& o) {
  if (o.routing_file.empty()) return {};
  std::ifstream file(o.routing_file);
  if (!file) throw std::invalid_argument(o.routing_file + " can't be read");
  std::ostringstream text;
  text << file.rdbuf();
  return parse_routes(text.str(), o.top_k, o.experts);
}

void check_options(const Options& o) {
  for (const std::string& skew : o.skews) (void)synthetic(skew, {});
  for (const int tokens : o.tokens) {
    if (tokens < 0) throw std::invalid_argument("--tokens: no number may be below 0");
  }
  if (o.top_k > o.experts) throw std::invalid_argument("--topk is more than --experts");
}

int run(const Options& o) {
  std::vector<std::vector<int64_t>> routing;
  Job job;
  try {
    check_options(o);
    routing = read_routing(o);
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "moe_perf: %s\n", error.what());
    return 2;
  }
  require(tuttiLaunchInfo(&job.process, &job.processes, nullptr, nullptr), "tuttiLaunchInfo");
  require(tuttiGetLaunchUniqueId(&job.id), "tuttiGetLaunchUniqueId");
  std::vector<uint64_t> wrong(static_cast<size_t>(o.threads));
  std::vector<std::thread> threads;
  threads.reserve(wrong.size());
  for (int t = 0; t < o.threads; ++t) {
    threads.emplace_back([&, t] { wrong[static_cast<size_t>(t)] = run_rank(o, job, t, routing); });
  }
  for (std::thread& t : threads) t.join();
  return *std::max_element(wrong.begin(), wrong.end()) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tutti::moe_perf

int main(int argc, char** argv) {
  tutti::moe_perf::Options options;
  int exit_status = 0;
  if (!tutti::moe_perf::parse(argc, argv, &options, &exit_status)) return exit_status;
  return tutti::moe_perf::run(options);
}
