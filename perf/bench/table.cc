// SPDX-License-Identifier: Apache-2.0
// Columns and comment lines where nccl-tests has them.
#include "perf/bench/table.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>

#include <nlohmann/json.hpp>

namespace tutti::bench {
namespace {

// As many decimals as fit, at most two.
std::string fit(double value, int width) {
  char text[64];
  for (int decimals = 2; decimals >= 0; --decimals) {
    const int length = std::snprintf(text, sizeof text, "%.*f", decimals, value);
    if (length <= width) return text;
  }
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

nlohmann::json to_json(const Measured& m) {
  if (!m.available) return nullptr;
  nlohmann::json side = {{"time", m.seconds * 1e6},
                         {"alg_bw", m.bandwidth.algorithm_gbps},
                         {"bus_bw", m.bandwidth.bus_gbps}};
  side["nwrong"] = m.wrong < 0 ? nlohmann::json("N/A") : nlohmann::json(m.wrong);
  return side;
}

}  // namespace

struct Table::Json {
  nlohmann::json root;
};

Table::Table(const Options& options, const Test& test, bool writes)
    : options_(options),
      test_(test),
      writes_(writes),
      terminal_(isatty(STDOUT_FILENO) != 0 && isatty(STDERR_FILENO) != 0),
      json_(std::make_unique<Json>()) {}
Table::~Table() = default;

void Table::header(const std::vector<RankLine>& ranks) {
  if (!writes_) return;
  int version = 0;
  (void)tuttiGetVersion(&version);
  const Options& o = options_;
  std::printf("# tutti version %d.%d.%d, output as of nccl-tests 2.19\n", version / 10000,
              version / 100 % 100, version % 100);
  std::printf("# Collective test starting: %s\n", test_.name);
  const bool factor = o.step_factor > 1;
  std::printf(
      "# nThread %d nGpus %d minBytes %zu maxBytes %zu step: %s(%s) warmup iters: %d iters: %d agg "
      "iters: %d validation: %d graph: 0\n",
      o.threads, o.ranks_per_thread, o.min_bytes, o.max_bytes,
      factor ? fit(o.step_factor, 6).c_str() : std::to_string(o.step_bytes).c_str(),
      factor ? "factor" : "bytes", o.warmup, o.iterations, o.aggregated, o.check ? 1 : 0);
  std::printf("#\n# Using devices\n");
  nlohmann::json devices = nlohmann::json::array();
  for (const RankLine& r : ranks) {
    std::printf("#  Rank %2d Group %2d Pid %6d on %10s device %2d [%s] %s\n", r.rank, 0, r.pid,
                r.host, r.number, r.bus, r.device);
    devices.push_back({{"rank", r.rank},
                       {"pid", r.pid},
                       {"host", r.host},
                       {"number", r.number},
                       {"bus", r.bus},
                       {"device", r.device}});
  }
  std::printf("#\n");
  std::printf(
      "#                                                              out-of-place                 "
      "      in-place          \n");
  std::printf(
      "#       size         count      type   redop    root     time   algbw   busbw  #wrong     "
      "time   algbw   busbw  #wrong \n");
  std::printf(
      "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             "
      "(us)  (GB/s)  (GB/s)         \n");
  std::fflush(stdout);
  json_->root = {{"program", test_.name},
                 {"version", version},
                 {"start_time", now_text()},
                 {"devices", devices},
                 {"config",
                  {{"nthreads", o.threads},
                   {"ngpus", o.ranks_per_thread},
                   {"minbytes", o.min_bytes},
                   {"maxbytes", o.max_bytes},
                   {"iters", o.iterations},
                   {"warmup_iters", o.warmup},
                   {"agg_iters", o.aggregated},
                   {"check", o.check},
                   {"average", o.average}}},
                 {"results", nlohmann::json::array()}};
}

void Table::progress(size_t bytes, const char* type, const char* op) {
  if (!writes_ || !terminal_) return;
  std::printf("  measuring %zu bytes, %s %s ...\r", bytes, type, op);
  std::fflush(stdout);
}

void Table::print_half(const Measured& m) const {
  if (!m.available) {
    std::printf("  %7s  %6s  %6s  %6s", "N/A", "N/A", "N/A", "N/A");
    return;
  }
  std::printf("  %7s  %6s  %6s", fit(m.seconds * 1e6, 7).c_str(),
              fit(m.bandwidth.algorithm_gbps, 6).c_str(), fit(m.bandwidth.bus_gbps, 6).c_str());
  if (m.wrong < 0) {
    std::printf("  %6s", "N/A");
  } else {
    std::printf("  %6g", static_cast<double>(m.wrong));
  }
}

void Table::row(size_t bytes, size_t count, const char* type, const char* op, int root,
                const Measured& out_of_place, const Measured& in_place) {
  for (const Measured* m : {&out_of_place, &in_place}) {
    if (!m->available) continue;
    wrong_ += std::max<int64_t>(m->wrong, 0);
    bus_sum_ += m->bandwidth.bus_gbps;
    ++bus_samples_;
  }
  if (!writes_) return;
  std::printf("%12li  %12li  %8s  %6s  %6s", static_cast<long>(bytes), static_cast<long>(count),
              type, op, std::to_string(root).c_str());
  print_half(out_of_place);
  print_half(in_place);
  if (options_.timestamps) std::printf("  %s", now_text().c_str());
  std::printf("\n");
  if (options_.per_iteration && !out_of_place.iteration_seconds.empty()) {
    std::vector<double> times = out_of_place.iteration_seconds;
    std::sort(times.begin(), times.end());
    std::printf("#   iterations, out of place, us: min %s  median %s  p99 %s  max %s\n",
                fit(times.front() * 1e6, 8).c_str(), fit(times[times.size() / 2] * 1e6, 8).c_str(),
                fit(times[times.size() * 99 / 100] * 1e6, 8).c_str(),
                fit(times.back() * 1e6, 8).c_str());
  }
  std::fflush(stdout);
  json_->root["results"].push_back({{"size", bytes},
                                    {"count", count},
                                    {"type", type},
                                    {"redop", op},
                                    {"root", root},
                                    {"out_of_place", to_json(out_of_place)},
                                    {"in_place", to_json(in_place)}});
}

int Table::footer() {
  const double average = bus_samples_ == 0 ? 0 : bus_sum_ / bus_samples_;
  if (writes_) {
    std::printf("# Out of bounds values : %ld %s\n", static_cast<long>(wrong_),
                wrong_ == 0 ? "OK" : "FAILED");
    std::printf("# Avg bus bandwidth    : %g \n#\n", average);
    std::fflush(stdout);
    if (!options_.json_file.empty()) {
      json_->root["out_of_bounds"] = {{"count", wrong_}, {"okay", wrong_ == 0}};
      json_->root["average_bus_bandwidth"] = average;
      json_->root["end_time"] = now_text();
      std::ofstream file(options_.json_file);
      file << json_->root.dump(2) << "\n";
      if (!file.flush()) {
        std::fprintf(stderr, "%s: could not write '%s'\n", test_.name, options_.json_file.c_str());
        return 1;
      }
    }
  }
  return wrong_ == 0 ? 0 : 1;
}

}  // namespace tutti::bench
