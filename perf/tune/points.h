// SPDX-License-Identifier: Apache-2.0
// What `tutti tune` asks its ranks to measure, and what they answer.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/collective.h"

namespace tutti::command {

// One way to carry a call. Numbers: 0, the library chooses.
struct Candidate {
  std::string algorithm;
  uint32_t slot_bytes = 0;
  uint32_t channels = 0;
  auto operator<=>(const Candidate&) const = default;
};

// One call, and the ways to carry it that are held against each other.
struct Point {
  plan::Collective collective = plan::Collective::kAllReduce;
  uint64_t bytes = 0;  // of one block, a multiple of 4
  std::vector<Candidate> candidates;
  int keep = -1;  // of the candidates, the one that is measured to the end however slow it is
};

struct Effort {
  int rounds = 5;                  // in each, every candidate runs once
  int least_rounds = 3;            // where calls are so long that a point takes ...
  int64_t point_ns = 400'000'000;  // ... longer than this
  int64_t slice_ns = 1'000'000;    // of one candidate in one round
  double drop_above = 3;  // a candidate so many times slower than the best is not measured on
};

struct Request {
  Effort effort;
  bool mapped = false;  // in memory that the peers map
  std::vector<Point> points;
};

// By candidate: ns of one call, in each round. Of those that were dropped, and only of those, there
// is a single one.
using Times = std::vector<std::vector<double>>;

double median(std::vector<double> values);
// By how much `mine` is slower than `other`: the median of the ratios of their rounds.
double slowdown(const std::vector<double>& mine, const std::vector<double>& other);

std::string to_text(const Request& request);
Request request_from_text(std::string_view text);
std::string to_text(const Times& times);
Times times_from_text(std::string_view text);

}  // namespace tutti::command
