// SPDX-License-Identifier: Apache-2.0
// Requests and answers as JSON, between two processes of one build.
#include "perf/tune/points.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace tutti::command {

using nlohmann::json;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double slowdown(const std::vector<double>& mine, const std::vector<double>& other) {
  if (mine.size() != other.size()) return median(mine) / median(other);
  std::vector<double> ratios;
  for (size_t i = 0; i < mine.size(); ++i) ratios.push_back(mine[i] / other[i]);
  return median(std::move(ratios));
}

std::string to_text(const Request& request) {
  json points = json::array();
  for (const Point& point : request.points) {
    json candidates = json::array();
    for (const Candidate& c : point.candidates)
      candidates.push_back({c.algorithm, c.slot_bytes, c.channels});
    points.push_back(
        {static_cast<int>(point.collective), point.bytes, std::move(candidates), point.keep});
  }
  return json{{"rounds", request.effort.rounds},
              {"least_rounds", request.effort.least_rounds},
              {"point_ns", request.effort.point_ns},
              {"slice_ns", request.effort.slice_ns},
              {"drop_above", request.effort.drop_above},
              {"mapped", request.mapped},
              {"points", std::move(points)}}
      .dump();
}

Request request_from_text(std::string_view text) {
  const json document = json::parse(text);
  Request request{.effort = {.rounds = document.at("rounds"),
                             .least_rounds = document.at("least_rounds"),
                             .point_ns = document.at("point_ns"),
                             .slice_ns = document.at("slice_ns"),
                             .drop_above = document.at("drop_above")},
                  .mapped = document.at("mapped")};
  for (const json& point : document.at("points")) {
    request.points.push_back({.collective = static_cast<plan::Collective>(point.at(0).get<int>()),
                              .bytes = point.at(1),
                              .keep = point.at(3)});
    for (const json& c : point.at(2))
      request.points.back().candidates.push_back({c.at(0), c.at(1), c.at(2)});
  }
  return request;
}

std::string to_text(const Times& times) { return json(times).dump(); }
Times times_from_text(std::string_view text) { return json::parse(text).get<Times>(); }

}  // namespace tutti::command
